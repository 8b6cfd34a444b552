"""Random generators of a batch, seeded together.

``np.random.default_rng(seed)`` hashes its seed by itself, which takes as long as
reading a short crop of a WAV file does. Here the seeds of a batch are hashed at once. The
generators are the same, to the bit.
"""

from collections.abc import Sequence

import numpy as np
from numpy.random.bit_generator import ISpawnableSeedSequence, SeedSequence

WORD_BITS = 32
POOL_WORDS = 4
STATE_WORDS = 8  # of 32 bits, which seed a PCG64
# Constants of the hash of numpy.random.SeedSequence.
HASH_START = 0x43B0D7E5
HASH_FACTOR = 0x931E8875
OUTPUT_START = 0x8B51F9DD
OUTPUT_FACTOR = 0x58F38DED
MIX_LEFT = np.uint32(0xCA01F9DD)
MIX_RIGHT = np.uint32(0x4973F715)
SHIFT = np.uint32(16)


class _Hashed(ISpawnableSeedSequence):
    """Seed whose state was computed before.

    Args:
        seed: numbers of the seed.
        state: ``(4,)``, uint64.
    """

    def __init__(self, seed: Sequence[int], state: np.ndarray):
        self._seed = seed
        self._state = state
        self._sequence: SeedSequence | None = None

    def generate_state(self, n_words: int, dtype: type = np.uint32) -> np.ndarray:
        """The state; a PCG64 asks for all of it once."""
        return self._state

    def spawn(self, n_children: int) -> list[SeedSequence]:
        """Seeds of further generators, of which few augmentations make any."""
        if self._sequence is None:
            self._sequence = SeedSequence(self._seed)
        return self._sequence.spawn(n_children)


class _Hash:
    """Hash whose constants change with each word.

    Args:
        constant: first constant.
        factor: of which each constant is the last one's multiple.
    """

    def __init__(self, constant: int, factor: int):
        self._constant = constant
        self._factor = factor

    def __call__(self, words: np.ndarray) -> np.ndarray:
        """Hash of one word of each seed, ``(B,)``, uint32."""
        hashed = words ^ np.uint32(self._constant)
        self._constant = self._constant * self._factor % 2**WORD_BITS
        hashed = hashed * np.uint32(self._constant)
        return hashed ^ (hashed >> SHIFT)


def generators(seeds: Sequence[Sequence[int]]) -> list[np.random.Generator]:
    """The generator of each seed, as ``np.random.default_rng`` makes it.

    Args:
        seeds: numbers, none of them negative. Those of more than 32 bits, and seeds of different
            lengths, are left to NumPy.
    """
    if len({len(seed) for seed in seeds}) != 1 or max(map(max, seeds)) >> WORD_BITS:
        return [np.random.default_rng(seed) for seed in seeds]
    rngs = []
    for seed, state in zip(seeds, _states(np.array(seeds, dtype=np.uint32))):
        rngs.append(np.random.Generator(np.random.PCG64(_Hashed(seed, state))))
    return rngs


def _states(seeds: np.ndarray) -> np.ndarray:
    """States of generators.

    Source: numpy/random/bit_generator.pyx, ``SeedSequence``, after randutils of M. E. O'Neill.

    Args:
        seeds: ``(B, words)``, uint32.

    Returns:
        ``(B, 4)``, uint64.
    """
    words = list(seeds.T)
    while len(words) < POOL_WORDS:
        words.append(np.zeros(len(seeds), np.uint32))
    hashed = _Hash(HASH_START, HASH_FACTOR)
    pool = [hashed(word) for word in words[:POOL_WORDS]]
    for source in range(POOL_WORDS):
        for place in range(POOL_WORDS):
            if place != source:
                pool[place] = _mix(pool[place], hashed(pool[source]))
    for word in words[POOL_WORDS:]:
        for place in range(POOL_WORDS):
            pool[place] = _mix(pool[place], hashed(word))
    output = _Hash(OUTPUT_START, OUTPUT_FACTOR)
    states = np.empty((len(seeds), STATE_WORDS), dtype="<u4")
    for place in range(STATE_WORDS):
        states[:, place] = output(pool[place % POOL_WORDS])
    return states.view("<u8").astype(np.uint64)


def _mix(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    mixed = MIX_LEFT * left - MIX_RIGHT * right
    return mixed ^ (mixed >> SHIFT)
