"""Systems by corpora: the main numbers of several experiments in one table."""

from wedefense_lite import cli

import logging
from dataclasses import dataclass, fields
from pathlib import Path

from wedefense_lite.files import InputError, note_input, read_json, write_lines
from wedefense_lite.metrics.arenas import SetScores, pooled_metrics, spoof_acceptance
from wedefense_lite.metrics.costs import CostModel
from wedefense_lite.metrics.detection import DEFAULT_TIE, SortedScores
from wedefense_lite.metrics.summary import warn_of_polarity
from wedefense_lite.report.tables import check_outputs, publish, table
from wedefense_lite.scoring.scores import key_of_set, read_trials


@dataclass(frozen=True)
class Column:
    """A number of a set's results.

    Attributes:
        key: its name in the results.
        title: its name in the table.
        decimals: digits after the point; None for a text.
        is_percent: whether a fraction is printed in percent.
    """

    key: str
    title: str
    decimals: int | None
    is_percent: bool = False

    def format(self, value: float | str | None) -> str:
        if value is None:
            return "n/a"
        if self.decimals is None:
            return str(value)
        number = 100 * value if self.is_percent else value
        return f"{number:z.{self.decimals}f}"


DETECTION_COLUMNS = (
    Column("eer", "EER %", 2, is_percent=True),
    Column("min_dcf", "min DCF", 4),
)
MIXTURE_COLUMNS = (
    Column("macro_f1", "macro F1", 3),
    Column("chance_macro_f1", "chance", 3),
    Column("any_spoof_eer", "any-spoof EER %", 2, is_percent=True),
    Column("source_eer", "source EER %", 2, is_percent=True),
    Column("assignment", "sources by", None),
    Column("sisdr_improvement", "SI-SDRi dB", 2),
)
# Numbers over several sets: title, decimals, whether a fraction is printed in percent.
OVER_SETS = {
    "average_eer": ("average EER %", 2, True),
    "pooled_eer": ("pooled EER %", 2, True),
    "threshold": ("threshold", 4, False),
    "accuracy": ("accuracy %", 2, True),
    "f1": ("F1", 4, False),
    "srr_complement": ("1-SRR %", 2, True),
}
# Entries by which results of stage 7 are told from other JSON files of the same name.
DETECTION_KEYS = {"eer", "min_dcf", "cost", "tie"}
MIXTURE_KEYS = {"macro_f1", "n_mixtures", "assignment"}


def cross_table(
    exp_dirs: str,
    sets: str = "",
    mixtures: bool = False,
    pooled: bool = False,
    data_dir: str | None = None,
    threshold_set: str | None = None,
    json: str | None = None,
    markdown: str | None = None,
) -> None:
    """Print a row an experiment: EER in percent and min DCF on each set, empty if not scored.

    Both are n/a on a set of one class.

    Args:
        exp_dirs: comma list of experiments, with results_<set>.json or mixtures/<set>/results.json.
        sets: comma list of sets, in their order; by default all sets on which one of the
            experiments was scored. Sets of calibrated scores are left out: their EER and min DCF
            are the same.
        mixtures: results of bin/evaluate_mixtures.py instead. Oracle, separated and direct systems
            stand beside each other by macro F1, macro F1 of chance, EERs and SI-SDR improvement,
            empty where a number is unknown.
        pooled: a second table from the LLRs themselves: the mean EER of the sets, the EER of all
            trials in one pool, and at its one threshold accuracy and F1 of bona fide.
        data_dir: folder of the sets with their keys or labels, for ``pooled`` and
            ``threshold_set``; by default the folder data of each experiment.
        threshold_set: a set whose EER threshold decides on the others: the table has the share of
            spoofs that it accepts (1 - SRR), on sets of spoofs alone too.
        json: file for the numbers in full precision, the EER as a fraction.
        markdown: file for the table in Markdown.
    """
    check_outputs(json, markdown)
    if mixtures and (pooled or threshold_set):
        raise InputError("--pooled and --threshold_set are of detection, and --mixtures is given")
    if data_dir and not (pooled or threshold_set):
        raise InputError("--data_dir goes with --pooled or --threshold_set, which are not given")
    folders = [Path(folder) for folder in exp_dirs.split(",")]
    names = [folder.resolve().name for folder in folders]
    if len(set(names)) < len(names):
        names = [str(folder) for folder in folders]
    results = {}
    for name, folder in zip(names, folders):
        results[name] = _read_mixtures(folder) if mixtures else _read_detection(folder)
    all_sets = set().union(*results.values())
    set_names = sets.split(",") if sets else sorted(all_sets)
    columns = MIXTURE_COLUMNS if mixtures else DETECTION_COLUMNS
    cost, tie = _check_same(results, set_names)
    for name, by_set in results.items():
        for set_name in set_names:
            warn_of_polarity(f"{name} on {set_name}", by_set.get(set_name, {}))
    systems = {name: _select(by_set, set_names, columns) for name, by_set in results.items()}
    titles = [f"{set_name} {column.title}" for set_name in set_names for column in columns]
    rows = [[name, *_cells(by_set, set_names, columns)] for name, by_set in systems.items()]
    content = {"systems": systems}
    cost_lines = []
    if cost:
        content = {"cost": cost} | content
        numbers = {name: value for name, value in cost.items() if name != "threshold"}
        cost_lines = [f"cost model of min DCF: {CostModel(**numbers)}"]
    if tie not in (None, DEFAULT_TIE):
        content = {"tie": tie} | content
        cost_lines.append(f"ties: {tie}")
    lines = [*cost_lines, *table([["", *titles], *rows])]
    if pooled or threshold_set:
        merge_ties = tie in (None, DEFAULT_TIE)
        numbers = {}
        for name, folder in zip(names, folders):
            scores = _read_set_scores(folder, set_names, threshold_set, data_dir)
            numbers[name] = _over_sets(scores, set_names, threshold_set, merge_ties, pooled)
        content["over_sets"] = numbers
        over_titles, over_rows = _rows_over_sets(numbers)
        lines += ["", *table([["", *over_titles], *over_rows])]
        titles = [*titles, *over_titles]
        rows = [[*row, *over_row[1:]] for row, over_row in zip(rows, over_rows)]
    publish(lines, content, json)
    if markdown:
        _write_markdown(markdown, titles, rows, cost_lines)


def _read_set_scores(
    folder: Path, set_names: list[str], threshold_set: str | None, data_dir: str | None
) -> dict[str, SetScores]:
    """LLRs of an experiment by set, of the sets that it scored; of one class or both.

    Raises:
        InputError: no LLRs or no key of a set that is needed.
    """
    needed = [*set_names]
    if threshold_set and threshold_set not in needed:
        needed.append(threshold_set)
    scores = {}
    for set_name in needed:
        llr = folder / "posteriors" / set_name / "llr.txt"
        if not llr.exists():
            if set_name == threshold_set:
                raise InputError(f"{llr}: No such file, and --threshold_set is {threshold_set}")
            logging.warning("%s: No such file: %s is not in the pool", llr, set_name)
            continue
        key = key_of_set((Path(data_dir) if data_dir else folder / "data") / set_name)
        _, classes, values = read_trials(llr, key, needs_both=False)
        is_bonafide = classes == "bonafide"
        scores[set_name] = SetScores(values[is_bonafide], values[~is_bonafide])
    return scores


def _over_sets(
    scores: dict[str, SetScores],
    set_names: list[str],
    threshold_set: str | None,
    merge_ties: bool,
    pooled: bool,
) -> dict[str, float]:
    """Numbers of an experiment over its sets, fractions.

    Args:
        scores: by set.
        set_names: sets of the table.
        threshold_set: set whose EER threshold decides on the others; None for no such numbers.
        merge_ties: rule for ties in EERs.
        pooled: whether numbers of the pool are asked for.
    """
    numbers = {}
    sets = {name: scores[name] for name in set_names if name in scores}
    if pooled:
        if not sets:
            raise InputError("--pooled: no LLRs of a set, expected posteriors/<set>/llr.txt")
        numbers |= cli.checked(pooled_metrics, sets, merge_ties)
    if threshold_set:
        threshold = cli.checked(SortedScores, *scores[threshold_set]).eer(merge_ties).threshold
        for name, (_, spoof) in sets.items():
            if name != threshold_set and spoof.size:
                numbers[f"srr_complement {name}"] = spoof_acceptance(spoof, threshold)
    return numbers


def _rows_over_sets(numbers: dict[str, dict[str, float]]) -> tuple[list[str], list[list[str]]]:
    """Titles and rows of the table of numbers over sets; empty where a number is unknown."""
    keys = list(dict.fromkeys(key for values in numbers.values() for key in values))
    columns = []
    for key in keys:
        metric, _, set_name = key.partition(" ")
        title, decimals, is_percent = OVER_SETS[metric]
        columns.append(Column(key, f"{set_name} {title}".strip(), decimals, is_percent))
    rows = []
    for name, values in numbers.items():
        cells = [
            column.format(values[column.key]) if column.key in values else "" for column in columns
        ]
        rows.append([name, *cells])
    return [column.title for column in columns], rows


def _read_detection(folder: Path) -> dict[str, dict]:
    """Results of detection in an experiment, by set."""
    results = {}
    for path in sorted(folder.glob("results_*.json")):
        if path.stem.endswith("_calibrated"):
            continue
        result = read_json(path)
        if isinstance(result, dict) and result.keys() >= DETECTION_KEYS:
            _check_detection(path, result)
            note_input(path)
            results[path.stem.removeprefix("results_")] = result
    if not results:
        raise InputError(f"{folder}: no results_*.json of detection, expected those of stage 7")
    return results


def _read_mixtures(folder: Path) -> dict[str, dict]:
    """Results of mixtures in an experiment, by set."""
    results = {}
    for path in sorted(folder.glob("mixtures/*/results.json")):
        result = read_json(path)
        if isinstance(result, dict) and result.keys() >= MIXTURE_KEYS:
            _check_mixtures(path, result)
            note_input(path)
            results[path.parent.name] = result
    if not results:
        raise InputError(
            f"{folder}: no mixtures/*/results.json of mixtures, expected those of stage 7"
        )
    return results


def _check_detection(path: Path, result: dict) -> None:
    """Refuse results of detection that somebody changed or cut."""
    _check_numbers(path, result, ("n_bonafide", "n_spoof"))
    # A set of one class has neither.
    if result["n_bonafide"] and result["n_spoof"]:
        _check_numbers(path, result, ("eer", "min_dcf"))
    cost = result["cost"]
    names = {field.name for field in fields(CostModel)}
    if not (isinstance(cost, dict) and cost.keys() == names | {"threshold"}):
        raise InputError(f"{path}: cost is {cost!r}, expected {', '.join(sorted(names))}")
    _check_numbers(path, cost, tuple(sorted(cost.keys() - {"name"})))


def _check_mixtures(path: Path, result: dict) -> None:
    """Refuse results of mixtures that somebody changed or cut."""
    _check_numbers(path, result, ("n_mixtures",))
    confusion = result.get("confusion")
    classes = result.get("classes")
    if not (isinstance(classes, list) and isinstance(confusion, list)):
        raise InputError(f"{path}: no classes or no confusion, expected lists of both")


def _check_numbers(path: Path, result: dict, names: tuple[str, ...]) -> None:
    for name in names:
        if not isinstance(result.get(name), int | float):
            raise InputError(f"{path}: {name} is {result.get(name)!r}, expected a number")


def _check_same(results: dict[str, dict], set_names: list[str]) -> tuple[dict | None, str | None]:
    """Refuse numbers that can't stand in one column.

    Cost model, treatment of ties and the trials of each set must be the same in all results; of
    mixtures the trials, since their numbers need no cost model.

    Returns:
        The cost model and the rule for ties; None for mixtures.
    """
    first_values: dict[str, tuple] = {}
    cost = None
    tie = None
    for name, by_set in results.items():
        for set_name in set_names:
            if set_name not in by_set:
                continue
            result = by_set[set_name]
            values = _comparable_values(set_name, result)
            if "cost" in values:
                cost = result["cost"]
                tie = result["tie"]
            for entry, value in values.items():
                first_value, first_place = first_values.setdefault(
                    entry, (value, f"{name} on {set_name}")
                )
                if value != first_value:
                    raise InputError(
                        f"{name} on {set_name}: {entry} {value}, but {first_value} in {first_place}"
                    )
    if not first_values:
        raise InputError(f"no results on {', '.join(set_names)}")
    return cost, tie


def _comparable_values(set_name: str, result: dict) -> dict:
    """Entries that all results of a table share; the trials are an entry with the set's name."""
    if "n_mixtures" in result:
        counts = [sum(row) for row in result["confusion"]]
        return {set_name: f"{counts} mixtures of {', '.join(result['classes'])}"}
    # Two names may stand for the same numbers.
    cost = {name: value for name, value in result["cost"].items() if name != "name"}
    trials = f"{result['n_bonafide']} bona fide and {result['n_spoof']} spoofed trials"
    return {"cost": cost, "tie": result["tie"], set_name: trials}


def _select(
    by_set: dict[str, dict], set_names: list[str], columns: tuple[Column, ...]
) -> dict[str, dict]:
    """The columns of a system's results, on the sets that it was scored on."""
    selected = {}
    for set_name in set_names:
        if set_name in by_set:
            result = by_set[set_name]
            keys = [column.key for column in columns if column.key in result]
            selected[set_name] = {key: result[key] for key in keys}
    return selected


def _cells(by_set: dict[str, dict], set_names: list[str], columns: tuple[Column, ...]) -> list[str]:
    """A system's row: a cell a set and column, empty where the number is unknown."""
    cells = []
    for set_name in set_names:
        result = by_set.get(set_name, {})
        for column in columns:
            has_value = column.key in result
            cells.append(column.format(result[column.key]) if has_value else "")
    return cells


def _write_markdown(path: str, titles: list[str], rows: list[list[str]], footer: list[str]) -> None:
    alignment = ["---", *("---:" for _ in titles)]
    lines = []
    for row in (["system", *titles], alignment, *rows):
        lines.append(f"| {' | '.join(row)} |")
    if footer:
        lines += ["", *footer]
    write_lines(path, lines)


if __name__ == "__main__":
    cli.run(cross_table)
