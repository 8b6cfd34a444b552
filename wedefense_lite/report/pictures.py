"""Pictures of scores and of training, as SVG text that is the same for the same data.

The colours (after Okabe and Ito) stay apart for colour-blind readers, and line styles or markers
repeat every difference for print without colour.
"""

import io

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.stats import norm

from wedefense_lite.report.curves import bayes_error, calibration_map
from wedefense_lite.report.run import History, Run, ScoredSet

BONAFIDE_COLOUR, SPOOF_COLOUR = "#009E73", "#D55E00"
INK, SOFT, LINE = "#1d2733", "#5d6b7a", "#e2e6eb"
STYLE = {
    "font.family": "DejaVu Sans", "font.size": 9.5, "svg.hashsalt": "wedefense_lite",
    "text.color": INK, "axes.labelcolor": SOFT, "xtick.color": SOFT, "ytick.color": SOFT,
    "axes.edgecolor": "#b8c0c9", "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "axes.axisbelow": True, "grid.color": LINE, "xtick.major.size": 0,
    "ytick.major.size": 0, "lines.linewidth": 1.8, "legend.edgecolor": "none",
    "legend.framealpha": 0.85, "legend.borderpad": 0.1, "legend.fontsize": 8.5,
}  # fmt: skip
DOTTED = {"color": INK, "linewidth": 1.2, "linestyle": ":"}
DET_TICKS = np.array([0.1, 0.5, 1, 2, 5, 10, 20, 40, 60, 80, 90, 95, 98, 99.5, 99.9]) / 100

CURVES = {  # by name: columns of the history with their legend, a factor, and the axis
    "loss": ({"train_loss": "train", "dev_loss": "dev"}, 1, "loss"),
    "error": ({"dev_eer": "dev EER"}, 100, "EER, %"),
    "learning_rate": ({"lr": "learning rate"}, 1, "learning rate"),
}


def svg(draw, *arguments, size: tuple[float, float] = (4.6, 4.1), rows: int = 1) -> str:
    """SVG text of what ``draw(axes, *arguments)`` draws; ``size`` in inches, ``rows`` axes share x."""
    text = io.StringIO()
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure.subplots(rows, sharex=True), *arguments)
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()


def draw(run: Run) -> dict[str, str]:
    """SVG text of every picture by its name; those of training only where there is a history."""
    drawn = {
        "det": svg(det, run.ranked),
        "histograms": svg(histograms, run.ranked, rows=len(run.ranked)),
        "bayes_error": svg(bayes_errors, run.sets),
        "calibration": svg(calibration, run.sets),
    }
    for name, curve in CURVES.items() if run.history else ():
        drawn[name] = svg(training, run.history, *curve, size=(3.4, 2.7))
    return drawn


def det(axes, sets: list[ScoredSet]) -> None:
    """Miss against false alarm rate on probit axes, the EER and both DCF points marked."""
    smallest = min(1 / max(one.scores.bonafide.size, one.scores.spoof.size) for one in sets)
    worst = max(one.results["eer"] for one in sets)
    low, high = np.clip(smallest, 0.001, 0.02), np.clip(3 * worst, 0.6, 0.999)
    for one in sets:
        curve = one.scores.curve
        best = np.searchsorted(curve.threshold, one.scores.min_dcf(one.cost).threshold)
        points = {
            "o": (one.results["eer"], one.results["eer"]),
            "s": (curve.false_alarm[best], curve.miss[best]),
            "X": one.scores.errors_at(one.cost.threshold)[::-1],
        }
        _probit(axes, curve.false_alarm, curve.miss, color=one.colour, label=one.name)
        for marker, (x, y) in points.items():
            inside = np.clip([x], low, high), np.clip([y], low, high)
            style = {"color": one.colour, "marker": marker, "markeredgecolor": "white", "markersize": 8}
            _probit(axes, *inside, **style, clip_on=False, zorder=3)
    for marker, label in {"o": "EER", "s": "min DCF", "X": "actual DCF"}.items():
        axes.plot([], [], marker, color=SOFT, label=label)
    _probit(axes, DET_TICKS, DET_TICKS, color="#b8c0c9", linewidth=1, linestyle=":")
    axes.set(xlabel="spoof accepted, %", ylabel="bona fide rejected, %")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(norm.ppf(DET_TICKS), [f"{100 * tick:g}" for tick in DET_TICKS])
        axis.set_view_interval(*norm.ppf([low, high]), ignore=True)
    axes.legend(loc="upper right", ncols=2)


def _probit(axes, x, y, **style):
    axes.plot(*(norm.ppf(np.clip(rates, 1e-7, 1 - 1e-7)) for rates in (x, y)), **style)


def histograms(axes, sets: list[ScoredSet]) -> None:
    """Scores of both classes, one axes a set, with the thresholds of the EER and of Bayes."""
    low, high = _span(sets)
    edges = np.linspace(low, high, 41)
    for panel, one in zip(np.atleast_1d(axes), sets):
        for label, mask, colour, line in (
            ("spoof", ~one.bonafide, SPOOF_COLOUR, "--"),
            ("bona fide", one.bonafide, BONAFIDE_COLOUR, "-"),
        ):
            counts = np.histogram(np.clip(one.llr[mask], low, high), edges)[0]
            share = 100 * counts / mask.sum()
            panel.stairs(share, edges, fill=True, color=colour, alpha=0.28)
            panel.stairs(share, edges, color=colour, linestyle=line, linewidth=1.4, label=label)
        solid, eer_threshold = DOTTED | {"linestyle": "-"}, one.results.get("eer_threshold", np.nan)
        panel.axvline(eer_threshold, **solid, label="EER threshold")
        panel.axvline(one.cost.threshold, **DOTTED, label="Bayes threshold")
        panel.set_ylabel(f"{one.name}: % of class")
        panel.set_ylim(0, 1.1 * panel.dataLim.y1)
    np.atleast_1d(axes)[0].legend(ncols=2, loc="lower left", bbox_to_anchor=(-0.02, 1))
    np.atleast_1d(axes)[-1].set_xlabel("LLR, nats (spoof ← 0 → bona fide)")


def _span(sets: list[ScoredSet]) -> tuple[float, float]:
    """Bounds of nearly all finite scores, never equal."""
    llr = np.concatenate([one.llr for one in sets])
    llr = llr[np.isfinite(llr)]
    low, high = np.quantile(llr, [0.005, 0.995]) if llr.size else (0.0, 0.0)
    margin = 0.02 * (high - low) or 1.0
    return low - margin, high + margin


def bayes_errors(axes, sets: list[ScoredSet]) -> None:
    """Normalised Bayes error over the prior: actual (solid) and minimum (dashed)."""
    log_odds = np.linspace(-5, 5, 201)
    for one in sets:
        actual, minimum = bayes_error(one.scores, log_odds)
        axes.plot(log_odds, actual, color=one.colour, label=one.name)
        axes.plot(log_odds, minimum, color=one.colour, linestyle="--")
        axes.axvline(-one.cost.threshold, **DOTTED)
    for line, label in {"-": "actual", "--": "minimum"}.items():
        axes.plot([], [], line, color=SOFT, label=label)
    axes.axhline(1, color=SOFT, linewidth=1)
    axes.set(xlim=(-5, 5), ylim=(0, 1.6), ylabel="normalised Bayes error")
    axes.set_xlabel("effective prior, log P(bona fide) / P(spoof)")
    axes.legend(ncols=2, loc="upper center")


def calibration(axes, sets: list[ScoredSet]) -> None:
    """What a score turned out to be worth against what it claims; the diagonal is perfect."""
    span = max(map(abs, _span(sets)))
    for one in sets:
        ends, worth = calibration_map(one.scores)
        edges = np.concatenate([[one.scores.curve.threshold[0]], ends])
        worth, edges = (np.clip(values, -1.1 * span, 1.1 * span) for values in (worth, edges))
        axes.stairs(worth, edges, baseline=None, color=one.colour, linewidth=1.8, label=one.name)
    axes.axline((0, 0), slope=1, color="#b8c0c9", linewidth=1, linestyle=":")
    axes.set(xlim=(-span, span), ylim=(-span, span), xlabel="LLR as scored, nats")
    axes.set_ylabel("LLR as observed, nats")
    axes.legend(loc="upper left")


def training(axes, history: History, columns: dict[str, str], unit: float, what: str) -> None:
    """Columns of the history over epochs, the best epoch marked.

    Args:
        columns: column to its name in the legend.
        unit: what the values are multiplied by.
        what: label of the vertical axis.
    """
    styles = (("#0072B2", "-", "o"), ("#E69F00", "--", "s"))
    for (column, label), (colour, line, marker) in zip(columns.items(), styles):
        there = np.isfinite(history[column])
        x, y = history["epoch"][there], unit * history[column][there]
        axes.plot(x, y, color=colour, linestyle=line, marker=marker, markersize=3, label=label)
    best = best_epoch(history)
    if best is not None:
        axes.axvline(best, **DOTTED, label=f"best epoch, {best:g}")
    axes.set(xlabel="epoch", ylabel=what)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.ticklabel_format(axis="y", scilimits=(-3, 4), useMathText=True)
    if len(columns) > 1:
        axes.legend()


def best_epoch(history: History) -> float | None:
    """The epoch of the lowest dev EER, then of the lowest dev loss; None if none was validated."""
    order = np.lexsort([history["dev_loss"], history["dev_eer"]])  # NaN goes last
    validated = [row for row in order if np.isfinite(history["dev_eer"][row])]
    return float(history["epoch"][validated[0]]) if validated else None
