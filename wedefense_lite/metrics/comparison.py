"""Two systems on the same trials: the difference of each metric, by paired bootstrap."""

from typing import NamedTuple

import numpy as np

from wedefense_lite.metrics.bootstrap import interval, replicates
from wedefense_lite.metrics.summary import (
    DetectionMeasure,
    MetricOptions,
    Trials,
    make_resampler,
)


class Difference(NamedTuple):
    """A metric of system A less that of system B.

    Attributes:
        a: the metric of A.
        b: that of B.
        value: A less B.
        ci: 95 % interval of the difference.
        p_value: two-sided p value of no difference.
    """

    a: float
    b: float
    value: float
    ci: tuple[float, float]
    p_value: float


class Comparison(NamedTuple):
    """Two systems on the same trials.

    Attributes:
        metrics_a: metrics of A.
        metrics_b: metrics of B.
        differences: by metric.
        undefined: metrics that infinite scores leave without a difference.
    """

    metrics_a: dict[str, float]
    metrics_b: dict[str, float]
    differences: dict[str, Difference]
    undefined: list[str]


def compare_pair(trials: Trials, options: MetricOptions, bootstrap: int) -> Comparison:
    """Differences of two systems; both are measured on each sample of the trials.

    Args:
        trials: tables of ``bonafide`` and ``spoof`` with the columns ``a`` and ``b``, and
            ``cluster`` if its values are resampled instead of single trials.
        options: what the metrics depend on.
        bootstrap: number of samples.
    """
    system_a = DetectionMeasure(trials, options, "a")
    system_b = DetectionMeasure(trials, options, "b")

    def sample_differences(*counts: np.ndarray) -> dict[str, float]:
        return _differences(
            system_a.resampled_metrics(*counts), system_b.resampled_metrics(*counts)
        )

    samples = replicates(sample_differences, make_resampler(trials), bootstrap)
    metrics_a = system_a.metrics()
    metrics_b = system_b.metrics()
    differences = {}
    undefined = []
    for name, value in _differences(metrics_a, metrics_b).items():
        if not np.isfinite([value, *samples[name]]).all():
            undefined.append(name)
            continue
        differences[name] = Difference(
            a=metrics_a[name],
            b=metrics_b[name],
            value=value,
            ci=interval(samples[name]),
            p_value=_p_value(samples[name]),
        )
    return Comparison(metrics_a, metrics_b, differences, undefined)


def _differences(metrics_a: dict[str, float], metrics_b: dict[str, float]) -> dict[str, float]:
    """A minus B of every metric; a threshold is no metric."""
    return {
        name: metrics_a[name] - metrics_b[name] for name in metrics_a if name != "eer_threshold"
    }


def _p_value(differences: np.ndarray) -> float:
    """Twice the smaller share of samples on either side of zero, never below 2 / (samples + 1)."""
    below = np.sum(differences <= 0)
    above = np.sum(differences >= 0)
    # The observed difference counts as a sample of its own, so that p is never 0.
    smaller_count = min(below, above) + 1
    return float(min(1.0, 2 * smaller_count / (len(differences) + 1)))
