"""Is system A better than system B: paired bootstrap over the same trials."""

import numpy as np

from wedefense_lite import cli
from wedefense_lite.files import InputError, write_json
from wedefense_lite.metrics.bootstrap import Resampler, interval, replicates
from wedefense_lite.metrics.costs import cost_model
from wedefense_lite.metrics.summary import detection_statistic
from wedefense_lite.scoring.scores import read_conditions, read_trials


def compare(
    a: str,
    b: str,
    cm_key: str | None = None,
    bootstrap: int = 1000,
    meta: str | None = None,
    cluster: str | None = None,
    cost: str = "asvspoof5_track1",
    seed: int = 0,
    json: str | None = None,
) -> None:
    """Print each metric of A and B, their difference with its 95 % interval, and how often A is lower.

    Args:
        a: scores ``filename cm-score`` of system A.
        b: scores of system B on the same utterances.
        cm_key: labels ``filename cm-label``.
        bootstrap: number of samples; both systems are measured on each of them.
        meta: metadata table with the column ``cluster``.
        cluster: a column whose values (speakers, say) are resampled instead of single trials.
        cost: a cost model by name.
        seed: of the bootstrap.
        json: file for the results in full precision.
    """
    key, model = cli.needed("--cm_key", cm_key), cli.checked(cost_model, cost)
    if bootstrap < 1:
        raise InputError(f"--bootstrap is {bootstrap}, expected 1 or more")
    names, classes, scores_a = read_trials(a, key)
    scores_b = read_trials(b, key)[2]
    [clusters] = read_conditions(cli.needed("--meta", meta) if cluster else "", [cluster], names)
    systems = [
        detection_statistic(classes, scores, model, None, "merge") for scores in (scores_a, scores_b)
    ]
    of_a, of_b = (system(None) for system in systems)

    def difference(weights: np.ndarray) -> dict[str, float]:
        sample_a, sample_b = (system(weights) for system in systems)
        return {name: sample_a[name] - sample_b[name] for name in sample_a}

    samples = replicates(difference, Resampler(classes, clusters), bootstrap, seed)
    results = {
        name: {
            "a": of_a[name],
            "b": of_b[name],
            "difference": of_a[name] - of_b[name],
            "ci": interval(values),
            "share_a_lower": float(np.mean(values < 0)),
            "p_value": _p_value(values),
        }
        for name, values in samples.items()
        if name != "eer_threshold"
        and np.isfinite(values).all()
        and np.isfinite(of_a[name] - of_b[name])
    }
    print(
        f"cost model: {model}\n{'':>10} {'A':>9} {'B':>9} {'A - B':>9} {'95 % interval':>21} {'p':>7}"
    )
    for name, row in results.items():
        ends = "{:.5f}..{:.5f}".format(*row["ci"])
        numbers = " ".join(f"{row[column]:9.5f}" for column in ("a", "b", "difference"))
        print(f"{name:>10} {numbers} {ends:>21} {row['p_value']:7.4f}")
    if json:
        write_json(json, results | {"cost": model.as_dict(), "bootstrap": bootstrap})


def _p_value(differences: np.ndarray) -> float:
    """Two-sided: twice the smaller share of samples on either side of zero, never below 1 / samples."""
    beyond = min(np.sum(differences <= 0), np.sum(differences >= 0)) + 1
    return float(min(1.0, 2 * beyond / (len(differences) + 1)))


if __name__ == "__main__":
    cli.run(compare, positional=True)
