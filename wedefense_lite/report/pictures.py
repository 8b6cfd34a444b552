"""Pictures of scores and of training, as SVG text that is the same for the same data.

The colours (after Okabe and Ito) stay apart for colour-blind readers, and line styles or markers
repeat every difference for print without colour.
"""

import io
from collections.abc import Callable

import matplotlib
import numpy as np
import scipy  # imports its parts where they are used, some of which take a second
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, MaxNLocator, NullFormatter

from wedefense_lite.labels import LABELS
from wedefense_lite.metrics.detection import SortedScores
from wedefense_lite.report.run import Run, ScoredSet

SET_COLOURS = ("#E69F00", "#0072B2", "#CC79A7", "#56B4E9")
BONAFIDE_COLOUR = "#009E73"
SPOOF_COLOUR = "#D55E00"
CLASS_COLOURS = (SPOOF_COLOUR, BONAFIDE_COLOUR)  # by class index
INK = "#1d2733"
SOFT = "#5d6b7a"
LINE = "#e2e6eb"
STYLE = {
    "font.family": "DejaVu Sans", "font.size": 9.5, "svg.hashsalt": "wedefense_lite",
    "text.color": INK, "axes.labelcolor": SOFT, "xtick.color": SOFT, "ytick.color": SOFT,
    "axes.edgecolor": "#b8c0c9", "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "axes.axisbelow": True, "grid.color": LINE, "xtick.major.size": 0,
    "ytick.major.size": 0, "lines.linewidth": 1.8, "legend.edgecolor": "none",
    "legend.framealpha": 0.85, "legend.borderpad": 0.1, "legend.fontsize": 8.5,
    # Names of sets, attacks and talkers are text, and "$x_{" is no formula.
    "text.parse_math": False,
}  # fmt: skip
DOTTED = {"color": INK, "linewidth": 1.2, "linestyle": ":"}
# Rates of the axes of a DET curve.
DET_TICKS = np.array([0.1, 0.5, 1, 2, 5, 10, 20, 40, 60, 80, 90, 95, 98, 99.5, 99.9]) / 100

# A set and its colour.
ColouredSets = list[tuple[ScoredSet, str]]


def draw(run: Run) -> dict[str, str]:
    """SVG text of every picture by its name; ``training`` only for a run with a history."""
    coloured = list(zip(run.sets, set_colours(run)))
    ranked = [(scored, colour) for scored, colour in coloured if scored in run.ranked]
    pictures = {
        "det": svg(det, ranked),
        "histograms": svg(histograms, run.ranked, len(run.ranked)),
        "bayes_error": svg(bayes_errors, coloured),
        "tippett": svg(tippett, coloured),
        "reliability": svg(reliability, coloured),
    }
    if run.history is not None:
        pictures["training"] = svg(training, run.history, 3)
    return pictures


def set_colours(run: Run) -> list[str]:
    """Colour of each set of a run, by its place among them."""
    return [SET_COLOURS[number % len(SET_COLOURS)] for number in range(len(run.sets))]


def svg(draw: Callable, content, rows: int = 1) -> str:
    """SVG text of a drawing, the same for the same content.

    Args:
        draw: function of axes and content; of an array of axes for several rows.
        content: content of the drawing.
        rows: number of axes above each other.
    """
    text = io.StringIO()
    with matplotlib.rc_context(STYLE):
        height = 4.1 if rows < 3 else 5.1
        figure = Figure(figsize=(4.6, height), layout="constrained")
        draw(figure.subplots(rows, sharex=True), content)
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()


def det(axes, sets: ColouredSets) -> None:
    """Miss against false alarm rate on probit axes, with the points of both DCFs."""
    # The finest step of a rate, and a few times the EER, within what can be read.
    finest = min(
        1 / max(scored.scores.bonafide.size, scored.scores.spoof.size) for scored, _ in sets
    )
    low = np.clip(finest, 0.001, 0.02)
    high = np.clip(3 * max(scored.results["eer"] for scored, _ in sets), 0.6, 0.999)
    for scored, colour in sets:
        curve = scored.scores.curve
        best = np.searchsorted(curve.threshold, scored.scores.min_dcf(scored.cost).threshold)
        points = {
            "s": (curve.miss[best], curve.false_alarm[best]),
            "X": scored.scores.errors_at(scored.cost.threshold),
        }
        # Rates of 0 and 1 are at infinity on a probit axis.
        rates = np.clip([curve.false_alarm, curve.miss], 1e-7, 1 - 1e-7)
        axes.plot(*rates, color=colour, label=scored.name)
        for marker, point in points.items():
            y, x = np.clip(point, low, high)
            axes.plot(
                x, y, marker, color=colour, mec="white", markersize=8, clip_on=False, zorder=3
            )
    for marker, label in {"s": "min DCF", "X": "actual DCF"}.items():
        axes.plot([], [], marker, color=SOFT, label=label)
    axes.plot(DET_TICKS, DET_TICKS, color="#b8c0c9", linewidth=1, linestyle=":")
    tick_labels = [f"{100 * tick:g}" for tick in DET_TICKS]
    probit = (scipy.stats.norm.ppf, scipy.stats.norm.cdf)
    axes.set(xlabel="spoof accepted, %")
    axes.set_xscale("function", functions=probit)
    axes.set_xticks(DET_TICKS, tick_labels)
    axes.set_xlim(low, high)
    axes.set(ylabel="bona fide rejected, %")
    axes.set_yscale("function", functions=probit)
    axes.set_yticks(DET_TICKS, tick_labels)
    axes.set_ylim(low, high)
    axes.legend(loc="upper right", ncols=2)


def histograms(axes, sets: list[ScoredSet]) -> None:
    """Scores of both classes, one panel a set, with the thresholds of the EER and of Bayes."""
    llr = np.concatenate([scored.llr for scored in sets])
    finite = llr[np.isfinite(llr)]
    low = 0
    high = 0
    if finite.size:
        # A few extreme scores would squeeze all others into one bin.
        low, high = np.quantile(finite, [0.005, 0.995])
    # Wider by a hair: the extreme scores lie inside, and equal scores have a bin that isn't empty.
    edges = np.linspace(low - 1e-9, high + 1e-9, 41)
    panels = np.atleast_1d(axes)
    for panel, scored in zip(panels, sets):
        for label, mask, colour, line in (
            ("spoof", ~scored.bonafide, SPOOF_COLOUR, "--"),
            ("bona fide", scored.bonafide, BONAFIDE_COLOUR, "-"),
        ):
            values = np.clip(scored.llr[mask], low, high)
            share = np.full(mask.sum(), 100 / mask.sum())
            style = {
                "facecolor": (colour, 0.28),
                "edgecolor": colour,
                "linestyle": line,
                "linewidth": 1.4,
            }
            panel.hist(values, edges, weights=share, histtype="stepfilled", label=label, **style)
        panel.axvline(
            scored.results.get("eer_threshold", np.nan),
            color=INK,
            linewidth=1.2,
            label="EER threshold",
        )
        panel.axvline(scored.cost.threshold, **DOTTED, label="Bayes threshold")
        panel.set_ylabel(f"{scored.name}: % of class")
    panels[0].legend(ncols=2, loc="lower left", bbox_to_anchor=(-0.02, 1))
    panels[-1].set_xlabel("LLR, nats (spoof ← 0 → bona fide)")


def bayes_error(scores: SortedScores, log_odds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Actual and minimum normalised Bayes error at each effective prior, costs equal.

    An error of 1 is that of the better of "accept all" and "reject all". The gap between actual and
    minimum error is the loss of calibration.

    Args:
        scores: LLRs in nats, higher is bona fide.
        log_odds: ``(R,)`` log(P(bona fide) / P(spoof)), finite.

    Returns:
        ``(R,)`` actual errors, and ``(R,)`` minimum errors in [0, 1], which are not above them.

    Source:
        Bruemmer, "Measuring, refining and calibrating speaker and language information extracted
        from speech", 2010, chapter 2.
    """
    actual = []
    minimum = []
    for odds in log_odds:
        prior = (scipy.special.expit(odds), scipy.special.expit(-odds))
        actual.append(np.dot(prior, scores.errors_at(-odds)) / min(prior))
        minimum.append(scores.min_cost(*prior).value)
    return np.array(actual), np.array(minimum)


def bayes_errors(axes, sets: ColouredSets) -> None:
    """Normalised Bayes error over the prior: actual (solid) and minimum (dashed)."""
    log_odds = np.linspace(-5, 5, 201)
    for scored, colour in sets:
        actual, minimum = bayes_error(scored.scores, log_odds)
        axes.plot(log_odds, actual, color=colour, label=scored.name)
        axes.plot(log_odds, minimum, color=colour, linestyle="--")
        # The prior and costs of the DCF, as one effective prior.
        axes.axvline(-scored.cost.threshold, **DOTTED)
    for line, label in {"-": "actual", "--": "minimum"}.items():
        axes.plot([], [], line, color=SOFT, label=label)
    axes.axhline(1, color=SOFT, linewidth=1)
    axes.set(xlim=(-5, 5), ylim=(0, 1.6), ylabel="normalised Bayes error")
    axes.set_xlabel("effective prior, log P(bona fide) / P(spoof)")
    axes.legend(ncols=2, loc="upper center")


def tippett(axes, sets: ColouredSets) -> None:
    """Share of each class whose LLR is at or above a value: bona fide solid, spoof dashed."""
    llr = np.concatenate([[*scored.scores.bonafide, *scored.scores.spoof] for scored, _ in sets])
    finite = llr[np.isfinite(llr)]
    low, high = np.quantile(finite, [0.005, 0.995]) if finite.size else (-1, 1)
    values = np.linspace(min(low, 0) - 1e-9, max(high, 0) + 1e-9, 401)
    for scored, colour in sets:
        for scores, line, label in (
            (scored.scores.bonafide, "-", scored.name),
            (scored.scores.spoof, "--", None),
        ):
            share = share_at_or_above(scores, values)
            axes.plot(values, 100 * share, color=colour, linestyle=line, label=label)
    for line, label in {"-": "bona fide", "--": "spoof"}.items():
        axes.plot([], [], line, color=SOFT, label=label)
    axes.axvline(0, **DOTTED)
    axes.set(xlabel="LLR, nats", ylabel="% of class at or above it", ylim=(0, 100))
    axes.legend(loc="lower left")


def share_at_or_above(scores: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Share of scores that are at or above each of some values."""
    below = np.searchsorted(np.sort(scores), values, side="left")
    return 1 - below / len(scores)


def reliability(axes, sets: ColouredSets) -> None:
    """What a posterior says against what is, both classes being as likely."""
    for scored, colour in sets:
        predicted, observed = reliability_points(scored.scores)
        axes.plot(100 * predicted, 100 * observed, "o-", color=colour, label=scored.name)
    axes.plot([0, 100], [0, 100], **DOTTED)
    axes.set(xlabel="posterior of bona fide, %", ylabel="bona fide among them, %")
    axes.set(xlim=(-2, 102), ylim=(-2, 102), aspect="equal")
    axes.legend(loc="upper left")


def reliability_points(scores: SortedScores, bins: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Points of a reliability diagram.

    Trials are weighted so that each class has half of the weight.

    Args:
        scores: LLRs in nats.
        bins: number of equal bins of the posterior at even priors; empty ones have no point.

    Returns:
        mean posterior of bona fide in each bin, and the share of bona fide trials in it.
    """
    llr = np.concatenate([scores.bonafide, scores.spoof])
    sizes = (len(scores.bonafide), len(scores.spoof))
    weight = np.repeat([0.5 / sizes[0], 0.5 / sizes[1]], sizes)
    posterior = scipy.special.expit(llr)
    bin_of_trial = np.minimum((bins * posterior).astype(int), bins - 1)
    mass = np.bincount(bin_of_trial, weight, bins)
    predicted = np.bincount(bin_of_trial, weight * posterior, bins)
    is_bonafide = np.arange(len(llr)) < sizes[0]
    observed = np.bincount(bin_of_trial, weight * is_bonafide, bins)
    has_trials = mass > 0
    return predicted[has_trials] / mass[has_trials], observed[has_trials] / mass[has_trials]


def training(axes, history: np.ndarray) -> None:
    """Losses, the dev EER and the learning rate over epochs, with the best epoch."""
    losses, eer, rates = axes
    _plot_column(losses, history, "train_loss", 1, "o-", "#0072B2")
    _plot_column(losses, history, "dev_loss", 1, "s--", "#E69F00")
    losses.set_ylabel("loss")
    _plot_column(eer, history, "dev_eer", 100, "o-", "#0072B2")
    eer.set_ylabel("dev EER, %")
    # Tables that other programs wrote may have no learning rate.
    if "lr" in history.dtype.names:
        _plot_column(rates, history, "lr", 1, "o-", "#009E73")
        if np.nanmin(history["lr"], initial=np.inf) > 0:
            rates.set_yscale("log")
            # The formatter of a logarithmic axis is one of formulas, which STYLE doesn't set.
            rates.yaxis.set_major_formatter(LogFormatter())
            rates.yaxis.set_minor_formatter(NullFormatter())
    rates.set_ylabel("learning rate")
    for panel in axes:
        for epoch in best_epoch(history):
            panel.axvline(epoch, **DOTTED, label=f"best epoch, {epoch:g}")
        panel.legend()
    axes[-1].set_xlabel("epoch")
    axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))


def _plot_column(
    axes, history: np.ndarray, column: str, scale: int, style: str, colour: str
) -> None:
    """One column over epochs; an epoch without a value has no point."""
    has_value = np.isfinite(history[column])
    x = history["epoch"][has_value]
    y = scale * history[column][has_value]
    label = "learning rate" if column == "lr" else column.replace("_", " ")
    axes.plot(x, y, style, color=colour, markersize=3, label=label)


def confusion(axes, content: tuple[list[list[int]], list[str]]) -> None:
    """Confusion matrix: true classes in rows, decisions in columns.

    A cell is darker for a larger share of its row.

    Args:
        axes: matplotlib axes.
        content: counts of decisions, and the names of the classes.
    """
    counts_CC = np.array(content[0])
    names = content[1]
    centres = np.arange(len(names)) + 0.5
    share_CC = counts_CC / np.maximum(counts_CC.sum(axis=1, keepdims=True), 1)
    axes.pcolormesh(share_CC, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts_CC):
        colour = "white" if share_CC[row, column] > 0.6 else INK
        text = f"{count}\n{100 * share_CC[row, column]:.0f} %" if len(names) < 6 else str(count)
        axes.text(column + 0.5, row + 0.5, text, color=colour, ha="center", va="center")
    # Many classes need upright names, and have no room for percentages.
    axes.set_xticks(centres, names, rotation=0 if len(names) < 6 else 90)
    axes.set_yticks(centres, names)
    axes.set(xlabel="decided", ylabel="true", aspect="equal")
    axes.invert_yaxis()
    axes.grid(visible=False)


def best_epoch(history: np.ndarray) -> np.ndarray:
    """Epoch of the lowest dev EER, and among equals of the lowest dev loss.

    Empty without validation.
    """
    validated = history[np.isfinite(history["dev_eer"])]
    return np.sort(validated, order=["dev_eer", "dev_loss"])["epoch"][:1]


def draw_waveform(axes, wav_T: np.ndarray, sample_rate: int) -> None:
    """Samples over seconds."""
    seconds_T = np.arange(len(wav_T)) / sample_rate
    # As pixels: a path of every sample would make a file of megabytes.
    axes.plot(seconds_T, wav_T, color=INK, linewidth=0.4, rasterized=True)
    axes.set(ylabel="waveform")


def add_class_legend(axes) -> None:
    """Legend of the colours of the classes, at the lower right corner."""
    for label, colour in zip(LABELS, CLASS_COLOURS):
        # A bar of no height, for its entry in the legend.
        axes.bar(0, 0, color=colour, label=label)
    axes.legend(ncols=2, loc="lower right", bbox_to_anchor=(1, 1))
