"""Is system A better than system B: paired bootstrap over the same trials."""

from wedefense_lite import cli

import logging

from jsonargparse.typing import PositiveInt

from wedefense_lite.files import InputError
from wedefense_lite.metrics.comparison import compare_pair
from wedefense_lite.metrics.costs import cost_model
from wedefense_lite.metrics.detection import DEFAULT_TIE, Tie
from wedefense_lite.metrics.summary import MetricOptions, split, warn_of_polarity
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
    comparison = compare_pair(trials, options, bootstrap)
    warn_of_polarity(a, comparison.metrics_a)
    warn_of_polarity(b, comparison.metrics_b)
    rows = [["", "A", "B", "A - B", "95 %", "p"]]
    results = {"cost": model.as_dict(), "tie": tie, "bootstrap": bootstrap}
    for name, difference in comparison.differences.items():
        results[name] = {
            "a": difference.a,
            "b": difference.b,
            "difference": difference.value,
            "ci": difference.ci,
            "p_value": difference.p_value,
        }
        values = [f"{value:z.5f}" for value in (difference.a, difference.b, difference.value)]
        low, high = difference.ci
        rows.append([name, *values, f"{low:z.5f}..{high:z.5f}", f"{difference.p_value:.4f}"])
    if comparison.undefined:
        logging.warning("infinite scores leave %s undefined", ", ".join(comparison.undefined))
    lines = [f"cost model: {model}"]
    if tie != DEFAULT_TIE:
        lines.append(f"ties: {tie}")
    publish([*lines, *table(rows)], results, json)


if __name__ == "__main__":
    cli.run(compare, positional=True)
