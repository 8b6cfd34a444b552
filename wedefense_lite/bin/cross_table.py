"""Systems by corpora: the main numbers of several experiments on one screen, as model cards print them."""

from pathlib import Path

from wedefense_lite import cli
from wedefense_lite.files import InputError, read_json, write_lines
from wedefense_lite.metrics.costs import CostModel
from wedefense_lite.report.tables import publish, table

METRICS = {
    "eer": ("EER %", lambda rate: f"{100 * rate:.2f}"),
    "min_dcf": ("min DCF", "{:.4f}".format),
}
MIXTURES = {
    "macro_f1": ("macro F1", "{:.3f}".format),
    "chance_macro_f1": ("chance", "{:.3f}".format),
}
MIXTURES |= {
    f"{what}_eer": (f"{what.replace('_', '-')} EER %", METRICS["eer"][1])
    for what in ("any_spoof", "source")
}
MIXTURES |= {
    "assignment": ("sources by", str),
    "sisdr_improvement": ("SI-SDRi dB", "{:.2f}".format),
}


def cross_table(
    exp_dirs: str,
    sets: str = "",
    mixtures: bool = False,
    json: str | None = None,
    markdown: str | None = None,
) -> None:
    """Print a row of each experiment: EER in percent and min DCF on each set, empty where it was not scored.

    Args:
        exp_dirs: comma list of experiments, which hold results_<set>.json, or mixtures/<set>/results.json.
        sets: comma list of sets, in their order; by default all that one of the experiments was scored
            on, without those of calibrated scores, whose EER and min DCF are the same.
        mixtures: results of bin/evaluate_mixtures.py instead: oracle, separated and direct systems beside each
            other by macro F1, that of chance, EERs, and SI-SDR improvement, empty where one is not known.
        json: file for the numbers in full precision, the EER as a fraction.
        markdown: file for the table in Markdown.
    """
    folders = [Path(folder) for folder in exp_dirs.split(",")]
    names = [folder.resolve().name for folder in folders]
    if len(set(names)) < len(names):
        names = [str(folder) for folder in folders]
    results = {name: _results(folder, mixtures) for name, folder in zip(names, folders)}
    wanted = (
        sets.split(",") if sets else sorted({one for found in results.values() for one in found})
    )
    cost, metrics = _same(results, wanted), MIXTURES if mixtures else METRICS
    systems = {
        name: {
            one: {key: found[one][key] for key in metrics if key in found[one]}
            for one in wanted
            if one in found
        }
        for name, found in results.items()
    }
    heads = ["", *(f"{one} {metric}" for one in wanted for metric, _ in metrics.values())]
    rows = [heads, *([name, *_cells(found, wanted, metrics)] for name, found in systems.items())]
    model = CostModel(**{key: cost[key] for key in cost if key != "threshold"}) if cost else None
    line = [f"cost model of min DCF: {model}"] if cost else []
    publish([*line, *table(rows)], ({"cost": cost} if cost else {}) | {"systems": systems}, json)
    if markdown:
        rows = [["system", *heads[1:]], ["---", *["---:"] * (len(heads) - 1)], *rows[1:]]
        write_lines(
            markdown, [*(f"| {' | '.join(row)} |" for row in rows), *(["", *line] if line else [])]
        )


def _results(folder: Path, mixtures: bool) -> dict[str, dict]:
    """Results of detection, or of mixtures, in an experiment, by set."""
    if mixtures:
        found = {
            path.parent.name: read_json(path)
            for path in sorted(folder.glob("mixtures/*/results.json"))
        }
    else:
        files = [
            path
            for path in sorted(folder.glob("results_*.json"))
            if not path.stem.endswith("_calibrated")
        ]
        found = {path.stem.removeprefix("results_"): read_json(path) for path in files}
    needed = {"macro_f1", "n_mixtures", "assignment"} if mixtures else {*METRICS, "cost", "tie"}
    found = {one: result for one, result in found.items() if needed <= result.keys()}
    if not found:
        what = "mixtures" if mixtures else "detection"
        files = "mixtures/*/results.json" if mixtures else "results_*.json"
        raise InputError(f"{folder}: no {files} of {what}, expected those of stage 7")
    return found


def _same(results: dict[str, dict], sets: list[str]) -> dict | None:
    """The cost model, if it, the treatment of ties and the trials of each set are the same in all results.

    Of mixtures these are the trials; their numbers need no cost model.
    """
    first: dict[str, tuple] = {}
    for name, found in results.items():
        for one in (one for one in sets if one in found):
            result = found[one]
            if "n_mixtures" in result:
                same = {
                    one: f"{[sum(row) for row in result['confusion']]} mixtures of {', '.join(result['classes'])}"
                }
            else:
                trials = f"{result['n_bonafide']} bona fide and {result['n_spoof']} spoofed trials"
                cost = {name: value for name, value in result["cost"].items() if name != "name"}
                same = {"cost": cost, "tie": result["tie"], one: trials}
            for what, value in same.items():
                known, where = first.setdefault(what, (value, f"{name} on {one}"))
                if value != known:
                    raise InputError(f"{name} on {one}: {what} {value}, but {known} in {where}")
    if not first:
        raise InputError(f"no results on {', '.join(sets)}")
    return None if "n_mixtures" in result else result["cost"]


def _cells(found: dict[str, dict], sets: list[str], metrics: dict) -> list[str]:
    places = [
        (found.get(one, {}), metric, show) for one in sets for metric, (_, show) in metrics.items()
    ]
    return [show(result[metric]) if metric in result else "" for result, metric, show in places]


if __name__ == "__main__":
    cli.run(cross_table)
