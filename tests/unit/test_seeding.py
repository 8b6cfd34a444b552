"""Generators that are seeded together are those that NumPy makes one by one."""

import numpy as np
import pytest

from wedefense_lite.systems.seeding import generators


@pytest.mark.parametrize(
    "seeds",
    [
        [(1, 2, 3)],
        [(0, 1, position + 1) for position in range(32)],
        [(2**32 - 1, 2**32 - 1, 7), (5, 0, 2**31)],
        [(3, 1), (4, 0)],
        [(3, 1, 4, 1, 5, 9), (2, 6, 5, 3, 5, 8)],  # more words than the pool has
        [(2**40, 1, 2), (1, 2, 3)],
        [(1, 2), (1, 2, 3)],
    ],
    ids=["one", "batch", "largest", "two", "six", "beyond 32 bits", "different lengths"],
)
def test_generators_are_those_of_numpy(seeds):
    for seed, rng in zip(seeds, generators(seeds), strict=True):
        expected = np.random.default_rng(seed)
        assert rng.bit_generator.state == expected.bit_generator.state
        assert (rng.integers(1000, size=5) == expected.integers(1000, size=5)).all()
        children = zip(rng.spawn(2) + rng.spawn(1), expected.spawn(2) + expected.spawn(1))
        for child, expected_child in children:
            assert child.bit_generator.state == expected_child.bit_generator.state
