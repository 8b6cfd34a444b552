"""Several systems side by side on one page, with paired tests."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np

from wedefense_lite.files import InputError
from wedefense_lite.labels import BONAFIDE, LABELS, SPOOF
from wedefense_lite.metrics.comparison import Comparison, compare_pair
from wedefense_lite.metrics.costs import CostModel
from wedefense_lite.metrics.summary import MetricOptions, split
from wedefense_lite.report.pictures import SET_COLOURS, det, svg
from wedefense_lite.report.run import Run, ScoredSet
from wedefense_lite.report.run_tables import interval, show

Pairs = Literal["first", "all"]
# Metrics of the tables, and their names.
SHOWN = {
    "eer": "EER",
    "min_dcf": "min DCF",
    "act_dcf": "actual DCF",
    "min_cllr": "min Cllr",
    "cllr": "Cllr",
}


def holm(p_values: Sequence[float]) -> list[float]:
    """P values of several tests, corrected so that any false one of all is as rare as one is.

    Args:
        p_values: of single tests, in any order.

    Returns:
        corrected values in the same order, at most 1.

    Source: Holm, "A simple sequentially rejective multiple test procedure", 1979.
    """
    corrected = [0.0] * len(p_values)
    largest = 0.0
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    for rank, place in enumerate(order):
        tests_left = len(p_values) - rank
        largest = max(largest, min(1.0, tests_left * p_values[place]))
        corrected[place] = largest
    return corrected


class ComparedSet(NamedTuple):
    """Systems on the trials of a set.

    Attributes:
        name: of the set.
        systems: what each system has of it, by the name of the system.
        comparisons: by the names of two systems A and B, the first against the second.
    """

    name: str
    systems: dict[str, ScoredSet]
    comparisons: dict[tuple[str, str], Comparison]

    @property
    def cost(self) -> CostModel:
        """Costs of the DCF, which all systems share."""
        return next(iter(self.systems.values())).cost

    @property
    def colours(self) -> dict[str, str]:
        """Colour of each system."""
        colours = {}
        for number, name in enumerate(self.systems):
            colours[name] = SET_COLOURS[number % len(SET_COLOURS)]
        return colours

    def metric_rows(self) -> list[list[str]]:
        """Table with a row a system, its header first."""
        rows = [["system", *SHOWN.values()]]
        for name, scored in self.systems.items():
            cells = [name]
            for metric in SHOWN:
                text = show(scored.results.get(metric), metric)
                bounds = interval(scored.results, metric)
                cells.append(f"{text} [{bounds}]" if bounds else text)
            rows.append(cells)
        return rows

    def difference_rows(self) -> list[list[str]]:
        """Table with a row a pair of systems A and B: what each metric of A is more than that of
        B, the 95 % interval of that, and its p value, by Holm over all rows of the column.
        """
        corrected: dict[str, dict[tuple[str, str], float]] = {}
        for metric in SHOWN:
            tested = []
            for pair, comparison in self.comparisons.items():
                if comparison.differences.get(metric) is not None:
                    tested.append(pair)
            p_values = [self.comparisons[pair].differences[metric].p_value for pair in tested]
            corrected[metric] = dict(zip(tested, holm(p_values)))
        rows = [["A − B", *SHOWN.values()]]
        for pair, comparison in self.comparisons.items():
            cells = [" − ".join(pair)]
            for metric in SHOWN:
                difference = comparison.differences.get(metric)
                if difference is None:
                    cells.append("–")
                    continue
                value, low, high = difference.value, *difference.ci
                unit = ""
                digits = 3
                if metric == "eer":
                    value, low, high = 100 * value, 100 * low, 100 * high
                    unit = " %"
                    digits = 2
                cells.append(
                    f"{value:+z.{digits}f}{unit} [{low:z.{digits}f}–{high:z.{digits}f}] "
                    f"p {corrected[metric][pair]:.3f}"
                )
            rows.append(cells)
        return rows

    def picture(self) -> str:
        """SVG text of the DET curves of all systems."""
        coloured = []
        for name, scored in self.systems.items():
            coloured.append((replace(scored, name=name), self.colours[name]))
        return svg(det, coloured)


def pairs_of(names: Sequence[str], pairs: Pairs) -> list[tuple[str, str]]:
    """Pairs of systems A and B that are compared.

    Args:
        names: of the systems.
        pairs: ``first``: each further system against the first. ``all``: each system against each
            of those before it.
    """
    compared = []
    for number, name in enumerate(names):
        earlier = names[:number] if pairs == "all" else names[: min(number, 1)]
        compared += [(name, other) for other in earlier]
    return compared


def compare_runs(runs: dict[str, Run], bootstrap: int, pairs: Pairs = "first") -> list[ComparedSet]:
    """Systems on each set that all of them were scored on.

    Args:
        runs: experiments by the names of the systems, two or more.
        bootstrap: samples of a paired test.
        pairs: see ``pairs_of``.

    Raises:
        InputError: no set in common, or one with other utterances or costs.
    """
    scored_by_system = {}
    for name, run in runs.items():
        scored_by_system[name] = {scored.name: scored for scored in run.sets}
    names = list(runs)
    compared = []
    for set_name in scored_by_system[names[0]]:
        systems = {}
        for name in names:
            if set_name in scored_by_system[name]:
                systems[name] = scored_by_system[name][set_name]
        if len(systems) < len(runs):
            continue
        comparisons = {}
        for name, other in pairs_of(names, pairs):
            comparisons[name, other] = _against(
                systems[name], name, systems[other], other, bootstrap
            )
        compared.append(ComparedSet(set_name, systems, comparisons))
    if not compared:
        raise InputError(f"{', '.join(runs)}: no set that all were evaluated on")
    return compared


def _against(
    scored: ScoredSet, name: str, second: ScoredSet, other: str, bootstrap: int
) -> Comparison:
    """A system, as A, against another one, as B, on the same utterances."""
    if not np.array_equal(scored.key, second.key):
        raise InputError(f"{scored.name}: {name} and {other} have other utterances")
    if scored.cost != second.cost:
        raise InputError(
            f"{scored.name}: costs of {name} are {scored.cost}, those of {other} {second.cost}: "
            "run stage 7 with the same costs"
        )
    classes = np.where(second.bonafide, LABELS[BONAFIDE], LABELS[SPOOF])
    trials = split(classes, {"a": scored.llr, "b": second.llr})
    return compare_pair(trials, MetricOptions(second.cost), bootstrap)


def system_names(exp_dirs: Sequence[str], folders: Sequence[str]) -> list[str]:
    """Names of systems: those of their folders, or paths as they were typed where two are equal.

    Args:
        exp_dirs: paths as they were typed.
        folders: names of the folders.
    """
    names = []
    for path, folder in zip(exp_dirs, folders):
        names.append(path if folders.count(folder) > 1 else folder)
    return names
