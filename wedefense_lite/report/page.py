"""The report as one HTML page that needs nothing beside itself."""

import numpy as np
import yaml

from wedefense_lite.report.markup import Markup, data_uri, fill, join, table, tag
from wedefense_lite.report.run import Run, ScoredSet

HARDEST = 8
METRICS = {
    "n_bonafide": ("bona fide trials", ""),
    "n_spoof": ("spoofed trials", ""),
    "eer": ("EER", "both error rates where they are equal"),
    "eer_rocch": ("EER of the hull", "the same on the ROC convex hull"),
    "min_dcf": ("min DCF", "detection cost at the best threshold"),
    "act_dcf": ("actual DCF", "at the Bayes threshold; the excess is lost by calibration"),
    "min_cllr": ("min Cllr", "bits lost because the classes overlap"),
    "cllr": ("Cllr", "bits lost by that and by calibration; 1 is no information"),
    "auc": ("AUC", "chance that a bona fide trial outscores a spoof"),
    "min_tdcf_2019": ("min t-DCF 2019", "cost in tandem with speaker verification"),
    "min_tdcf_2021": ("min t-DCF 2021", "the same, ASV-constrained"),
}


def show(metric: str, value: float | None) -> str:
    """A metric as text: rates as percent with two digits, counts whole, anything else with three."""
    if value is None or isinstance(value, int):
        return "–" if value is None else f"{value:,}"
    return f"{100 * value:.2f} %" if metric.startswith("eer") else f"{value:z.3f}"


def interval(results: dict, metric: str) -> str:
    """The confidence interval of a metric as text, empty where there is none."""
    bounds = results.get("ci", {}).get(metric)
    return "–".join(show(metric, bound).removesuffix(" %") for bound in bounds) if bounds else ""


def warnings(run: Run) -> list[str]:
    """What a reader must know before believing the numbers."""
    found = []
    for one in run.sets:
        eer, actual, least = (one.results[metric] for metric in ("eer", "act_dcf", "min_dcf"))
        if eer > 0.5:
            found.append(
                f"{one.name}: EER above 50 %. The polarity of the scores may be flipped: "
                "a higher score must mean more bona fide."
            )
        elif actual > 1.5 * least + 0.05:
            found.append(
                f"{one.name}: actual DCF {actual:.3f} is far above min DCF {least:.3f}. The scores are "
                "not calibrated for this set" + (", and no detector costs 1." if actual >= 1 else ".")
            )
        if not one.sidecar.has_posterior and not one.calibration["fitted_on"]:
            found.append(f"{one.name}: no LLRs, the head has no posterior and nothing was calibrated.")
    return found


def tile(one: ScoredSet) -> Markup:
    """The result of a set at a glance."""
    bounds = interval(one.results, "eer")
    return tag(
        "section",
        tag("span", f"{one.name} EER", class_="soft"),
        tag("b", show("eer", one.results["eer"])),
        tag("span", f"95 % interval {bounds} %" if bounds else "no interval", class_="soft"),
        class_="card tile",
        style=f"border-top-color: {one.colour}",
    )


def results(run: Run) -> Markup:
    """All pooled metrics, one column a set."""

    def row(metric: str, name: str, note: str) -> list[Markup]:
        values = ((show(metric, one.results.get(metric)), interval(one.results, metric)) for one in run.sets)
        return [tag("td", text, tag("small", small)) for text, small in ((name, note), *values)]

    there = {metric for one in run.sets for metric in one.results}
    rows = [row(metric, *text) for metric, text in METRICS.items() if metric in there]
    return table("", ["", *(one.name for one in run.sets)], rows)


def conditions(run: Run) -> list[Markup]:
    """For each set that was evaluated by a condition, a table of its values, the EER as a bar."""
    tables = [(one, one.results["by"]) for one in run.ranked if "by" in one.results]
    worst = max((row.get("eer", 0) for _, rows in tables for row in rows.values()), default=0) or 1
    cards = []
    for one, rows in tables:
        column, body = "attack" if set(rows) <= set(one.attack) else "condition", []
        for value, row in sorted(rows.items()):
            width = f"{50 * row.get('eer', 0) / worst:.1f}%"
            bar = tag("i", style=f"width: {width}; background: {one.colour}")
            eer = tag("td", bar, show("eer", row.get("eer")), class_="bar")
            body.append([value, row["n_spoof"], eer, *(show(m, row.get(m)) for m in ("min_dcf", "act_dcf"))])
        names = (column, "spoofs", tag("th", "EER", class_="left"), "min DCF", "actual DCF")
        cards.append(table(f"{one.name}, by {column}", names, body))
    return cards or [tag("p", "No set was evaluated by a condition (evaluate.py --meta --by).")]


def hardest(one: ScoredSet) -> list[Markup]:
    """The trials of each class that scored worst."""
    cards = []
    for title, mask, sign in (
        ("bona fide with the lowest scores", one.bonafide, 1),
        ("spoofs with the highest scores", ~one.bonafide, -1),
    ):
        order = np.argsort(sign * one.llr, kind="stable")
        worst = order[mask[order]][:HARDEST]
        keys = (tag("td", key, class_="key") for key in one.key[worst])
        numbers = ([f"{value:.2f}" for value in column[worst]] for column in (one.llr, one.seconds))
        rows = zip(keys, one.attack[worst], one.speaker[worst], *numbers)
        names = ("utterance", "attack", "speaker", "LLR", "seconds")
        cards.append(table(f"{one.name}: {title}", names, rows))
    return cards


def render(run: Run, drawn: dict[str, str]) -> str:
    """The page, from an experiment and its pictures (SVG text by name)."""
    pictures = {name: data_uri(picture) for name, picture in drawn.items()}
    curves = {name: pictures.pop(name) for name in ("loss", "error", "learning_rate") if name in drawn}
    origin = [f"{key} {run.env[key]}" for key in ("commit", "seed") if key in run.env]
    fitted = [(one.name, one.calibration["fitted_on"]) for one in run.sets]
    untrained = "No metrics.csv: the model was not trained in this folder, so there are no curves."
    return fill(
        "page.html",
        title=run.name,
        subtitle=" · ".join(run.components + origin),
        tiles=join(map(tile, run.ranked)),
        warnings=join(tag("p", text, class_="card warning") for text in warnings(run)),
        cost=run.sets[0].cost,
        results=results(run),
        conditions=join(conditions(run)),
        calibrated="; ".join(f"{name} {'fitted on ' + on if on else 'none'}" for name, on in fitted),
        training=fill("training.html", **curves) if curves else untrained,
        hardest=join(card for one in run.ranked for card in hardest(one)),
        env=yaml.safe_dump(run.env, sort_keys=False, allow_unicode=True, width=1000),
        config=run.config_text,
        **pictures,
    )
