"""Pictures of scores and of training, as SVG text that is the same for the same data.

The colours (after Okabe and Ito) stay apart for colour-blind readers, and line styles or markers
repeat every difference for print without colour.
"""

import io

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.special import expit
from scipy.stats import norm

from wedefense_lite.labels import LABELS
from wedefense_lite.metrics.detection import SortedScores
from wedefense_lite.report.run import Run, ScoredSet

BONAFIDE_COLOUR, SPOOF_COLOUR = "#009E73", "#D55E00"
CLASS_COLOURS = (SPOOF_COLOUR, BONAFIDE_COLOUR)  # by class index
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


def draw(run: Run) -> dict[str, str]:
    """SVG text of every picture by its name; that of training only where there is a history."""
    drawn = {
        "det": svg(det, run.ranked),
        "histograms": svg(histograms, run.ranked, len(run.ranked)),
        "bayes_error": svg(bayes_errors, run.sets),
    }
    if run.history is not None:
        drawn["training"] = svg(training, run.history, 2)
    return drawn


def svg(draw, content, rows: int = 1) -> str:
    """SVG text of what ``draw(axes, content)`` draws on so many axes above each other."""
    text = io.StringIO()
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.6, 4.1), layout="constrained")
        draw(figure.subplots(rows, sharex=True), content)
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()


def det(axes, sets: list[ScoredSet]) -> None:
    """Miss against false alarm rate on probit axes, both DCF points marked."""
    smallest = min(1 / max(one.scores.bonafide.size, one.scores.spoof.size) for one in sets)
    low = np.clip(smallest, 0.001, 0.02)
    high = np.clip(3 * max(one.results["eer"] for one in sets), 0.6, 0.999)
    for one in sets:
        curve = one.scores.curve
        best = np.searchsorted(curve.threshold, one.scores.min_dcf(one.cost).threshold)
        points = {
            "s": (curve.miss[best], curve.false_alarm[best]),
            "X": one.scores.errors_at(one.cost.threshold),
        }
        rates = np.clip([curve.false_alarm, curve.miss], 1e-7, 1 - 1e-7)
        axes.plot(*rates, color=one.colour, label=one.name)
        for marker, point in points.items():
            y, x = np.clip(point, low, high)
            axes.plot(
                x, y, marker, color=one.colour, mec="white", markersize=8, clip_on=False, zorder=3
            )
    for marker, label in {"s": "min DCF", "X": "actual DCF"}.items():
        axes.plot([], [], marker, color=SOFT, label=label)
    axes.plot(DET_TICKS, DET_TICKS, color="#b8c0c9", linewidth=1, linestyle=":")
    probit, labels = (norm.ppf, norm.cdf), [f"{100 * tick:g}" for tick in DET_TICKS]
    for name, what in {"x": "spoof accepted, %", "y": "bona fide rejected, %"}.items():
        axes.set(**{f"{name}label": what})
        getattr(axes, f"set_{name}scale")("function", functions=probit)
        getattr(axes, f"set_{name}ticks")(DET_TICKS, labels)
        getattr(axes, f"set_{name}lim")(low, high)
    axes.legend(loc="upper right", ncols=2)


def histograms(axes, sets: list[ScoredSet]) -> None:
    """Scores of both classes, one axes a set, with the thresholds of the EER and of Bayes."""
    llr = np.concatenate([one.llr for one in sets])
    low, high = (
        np.quantile(llr[np.isfinite(llr)], [0.005, 0.995]) if np.isfinite(llr).any() else (0, 0)
    )
    edges = np.linspace(low - 1e-9, high + 1e-9, 41)
    panels = np.atleast_1d(axes)
    for panel, one in zip(panels, sets):
        for label, mask, colour, line in (
            ("spoof", ~one.bonafide, SPOOF_COLOUR, "--"),
            ("bona fide", one.bonafide, BONAFIDE_COLOUR, "-"),
        ):
            values, share = np.clip(one.llr[mask], low, high), np.full(mask.sum(), 100 / mask.sum())
            style = {
                "facecolor": (colour, 0.28),
                "edgecolor": colour,
                "linestyle": line,
                "linewidth": 1.4,
            }
            panel.hist(values, edges, weights=share, histtype="stepfilled", label=label, **style)
        panel.axvline(
            one.results.get("eer_threshold", np.nan),
            color=INK,
            linewidth=1.2,
            label="EER threshold",
        )
        panel.axvline(one.cost.threshold, **DOTTED, label="Bayes threshold")
        panel.set_ylabel(f"{one.name}: % of class")
    panels[0].legend(ncols=2, loc="lower left", bbox_to_anchor=(-0.02, 1))
    panels[-1].set_xlabel("LLR, nats (spoof ← 0 → bona fide)")


def bayes_error(scores: SortedScores, log_odds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Actual and minimum normalised Bayes error at each effective prior, costs equal.

    1 is what the better of "accept all" and "reject all" gives. The gap between the two is lost by
    calibration alone (Bruemmer, "Measuring, refining and calibrating speaker and language
    information extracted from speech", 2010, chapter 2).

    Args:
        scores: LLRs in nats, higher is bona fide.
        log_odds: log(P(bona fide) / P(spoof)), shape (K,), any finite values.

    Returns:
        actual (K,), not below minimum (K,), which is in [0, 1].
    """
    priors = list(zip(expit(log_odds), expit(-log_odds)))
    actual = [
        np.dot(prior, scores.errors_at(-odds)) / min(prior) for prior, odds in zip(priors, log_odds)
    ]
    return np.array(actual), np.array([scores.min_cost(*prior).value for prior in priors])


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


def training(axes, history: np.ndarray) -> None:
    """Losses, and dev EER, over epochs, the best epoch marked."""
    for panel, what, unit, columns in zip(
        axes, ("loss", "dev EER, %"), (1, 100), (("train_loss", "dev_loss"), ("dev_eer",))
    ):
        for column, style, colour in zip(columns, ("o-", "s--"), ("#0072B2", "#E69F00")):
            there = np.isfinite(history[column])
            x, y = history["epoch"][there], unit * history[column][there]
            panel.plot(x, y, style, color=colour, markersize=3, label=column.replace("_", " "))
        for epoch in best_epoch(history):
            panel.axvline(epoch, **DOTTED, label=f"best epoch, {epoch:g}")
        panel.set_ylabel(what)
        panel.legend()
    axes[-1].set_xlabel("epoch")
    axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))


def confusion(axes, content: tuple[list[list[int]], list[str]]) -> None:
    """Counts of decisions, true classes in rows, each cell as dark as its share of the row; then the classes' names."""
    counts_CC, (names, places) = np.array(content[0]), (content[1], np.arange(len(content[1])))
    share_CC = counts_CC / np.maximum(counts_CC.sum(axis=1, keepdims=True), 1)
    axes.pcolormesh(share_CC, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts_CC):
        colour = "white" if share_CC[row, column] > 0.6 else INK
        text = f"{count}\n{100 * share_CC[row, column]:.0f} %" if len(names) < 6 else str(count)
        axes.text(column + 0.5, row + 0.5, text, color=colour, ha="center", va="center")
    axes.set_xticks(places + 0.5, names, rotation=0 if len(names) < 6 else 90)
    axes.set_yticks(places + 0.5, names)
    axes.set(xlabel="decided", ylabel="true", aspect="equal")
    axes.invert_yaxis()
    axes.grid(visible=False)


def best_epoch(history: np.ndarray) -> np.ndarray:
    """The epoch of the lowest dev EER, then of the lowest dev loss; none if none was validated."""
    validated = history[np.isfinite(history["dev_eer"])]
    return np.sort(validated, order=["dev_eer", "dev_loss"])["epoch"][:1]


def draw_waveform(axes, wav_T: np.ndarray, sample_rate: int) -> None:
    """Samples over seconds."""
    seconds_T = np.arange(len(wav_T)) / sample_rate
    # As pixels: a path of every sample would make a file of megabytes.
    axes.plot(seconds_T, wav_T, color=INK, linewidth=0.4, rasterized=True)
    axes.set(ylabel="waveform")


def add_class_legend(axes) -> None:
    """A legend of the classes' colours, at the lower right corner."""
    for label, colour in zip(LABELS, CLASS_COLOURS):
        axes.bar(0, 0, color=colour, label=label)  # an empty bar, which has an entry in the legend
    axes.legend(ncols=2, loc="lower right", bbox_to_anchor=(1, 1))
