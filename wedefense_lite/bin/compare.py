"""Is system A better than system B: paired bootstrap over the same trials."""

import numpy as np

from wedefense_lite import cli
from wedefense_lite.files import InputError
from wedefense_lite.metrics.bootstrap import interval, replicates
from wedefense_lite.metrics.costs import cost_model
from wedefense_lite.metrics.summary import Options, resampler, split, statistic
from wedefense_lite.report.tables import publish, table
from wedefense_lite.scoring.scores import read_condition, read_trials


def compare(
    a: str,
    b: str,
    cm_key: str | None = None,
    bootstrap: int = 1000,
    meta: str | None = None,
    cluster: str | None = None,
    cost: str = "asvspoof5_track1",
    json: str | None = None,
) -> None:
    """Print each metric of A and B, their difference, its 95 % interval and a two-sided p value.

    Args:
        a: scores ``filename cm-score`` of system A.
        b: scores of system B on the same utterances.
        cm_key: labels ``filename cm-label``.
        bootstrap: number of samples; both systems are measured on each of them.
        meta: metadata table with the column ``cluster``.
        cluster: a column whose values (speakers, say) are resampled instead of single trials.
        cost: a cost model by name.
        json: file for the results in full precision.
    """
    key, model = cli.needed("--cm_key", cm_key), cli.checked(cost_model, cost)
    if bootstrap < 1:
        raise InputError(f"--bootstrap is {bootstrap}, expected 1 or more")
    # Both files in the order of the key: one table, so that a draw takes the same utterances from both.
    names, classes, scores_a = read_trials(a, key)
    _, _, scores_b = read_trials(b, key)
    columns = {"a": scores_a, "b": scores_b}
    if cluster:
        columns["cluster"] = read_condition(cli.needed("--meta", meta), cluster, names)
    trials = split(classes, columns)
    metrics_a = statistic(trials, Options(model), "a")
    metrics_b = statistic(trials, Options(model), "b")

    def differences(*counts: np.ndarray) -> dict[str, float]:
        of_a = metrics_a(*counts)
        of_b = metrics_b(*counts)
        return {name: of_a[name] - of_b[name] for name in of_a if name != "eer_threshold"}

    whole = differences()
    of_a = metrics_a()
    of_b = metrics_b()
    rows, results = (
        [["", "A", "B", "A - B", "95 %", "p"]],
        {"cost": model.as_dict(), "bootstrap": bootstrap},
    )
    for name, samples in replicates(differences, resampler(trials), bootstrap).items():
        if np.isfinite([whole[name], *samples]).all():
            row = {"a": of_a[name], "b": of_b[name], "difference": whole[name]}
            low, high = interval(samples)
            results[name] = row | {"ci": (low, high), "p_value": _p_value(samples)}
            cells = [f"{value:.5f}" for value in row.values()]
            rows.append([name, *cells, f"{low:.5f}..{high:.5f}", f"{results[name]['p_value']:.4f}"])
    publish([f"cost model: {model}", *table(rows)], results, json)


def _p_value(differences: np.ndarray) -> float:
    """Twice the smaller share of samples on either side of zero, never below 2 / (samples + 1)."""
    beyond = min(np.sum(differences <= 0), np.sum(differences >= 0)) + 1
    return float(min(1.0, 2 * beyond / (len(differences) + 1)))


if __name__ == "__main__":
    cli.run(compare, positional=True)
