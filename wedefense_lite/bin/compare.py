"""Is system A better than system B: paired bootstrap over the same trials."""

import numpy as np

from wedefense_lite import cli
from wedefense_lite.files import InputError, write_json
from wedefense_lite.metrics.bootstrap import Resampler, interval, replicates
from wedefense_lite.metrics.costs import cost_model
from wedefense_lite.metrics.summary import Options, detection_statistic
from wedefense_lite.scoring.scores import read_condition, read_trials


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
    """Print each metric of A and B, their difference, its 95 % interval and a two-sided p value.

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
    names, classes, of_a = read_trials(a, key)
    of_b = read_trials(b, key)[2]
    clusters = read_condition(cli.needed("--meta", meta), cluster, names) if cluster else None
    systems = [detection_statistic({"class": classes, "cm-score": scores}, Options(model)) for scores in (of_a, of_b)]

    def differences(weights: np.ndarray | None) -> dict[str, float]:
        values = [system(weights) for system in systems]
        return {name: values[0][name] - values[1][name] for name in values[0] if name != "eer_threshold"}

    whole, values = differences(None), [system(None) for system in systems]
    results = {"cost": model.as_dict(), "bootstrap": bootstrap}
    print(f"cost model: {model}\n{'':>9}        A        B    A - B  (95 % interval)  p")
    for name, samples in replicates(differences, Resampler(classes, clusters), bootstrap, seed).items():
        if np.isfinite([whole[name], *samples]).all():
            row = {"a": values[0][name], "b": values[1][name], "difference": whole[name]}
            low, high = interval(samples)
            results[name] = row | {"ci": (low, high), "p_value": _p_value(samples)}
            cells = " ".join(f"{value:8.5f}" for value in row.values())
            print(f"{name:>9} {cells}  ({low:.5f} .. {high:.5f})  {results[name]['p_value']:.4f}")
    if json:
        write_json(json, results)


def _p_value(differences: np.ndarray) -> float:
    """Twice the smaller share of samples on either side of zero, never below 2 / (samples + 1)."""
    beyond = min(np.sum(differences <= 0), np.sum(differences >= 0)) + 1
    return float(min(1.0, 2 * beyond / (len(differences) + 1)))


if __name__ == "__main__":
    cli.run(compare, positional=True)
