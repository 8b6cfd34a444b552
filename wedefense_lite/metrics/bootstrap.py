"""Confidence intervals by resampling trials, or clusters that share a speaker or an attack."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import ArrayLike

from wedefense_lite.files import NO_VALUE


class Resampler:
    """Draws how often each trial is in a bootstrap sample.

    Whole clusters are drawn with replacement, so trials that share a speaker stay together. Clusters
    with the same classes in them (bona fide only, both, ...) are drawn among themselves: no sample
    lacks a class, and speakers with trials of both classes keep the two together.

    Args:
        sizes: number of trials of each class.
        clusters: ``(N,)`` cluster of each trial, class after class; ``-``, or None for all, leaves a
            trial on its own.
    """

    def __init__(self, sizes: Sequence[int], clusters: ArrayLike | None = None):
        self._ends = np.cumsum(sizes)[:-1]
        self._strata, self._unit = sizes, None  # units drawn among themselves, unit of each trial
        if clusters is not None:
            alone, unit = np.equal(clusters, NO_VALUE), np.unique(clusters, return_inverse=True)[1]
            unit[alone] = unit.max() + 1 + np.arange(alone.sum())
            held = np.zeros(unit.max() + 1, dtype=int)  # the classes in each unit, as bits
            np.bitwise_or.at(held, unit, 1 << np.repeat(np.arange(len(sizes)), sizes))
            self._unit = np.argsort(np.argsort(held, kind="stable"))[
                unit
            ]  # units of a stratum in a row
            self._strata = np.unique(held, return_counts=True)[1]

    def weights(self, rng: np.random.Generator) -> list[np.ndarray]:
        """Counts of the trials of each class in one sample."""
        drawn = [
            np.bincount(rng.integers(units, size=units), minlength=units) for units in self._strata
        ]
        return (
            drawn if self._unit is None else np.split(np.concatenate(drawn)[self._unit], self._ends)
        )


def replicates(
    statistic: Callable[..., dict[str, float]], resampler: Resampler, count: int, seed: int = 0
) -> dict[str, np.ndarray]:
    """Values ``(count,)`` of each metric over bootstrap samples, the same for the same seed.

    Args:
        statistic: metrics of a sample, given the counts of the trials of each class, an argument a
            class. It runs in threads, since sorting and summing let other threads run.
    """

    def one(index: int) -> dict[str, float]:
        return statistic(*resampler.weights(np.random.default_rng([seed, index])))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        values = list(pool.map(one, range(count)))
    return {name: np.array([value[name] for value in values]) for name in values[0]}


def interval(values: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    """Percentile interval of replicates."""
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def intervals(
    statistic: Callable[..., dict[str, float]], resampler: Resampler, count: int
) -> dict[str, tuple[float, float]]:
    """95 % intervals of all metrics that are finite in every sample; see :func:`replicates`."""
    samples = replicates(statistic, resampler, count)
    return {name: interval(values) for name, values in samples.items() if np.isfinite(values).all()}
