"""Mean and spread of the results of several seeds, for tools/seeds.sh."""

from wedefense_lite import cli

import math
import statistics
from pathlib import Path

from wedefense_lite.files import InputError, check_writable, read_json, write_json, write_lines
from wedefense_lite.report.tables import table

# Numbers of trials are those of the set, and thresholds of different models don't compare.
LEFT_OUT = ("n_", "threshold")


def seeds(exp_dirs: list[str], out: str) -> None:
    """Print mean, standard deviation, minimum and maximum of each metric over experiments.

    The same is written to OUT.tsv, and with the value of each experiment to OUT.json.

    Args:
        exp_dirs: experiments after stage 7 that differ in their seed, two or more.
        out: beginning of the names of the files.
    """
    if len(exp_dirs) < 2:
        raise InputError(f"--exp_dirs: {len(exp_dirs)} experiment, expected two or more")
    check_writable(f"{out}.tsv", f"{out}.json")
    values = metric_values(exp_dirs)
    rows = [["set", "metric", "mean", "std", "min", "max"]]
    content = {}
    for (name, metric), numbers in values.items():
        spread = {
            "mean": statistics.fmean(numbers),
            "std": statistics.stdev(numbers),
            "min": min(numbers),
            "max": max(numbers),
        }
        rows.append([name, metric, *(f"{number:.5f}" for number in spread.values())])
        by_experiment = dict(zip(exp_dirs, numbers))
        content.setdefault(name, {})[metric] = spread | {"values": by_experiment}
    write_lines(f"{out}.tsv", ["\t".join(row) for row in rows])
    write_json(f"{out}.json", content)
    print(f"{len(exp_dirs)} seeds")
    print("\n".join(table(rows)))


def metric_values(exp_dirs: list[str]) -> dict[tuple[str, str], list[float]]:
    """Values of each metric, an experiment each, by set and name of the metric.

    Raises:
        InputError: experiments without results, or with results of other sets or metrics.
    """
    first = results_of(exp_dirs[0])
    values: dict[tuple[str, str], list[float]] = {key: [] for key in first}
    for exp_dir in exp_dirs:
        results = results_of(exp_dir)
        differing = sorted(results.keys() ^ first.keys())
        if differing:
            name, metric = differing[0]
            raise InputError(
                f"{exp_dir}: {metric} of results_{name}.json is not in all experiments, expected "
                f"the results that {exp_dirs[0]} has: run stage 7 of both"
            )
        for key, value in results.items():
            values[key].append(value)
    return values


def results_of(exp_dir: str) -> dict[tuple[str, str], float]:
    """Metrics of an experiment by set and name."""
    metrics = {}
    for path in sorted(Path(exp_dir).glob("results_*.json")):
        results = read_json(path)
        if not isinstance(results, dict):
            raise InputError(f"{path}: no object, expected results of stage 7")
        for metric, value in results.items():
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            is_metric = not any(word in metric for word in LEFT_OUT)
            if is_number and is_metric and math.isfinite(value):
                metrics[path.stem.removeprefix("results_"), metric] = float(value)
    if not metrics:
        raise InputError(f"{exp_dir}: no results_*.json, expected an experiment after stage 7")
    return metrics


if __name__ == "__main__":
    cli.run(seeds)
