"""Is system A better than system B: paired bootstrap over the same trials."""

from wedefense_lite import cli

import logging

import numpy as np
from jsonargparse.typing import PositiveInt

from wedefense_lite.files import InputError
from wedefense_lite.metrics.bootstrap import interval, replicates
from wedefense_lite.metrics.costs import cost_model
from wedefense_lite.metrics.detection import DEFAULT_TIE, Tie
from wedefense_lite.metrics.summary import (
    DetectionMeasure,
    MetricOptions,
    make_resampler,
    split,
    warn_of_polarity,
)
from wedefense_lite.report.tables import check_outputs, publish, table
from wedefense_lite.scoring.scores import DEFAULT_PHASE, Phase, read_condition, read_trials


def compare(
    a: str,
    b: str,
    cm_key: str | None = None,
    bootstrap: PositiveInt = 1000,
    meta: str | None = None,
    cluster: str | None = None,
    cost: str = "asvspoof5_track1",
    tie: Tie = DEFAULT_TIE,
    phase: Phase = DEFAULT_PHASE,
    json: str | None = None,
) -> None:
    """Print each metric of A and B, their difference, its 95 % interval and a two-sided p value.

    Args:
        a: scores ``filename cm-score`` of system A.
        b: scores of system B on the same utterances.
        cm_key: labels ``filename cm-label``.
        bootstrap: number of samples; both systems are measured on each of them. A sample without
            a class is drawn again.
        meta: metadata table with the column ``cluster``; by default the key.
        cluster: a column whose values (speakers, say) are resampled instead of single trials.
        cost: a cost model by name.
        tie: rule for equal scores, merge or official, as in bin/evaluate.py.
        phase: part of an ASVspoof 2021 key: progress, eval, hidden, or all.
        json: file for the results in full precision.
    """
    check_outputs(json)
    key = cli.needed("--cm_key", cm_key)
    model = cli.checked_option("--cost", cost_model, cost)
    if meta and not cluster:
        raise InputError(f"--meta is {meta}, but no --cluster names a column of it")
    # Both files in the order of the key: one table, so that a draw takes the same utterances from
    # both.
    names, classes, scores_a = read_trials(a, key, phase=phase)
    _, _, scores_b = read_trials(b, key, phase=phase)
    columns = {"a": scores_a, "b": scores_b}
    if cluster:
        columns["cluster"] = read_condition(meta or key, cluster, names)
    trials = split(classes, columns)
    options = MetricOptions(model, merge_ties=tie == "merge")
    system_a = DetectionMeasure(trials, options, "a")
    system_b = DetectionMeasure(trials, options, "b")

    def sample_differences(*counts: np.ndarray) -> dict[str, float]:
        return _differences(
            system_a.resampled_metrics(*counts), system_b.resampled_metrics(*counts)
        )

    samples = replicates(sample_differences, make_resampler(trials), bootstrap)
    metrics_a = system_a.metrics()
    metrics_b = system_b.metrics()
    warn_of_polarity(a, metrics_a)
    warn_of_polarity(b, metrics_b)
    rows = [["", "A", "B", "A - B", "95 %", "p"]]
    results = {"cost": model.as_dict(), "tie": tie, "bootstrap": bootstrap}
    undefined = []
    for name, difference in _differences(metrics_a, metrics_b).items():
        if not np.isfinite([difference, *samples[name]]).all():
            undefined.append(name)
            continue
        low, high = interval(samples[name])
        result = {
            "a": metrics_a[name],
            "b": metrics_b[name],
            "difference": difference,
            "ci": (low, high),
            "p_value": _p_value(samples[name]),
        }
        results[name] = result
        values = [f"{result[column]:z.5f}" for column in ("a", "b", "difference")]
        rows.append([name, *values, f"{low:z.5f}..{high:z.5f}", f"{result['p_value']:.4f}"])
    if undefined:
        logging.warning("infinite scores leave %s undefined", ", ".join(undefined))
    lines = [f"cost model: {model}"]
    if tie != DEFAULT_TIE:
        lines.append(f"ties: {tie}")
    publish([*lines, *table(rows)], results, json)


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


if __name__ == "__main__":
    cli.run(compare, positional=True)
