"""Confidence intervals by resampling trials, or clusters that share a speaker or an attack."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import ArrayLike

NO_CLUSTER = "-"


class Resampler:
    """Draws how often each trial is in a bootstrap sample.

    Whole clusters are drawn with replacement, so trials that share a speaker stay together. Clusters
    with the same classes in them (bona fide only, both, ...) are drawn among themselves: no sample
    lacks a class, and speakers with trials of both classes keep the two together.

    Args:
        classes: ``(N,)`` class of each trial.
        clusters: ``(N,)`` cluster of each trial; None, or ``-`` for one of them, leaves it on its own.
    """

    def __init__(self, classes: ArrayLike, clusters: ArrayLike | None = None):
        held = 1 << np.unique(classes, return_inverse=True)[1]  # the classes in each unit, as bits
        self._unit = slice(None)  # the unit of each trial
        if clusters is not None:
            clusters = np.asarray(clusters, dtype=str)
            alone, bits = clusters == NO_CLUSTER, held
            names, self._unit = np.unique(clusters, return_inverse=True)
            self._unit[alone] = len(names) + np.arange(alone.sum())
            held = np.zeros(len(names) + alone.sum(), dtype=int)
            np.bitwise_or.at(held, self._unit, bits)
        self._held = held
        self._strata = [np.flatnonzero(held == kind) for kind in np.unique(held[held > 0])]

    def weights(self, rng: np.random.Generator) -> np.ndarray:
        """``(N,)`` counts of each trial in one sample."""
        counts = np.zeros(self._held.size, dtype=np.int64)
        for units in self._strata:
            draws = rng.integers(units.size, size=units.size)
            counts[units] = np.bincount(draws, minlength=units.size)
        return counts[self._unit]


def replicates(
    statistic: Callable[[np.ndarray], dict[str, float]], resampler: Resampler, count: int, seed: int = 0
) -> dict[str, np.ndarray]:
    """Values ``(count,)`` of each metric over bootstrap samples, the same for the same seed.

    Args:
        statistic: metrics of a sample, given the count of each trial in it. It runs in threads, since
            sorting and summing let other threads run.
    """

    def one(index: int) -> dict[str, float]:
        return statistic(resampler.weights(np.random.default_rng([seed, index])))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        values = list(pool.map(one, range(count)))
    return {name: np.array([value[name] for value in values]) for name in values[0]}


def interval(values: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    """Percentile interval of replicates."""
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
