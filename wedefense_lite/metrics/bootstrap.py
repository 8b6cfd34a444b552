"""Confidence intervals by resampling trials, or clusters that share a speaker or an attack."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import ArrayLike

from wedefense_lite.files import NO_VALUE
from wedefense_lite.metrics.detection import UndefinedMetric
from wedefense_lite.processes import usable_cores

MAX_DRAWS = 100  # of one sample, until it defines every metric
# Seconds of a sample that takes longer than to hand it to another thread.
LONG_SAMPLE = 0.001


class Resampler:
    """Draws how often each trial is in a bootstrap sample.

    Whole clusters are drawn with replacement, so trials that share a speaker stay together.
    Clusters with the same classes in them (bona fide only, both, ...) are drawn among themselves:
    no sample lacks a class, and speakers with trials of both classes keep the two together. Where
    a metric needs more than a trial of each class, see ``replicates``.

    A *unit* is what is drawn: a cluster, or a trial on its own. A *stratum* holds the units that
    are drawn among themselves.

    Args:
        sizes: number of trials of each class.
        clusters: ``(N,)`` cluster of each trial, class after class; ``-``, or None for all, leaves
            a trial on its own.
    """

    def __init__(self, sizes: Sequence[int], clusters: ArrayLike | None = None):
        self._class_ends = np.cumsum(sizes)[:-1]
        # Without clusters a class is a stratum and a trial a unit, in the order of the trials.
        self._stratum_sizes = sizes
        self._position_of_trial = None
        if clusters is not None:
            unit_of_trial = _number_units(clusters)
            class_of_trial = np.repeat(np.arange(len(sizes)), sizes)
            # The classes of a unit's trials name its stratum: bit c stands for class c.
            stratum_of_unit = np.zeros(unit_of_trial.max() + 1, dtype=int)
            np.bitwise_or.at(stratum_of_unit, unit_of_trial, 1 << class_of_trial)
            self._stratum_sizes = np.unique(stratum_of_unit, return_counts=True)[1]
            # Counts are drawn stratum after stratum, so units are put in that order.
            units_in_order = np.argsort(stratum_of_unit, kind="stable")
            position_of_unit = np.empty_like(units_in_order)
            position_of_unit[units_in_order] = np.arange(len(units_in_order))
            self._position_of_trial = position_of_unit[unit_of_trial]

    def draw(self, rng: np.random.Generator) -> list[np.ndarray]:
        """Counts of the trials of each class in one sample."""
        counts = []
        for size in self._stratum_sizes:
            units = rng.integers(size, size=size)
            counts.append(np.bincount(units, minlength=size))
        if self._position_of_trial is None:
            return counts
        count_of_trial = np.concatenate(counts)[self._position_of_trial]
        return np.split(count_of_trial, self._class_ends)


def _number_units(clusters: ArrayLike) -> np.ndarray:
    """``(N,)`` number of the unit of each trial; a trial without a cluster is a unit of its own."""
    is_alone = np.equal(clusters, NO_VALUE)
    _, unit_of_trial = np.unique(clusters, return_inverse=True)
    first_alone = unit_of_trial.max() + 1
    unit_of_trial[is_alone] = first_alone + np.arange(is_alone.sum())
    # "-" keeps its number as a unit without trials, in a stratum of its own that no trial looks at.
    return unit_of_trial


def replicates(
    statistic: Callable[..., dict[str, float]], resampler: Resampler, count: int, seed: int = 0
) -> dict[str, np.ndarray]:
    """Values ``(count,)`` of each metric over bootstrap samples, the same for the same seed.

    A sample that lacks a class, or does not define a metric for another reason, is drawn again for
    that metric. So the values of each metric are those of samples that have what it needs.

    Args:
        statistic: metrics of a sample, given the counts of the trials of each class, an argument a
            class. Of those that the sample does not define the value is None; if it defines none,
            ``UndefinedMetric``. It runs in threads where it takes long, since sorting and summing
            let other threads run.
        resampler: draws the counts.
        count: number of samples, at least 1.
        seed: sample n has a generator of its own, seeded by ``(seed, n)``.

    Raises:
        UndefinedMetric: none of 100 draws of a sample has what a metric needs.
    """

    def measure_sample(number: int) -> dict[str, float]:
        rng = np.random.default_rng([seed, number])
        values: dict[str, float] = {}
        problem = UndefinedMetric("no metric")
        for _ in range(MAX_DRAWS):
            try:
                sample = statistic(*resampler.draw(rng))
            except UndefinedMetric as error:
                problem = error
                continue
            undefined = [name for name in sample if values.get(name, sample[name]) is None]
            values = {name: values.get(name, value) for name, value in sample.items()}
            if not undefined:
                return values
            problem = UndefinedMetric(f"no sample of {MAX_DRAWS} defines {', '.join(undefined)}")
            values = {name: value for name, value in values.items() if value is not None}
        raise problem

    start = time.perf_counter()
    samples = [measure_sample(0)]
    if time.perf_counter() - start < LONG_SAMPLE:
        samples += [measure_sample(number) for number in range(1, count)]
    else:
        with ThreadPoolExecutor(usable_cores()) as pool:
            samples += pool.map(measure_sample, range(1, count))
    values = {}
    for name in samples[0]:
        values[name] = np.array([sample[name] for sample in samples])
    return values


def interval(values: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    """Percentile interval of replicates."""
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def intervals(
    statistic: Callable[..., dict[str, float]], resampler: Resampler, count: int
) -> dict[str, tuple[float, float]]:
    """95 % intervals of all metrics that are finite in every sample; see ``replicates``."""
    ends = {}
    for name, values in replicates(statistic, resampler, count).items():
        if np.isfinite(values).all():
            ends[name] = interval(values)
    return ends
