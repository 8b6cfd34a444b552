"""The report as one HTML page that needs nothing beside itself."""

from pathlib import Path
from string import Template

import numpy as np

from wedefense_lite.report import pictures
from wedefense_lite.report.markup import Markup, card, figure, join, pairs, section, table, tag
from wedefense_lite.report.run import Run, ScoredSet

HARDEST = 8
METRICS = {
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

CONDITIONS = "Every bona fide trial of the set against the spoofs of one row; all bars share one scale."
READING = (
    "A higher score always means more bona fide. The LLR is log p(utterance | bona fide) - "
    "log p(utterance | spoof) in nats: at 0 the utterance is as likely under both, at 2.3 ten times "
    "as likely under bona fide. It holds no prior: whoever decides brings their own, with the costs "
    "of both errors, and accepts above the Bayes threshold that follows."
)
CAPTIONS = {
    "det": (
        "DET curve",
        "Lower left is better; a straight line means Gaussian scores. Where the square and the cross "
        "of a set lie apart, calibration costs something.",
    ),
    "histograms": ("Scores", "Share of each class in a bin; the outermost bins hold what lies beyond."),
    "bayes_error": (
        "Cost over priors",
        "Solid: decisions at the Bayes threshold of each prior. Dashed: at the best threshold. 1: no "
        "detector. Dotted: the prior and costs of the DCF above.",
    ),
    "calibration": (
        "Scores against what they are worth",
        "The best increasing map of the scores; the diagonal is perfect, flatter is overconfident, "
        "lower is too friendly to spoofs.",
    ),
    "loss": ("Loss", "Of the training batches and of the whole dev set."),
    "error": ("Dev EER", "On the whole dev set; it chose the best epoch."),
    "learning_rate": ("Learning rate", "At the end of each epoch."),
}
CURVES = {
    "loss": ({"train_loss": "train", "dev_loss": "dev"}, 1, "loss"),
    "error": ({"dev_eer": "dev EER"}, 100, "EER, %"),
    "learning_rate": ({"lr": "learning rate"}, 1, "learning rate"),
}


def show(metric: str, value: float | None) -> str:
    """A metric as text: rates as percent with two digits, anything else with three."""
    if value is None:
        return "–"
    return f"{100 * value:.2f} %" if metric.startswith("eer") else f"{value:z.3f}"


def interval(results: dict, metric: str) -> str:
    """The confidence interval of a metric as text, empty where there is none."""
    bounds = results.get("ci", {}).get(metric)
    return "–".join(show(metric, bound).removesuffix(" %") for bound in bounds) if bounds else ""


def warnings(run: Run) -> list[str]:
    """What a reader must know before believing the numbers, most serious first."""
    found = []
    for one in run.sets:
        numbers = one.results
        if numbers["eer"] > 0.5:
            found.append(
                f"{one.name}: EER above 50 %. The polarity of the scores may be flipped: "
                "a higher score must mean more bona fide."
            )
        elif numbers["act_dcf"] >= 1 > numbers["min_dcf"]:
            found.append(
                f"{one.name}: actual DCF {numbers['act_dcf']:.3f}. At the Bayes threshold the detector "
                f"is no better than none, though {numbers['min_dcf']:.3f} is possible: calibrate it."
            )
        elif numbers["act_dcf"] > 1.5 * numbers["min_dcf"] + 0.05:
            found.append(
                f"{one.name}: actual DCF {numbers['act_dcf']:.3f} is far above min DCF "
                f"{numbers['min_dcf']:.3f}. The scores are not well calibrated here."
            )
        if not one.sidecar.has_posterior and not one.calibration["fitted_on"]:
            found.append(
                f"{one.name}: no LLRs, the head has no posterior and no calibration was fitted."
            )
    return found


def head(run: Run) -> Markup:
    """Name, the result of each set, and what to be warned of."""
    origin = [f"{key} {run.env[key]}" for key in ("commit", "seed") if key in run.env]
    tiles = []
    for one, colour in zip(run.sets, pictures.colours(run.sets).values()):
        bounds = interval(one.results, "eer")
        tiles.append(
            tag(
                "section",
                tag("span", f"{one.name} EER", class_="soft"),
                tag("b", show("eer", one.results["eer"])),
                tag("span", f"95 % interval {bounds} %" if bounds else "no interval", class_="soft"),
                class_="card tile",
                style=f"border-top-color: {colour}",
            )
        )
    return join((
        tag("h1", run.name),
        tag("p", " · ".join(run.components + origin), class_="subtitle"),
        tag("div", *tiles, class_="tiles"),
        *(tag("p", text, class_="card warning") for text in warnings(run)),
    ))  # fmt: skip


def noted(text: str, note: str) -> Markup:
    """A table cell with a note in small type under its text."""
    return tag("td", text, tag("small", note))


def results_table(run: Run) -> Markup:
    """All pooled metrics, one column a set."""
    rows = [
        [name] + [f"{one.results[f'n_{label}']:,}" for one in run.sets]
        for name, label in (("bona fide trials", "bonafide"), ("spoofed trials", "spoof"))
    ]
    for metric, (name, meaning) in METRICS.items():
        if any(metric in one.results for one in run.sets):
            values = (
                (show(metric, one.results.get(metric)), interval(one.results, metric))
                for one in run.sets
            )
            rows.append([noted(name, meaning), *(noted(*value) for value in values)])
    return table(["", *(one.name for one in run.sets)], rows)


def conditions(run: Run) -> list[Markup]:
    """For each set that was evaluated by a condition, a table of its values, the EER as a bar."""
    tables = [(one, one.results["by"]) for one in run.sets if "by" in one.results]
    worst = max((row.get("eer", 0) for _, rows in tables for row in rows.values()), default=0) or 1
    cards = []
    for one, rows in tables:
        known = {"attack": one.attack, "speaker": one.speaker}
        column = next((name for name in known if set(rows) <= set(known[name])), "condition")
        colour = pictures.colours(run.sets)[one.name]
        body = []
        for value, row in sorted(rows.items()):
            bar = tag("i", style=f"width: {50 * row.get('eer', 0) / worst:.1f}%; background: {colour}")
            eer = tag("td", bar, show("eer", row.get("eer")), class_="bar")
            costs = [show(metric, row.get(metric)) for metric in ("min_dcf", "act_dcf")]
            body.append([value, row["n_spoof"], eer, *costs])
        names = (column, "spoofs", tag("th", "EER", class_="left"), "min DCF", "actual DCF")
        cards.append(card(table(names, body), title=f"{one.name}, by {column}"))
    return cards or [tag("p", "No set was evaluated by a condition (evaluate.py --meta --by).")]


def hardest(one: ScoredSet) -> list[Markup]:
    """The trials of each class that scored worst."""
    cards = []
    for label, mask, sign in (("bona fide", one.bonafide, 1), ("spoofs", ~one.bonafide, -1)):
        order = np.argsort(sign * one.llr, kind="stable")
        rows = [
            [tag("td", one.key[i], class_="key"), one.attack[i], one.speaker[i], f"{one.llr[i]:.2f}",
             f"{one.seconds[i]:.2f} s"]
            for i in order[mask[order]][:HARDEST]
        ]  # fmt: skip
        extreme = "lowest" if sign > 0 else "highest"
        names = ("utterance", "attack", "speaker", "LLR", "duration")
        cards.append(card(table(names, rows), title=f"{one.name}: {label} with the {extreme} scores"))
    return cards


def grid(*cards, kind: str = "grid") -> Markup:
    return tag("div", *cards, class_=kind)


def draw(run: Run) -> dict[str, str]:
    """SVG text of every picture, by its name."""
    sets, history = run.sets, run.history
    drawn = {
        "det": pictures.svg(pictures.det, sets),
        "histograms": pictures.svg(pictures.histograms, sets, rows=len(sets)),
        "bayes_error": pictures.svg(pictures.bayes_errors, sets),
        "calibration": pictures.svg(pictures.calibration, sets),
    }
    for name, curve in CURVES.items() if history else ():
        drawn[name] = pictures.svg(pictures.training, history, *curve, size=(3.4, 2.7))
    return drawn


def flat(values: dict, prefix: str = "") -> list[tuple[str, str]]:
    """Names and values of a nested mapping, the names joined by dots."""
    rows = []
    for key, value in values.items():
        if isinstance(value, dict):
            rows += flat(value, f"{prefix}{key}.")
        else:
            rows.append((prefix + key, " ".join(map(str, value)) if isinstance(value, list) else value))
    return rows


def render(run: Run, drawn: dict[str, str]) -> str:
    """The page, from an experiment and the pictures that :func:`draw` made of it."""

    def shown(*names: str) -> list[Markup]:
        return [figure(drawn[name], *CAPTIONS[name]) for name in names]

    hard = [table for one in run.sets for table in hardest(one)]
    history = "No metrics.csv here: the model was not trained in this folder, so there are no curves."
    if run.history:
        history = "One point an epoch. The dotted line is the epoch with the lowest dev EER."
    cost = f"All trials pooled. Costs: {run.sets[0].cost}."
    curves = grid(*shown(*(name for name in CURVES if name in drawn)), kind="grid thirds")
    origin = card(
        pairs(flat(run.env)),
        tag("details", tag("summary", "Configuration"), tag("pre", run.config_text)),
    )
    calibrated = "; ".join(
        f"{one.name}: "
        + (f"fitted on {fit}" if (fit := one.calibration["fitted_on"]) else "none fitted")
        for one in run.sets
    )
    separation, calibration = shown("det", "histograms"), shown("bayes_error", "calibration")
    parts = (
        head(run),
        section("Results", cost, card(results_table(run))),
        section("By condition", CONDITIONS, grid(*conditions(run))),
        section("Separation", "How far apart the two classes are.", grid(*separation)),
        section(
            "Calibration",
            f"Can a score be taken at its word? Calibration: {calibrated}.",
            grid(*calibration),
        ),
        section("Training", history, curves),
        section(
            "Hardest utterances", "Worth listening to: model, label or recording may err.", grid(*hard)
        ),
        section("How to read this", READING),
        section("Where it came from", "Enough to run it again.", origin),
    )
    page = Template(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
    return page.substitute(title=join((run.name,)), body=join(parts))
