"""The talkers of a recording over time, as SVG text.

Letters: T samples.
"""

import io
from collections.abc import Mapping

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from wedefense_lite.labels import LABELS
from wedefense_lite.report.pictures import (
    CLASS_COLOURS,
    SOFT,
    STYLE,
    add_class_legend,
    draw_waveform,
)


def talker_timeline(wav_T: np.ndarray, sample_rate: int, by_talker: Mapping[str, dict]) -> str:
    """Waveform, and below it the segments of each talker with their LLRs.

    A segment has the colour of its talker's decision.

    Args:
        wav_T: T samples in [-1, 1].
        sample_rate: Hz.
        by_talker: name to ``decision``, a label or None, and ``segments``, each with ``start`` and
            ``end`` in seconds and ``llr``, a number or None.
    """
    colours = dict(zip(LABELS, CLASS_COLOURS))
    seconds = len(wav_T) / sample_rate
    text = io.StringIO()
    with matplotlib.rc_context(STYLE | {"axes.grid": False}):
        figure = Figure(figsize=(9, 1.8 + 0.5 * len(by_talker)), layout="constrained")
        wave, bars = figure.subplots(2, sharex=True, height_ratios=(2, len(by_talker)))
        draw_waveform(wave, wav_T, sample_rate)
        for row, talker in enumerate(by_talker.values()):
            colour = colours.get(talker["decision"], SOFT)
            for segment in talker["segments"]:
                _draw_segment(bars, row, segment, colour)
        bars.set_yticks(range(len(by_talker)), by_talker)
        bars.invert_yaxis()
        bars.set(xlabel="seconds, with the LLR of each segment", xlim=(0, seconds))
        add_class_legend(bars)
        # Without a date the same talkers give the same file.
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()


def _draw_segment(axes: Axes, row: int, segment: dict, colour: str) -> None:
    start = segment["start"]
    end = segment["end"]
    axes.barh(row, end - start, left=start, color=colour)
    if segment["llr"] is not None:
        label = f"{segment['llr']:.1f}"
        axes.text((start + end) / 2, row, label, color="white", ha="center", va="center")
