"""Systems by corpora: EER and min DCF of several experiments on one screen, as model cards print them."""

from pathlib import Path

from wedefense_lite import cli
from wedefense_lite.files import InputError, read_json, write_lines
from wedefense_lite.metrics.costs import CostModel
from wedefense_lite.scoring.results import publish, table

METRICS = {"eer": ("EER %", lambda rate: f"{100 * rate:.2f}"), "min_dcf": ("min DCF", "{:.4f}".format)}


def cross_table(exp_dirs: str, sets: str = "", json: str | None = None, markdown: str | None = None) -> None:
    """Print a row of each experiment: EER in percent and min DCF on each set, empty where it was not scored.

    Args:
        exp_dirs: comma list of experiments, which hold results_<set>.json.
        sets: comma list of sets, in their order; by default all that one of the experiments was scored
            on, without those of calibrated scores, whose EER and min DCF are the same.
        json: file for the numbers in full precision, the EER as a fraction.
        markdown: file for the table in Markdown.
    """
    folders = [Path(folder) for folder in exp_dirs.split(",")]
    names = [folder.resolve().name for folder in folders]
    if len(set(names)) < len(names):
        names = [str(folder) for folder in folders]
    results = {name: _results(folder) for name, folder in zip(names, folders)}
    wanted = sets.split(",") if sets else sorted({one for found in results.values() for one in found})
    cost = _same(results, wanted)
    systems = {
        name: {one: {metric: found[one][metric] for metric in METRICS} for one in wanted if one in found}
        for name, found in results.items()
    }
    heads = ["", *(f"{one} {metric}" for one in wanted for metric, _ in METRICS.values())]
    rows = [heads, *([name, *_cells(found, wanted)] for name, found in systems.items())]
    line = f"cost model of min DCF: {CostModel(**{key: cost[key] for key in cost if key != 'threshold'})}"
    publish([line, *table(rows)], {"cost": cost, "systems": systems}, json)
    if markdown:
        rows = [["system", *heads[1:]], ["---", *["---:"] * (len(heads) - 1)], *rows[1:]]
        write_lines(markdown, [*(f"| {' | '.join(row)} |" for row in rows), "", line])


def _results(folder: Path) -> dict[str, dict]:
    """Results of detection in an experiment, by set."""
    files = [path for path in sorted(folder.glob("results_*.json")) if not path.stem.endswith("_calibrated")]
    found = {path.stem.removeprefix("results_"): read_json(path) for path in files}
    found = {one: result for one, result in found.items() if {*METRICS, "cost", "tie"} <= result.keys()}
    if not found:
        raise InputError(f"{folder}: no results_*.json of detection, expected those of stage 7")
    return found


def _same(results: dict[str, dict], sets: list[str]) -> dict:
    """The cost model, if it, the treatment of ties and the trials of each set are the same in all results."""
    first: dict[str, tuple] = {}
    for name, found in results.items():
        for one in (one for one in sets if one in found):
            result = found[one]
            trials = f"{result['n_bonafide']} bona fide and {result['n_spoof']} spoofed trials"
            cost = {name: value for name, value in result["cost"].items() if name != "name"}
            for what, value in {"cost": cost, "tie": result["tie"], one: trials}.items():
                known, where = first.setdefault(what, (value, f"{name} on {one}"))
                if value != known:
                    raise InputError(f"{name} on {one}: {what} {value}, but {known} in {where}")
    if not first:
        raise InputError(f"no results on {', '.join(sets)}")
    return result["cost"]


def _cells(found: dict[str, dict], sets: list[str]) -> list[str]:
    places = [(one, metric, show) for one in sets for metric, (_, show) in METRICS.items()]
    return [show(found[one][metric]) if one in found else "" for one, metric, show in places]


if __name__ == "__main__":
    cli.run(cross_table)
