"""Tables of a report, as rows of text with the header first: for the page, TSV and LaTeX."""

from collections.abc import Sequence

import numpy as np

from wedefense_lite.files import NO_VALUE
from wedefense_lite.report.decisions import Decisions
from wedefense_lite.report.groups import RATES, GroupTable, Rate
from wedefense_lite.report.run import Run, ScoredSet

Rows = list[list[str]]
HARDEST = 8  # trials of each class that the page lists
# Metrics of a table: entry of the results, name, and what it is.
METRICS = (
    ("n_bonafide", "bona fide trials", ""),
    ("n_spoof", "spoofed trials", ""),
    ("eer", "EER", "both error rates where they are equal"),
    ("eer_rocch", "EER of the hull", "the same on the ROC convex hull"),
    ("min_dcf", "min DCF", "detection cost at the best threshold"),
    ("act_dcf", "actual DCF", "at the Bayes threshold; the excess is lost by calibration"),
    ("min_cllr", "min Cllr", "bits lost because the classes overlap"),
    ("cllr", "Cllr", "bits lost by that and by calibration; 1 is no information"),
    ("auc", "AUC", "chance that a bona fide trial outscores a spoof"),
    ("min_tdcf_2019", "min t-DCF 2019", "cost in tandem with speaker verification"),
    ("min_tdcf_2021", "min t-DCF 2021", "the same, ASV-constrained"),
)


def show(value: float | None, metric: str) -> str:
    """Text of a metric: EERs in percent with two digits, counts whole, others with three digits."""
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    if metric.startswith("eer"):
        return f"{100 * value:.2f} %"
    return f"{value:z.3f}"


def interval(results: dict, metric: str) -> str:
    """Text of the confidence interval of a metric; empty without one."""
    bounds = results.get("ci", {}).get(metric, ())
    return "–".join(show(bound, metric).removesuffix(" %") for bound in bounds)


def hardest(scored: ScoredSet) -> dict[str, np.ndarray]:
    """Trials of each class with the worst scores, worst first, by a title."""
    order = np.argsort(scored.llr, kind="stable")
    is_bonafide = scored.bonafide[order]
    lowest = order[is_bonafide]
    highest = order[~is_bonafide][::-1]
    return {
        "bona fide with the lowest scores": lowest[:HARDEST],
        "spoofs with the highest scores": highest[:HARDEST],
    }


def tables_of(
    run: Run, decisions: Sequence[Decisions], groups: Sequence[GroupTable]
) -> dict[str, Rows]:
    """Every table of the page by its name, ``SET_CONTENT``."""
    tables = {}
    for scored, decided in zip(run.sets, decisions):
        tables[f"{scored.name}_metrics"] = metric_rows(scored)
        tables[f"{scored.name}_confusion"] = confusion_rows(decided)
    for scored in run.ranked:
        if scored.results.get("by"):
            tables[f"{scored.name}_conditions"] = condition_rows(scored)
        tables[f"{scored.name}_hardest"] = hardest_rows(scored)
    for table in groups:
        tables[f"{table.set_name}_groups_{table.column}"] = group_rows(table)
    return tables


def metric_rows(scored: ScoredSet) -> Rows:
    """Table with a row a metric: its value and its 95 % interval."""
    rows = [["metric", scored.name, "95 % interval"]]
    for metric, name, _ in METRICS:
        if metric in scored.results:
            value = show(scored.results[metric], metric)
            rows.append([name, value, interval(scored.results, metric) or NO_VALUE])
    return rows


def condition_rows(scored: ScoredSet) -> Rows:
    """Table with a row a condition."""
    rows = [["condition", "spoofs", "EER", "min DCF", "actual DCF"]]
    for value, results in sorted(scored.results["by"].items()):
        cells = [value, str(results["n_spoof"])]
        for metric in ("eer", "min_dcf", "act_dcf"):
            cells.append(show(results.get(metric), metric))
        rows.append(cells)
    return rows


def confusion_rows(decided: Decisions) -> Rows:
    """Table with a row a true class: what it was taken for, as counts and rates."""
    return [
        ["true class", "accepted", "rejected", "error rate"],
        [
            "bona fide",
            str(decided.accepted_bonafide),
            str(decided.rejected_bonafide),
            f"{100 * decided.miss:.2f} %",
        ],
        [
            "spoof",
            str(decided.accepted_spoof),
            str(decided.rejected_spoof),
            f"{100 * decided.false_alarm:.2f} %",
        ],
    ]


def group_rows(table: GroupTable) -> Rows:
    """Table with a row a group, and a last one with the gaps."""
    rows = [[table.column, "bona fide", "spoofs", *RATES.values()]]
    for group in table.groups:
        cells = [group.name, str(group.n_bonafide), str(group.n_spoof)]
        for rate in RATES:
            cells.append(_shown_rate(group.rates[rate]) if group.rates else "one class")
        rows.append(cells)
    if table.gaps:
        gaps = [_shown_rate(table.gaps[rate]) for rate in RATES]
        rows.append(["gap, largest − smallest", "", "", *gaps])
    return rows


def _shown_rate(rate: Rate) -> str:
    text = f"{100 * rate.value:.2f} %"
    if rate.ci is None:
        return text
    low, high = rate.ci
    return f"{text} [{100 * low:.2f}–{100 * high:.2f}]"


def hardest_rows(scored: ScoredSet) -> Rows:
    """Table of the utterances of both classes with the worst scores."""
    rows = [["utterance", "class", "attack", "speaker", "LLR", "seconds"]]
    for places in hardest(scored).values():
        for place in places.tolist():
            rows.append(
                [
                    str(scored.key[place]),
                    "bona fide" if scored.bonafide[place] else "spoof",
                    str(scored.attack[place]),
                    str(scored.speaker[place]),
                    f"{scored.llr[place]:.2f}",
                    f"{scored.seconds[place]:.2f}",
                ]
            )
    return rows
