"""The talkers of a recording over time, as SVG text.

Letters: T samples.
"""

import io
from collections.abc import Mapping

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from wedefense_lite.labels import LABELS
from wedefense_lite.report.pictures import (
    CLASS_COLOURS,
    SOFT,
    STYLE,
    add_class_legend,
    draw_waveform,
)


def talker_timeline(wav_T: np.ndarray, sample_rate: int, talkers: Mapping[str, dict]) -> str:
    """Waveform, and the segments of each talker in the colour of its decision, with their LLRs.

    Args:
        wav_T: samples in [-1, 1].
        sample_rate: Hz.
        talkers: by name, ``decision``, a label or None, and ``segments`` with ``start`` and ``end``
            in seconds and ``llr``, a number or None.
    """
    text = io.StringIO()
    colours = dict(zip(LABELS, CLASS_COLOURS))
    with matplotlib.rc_context(STYLE | {"axes.grid": False}):
        figure = Figure(figsize=(9, 1.8 + 0.5 * len(talkers)), layout="constrained")
        wave, bars = figure.subplots(2, sharex=True, height_ratios=(2, len(talkers)))
        draw_waveform(wave, wav_T, sample_rate)
        for row, talker in enumerate(talkers.values()):
            colour = colours.get(talker["decision"], SOFT)
            for segment in talker["segments"]:
                start = segment["start"]
                end = segment["end"]
                bars.barh(row, end - start, left=start, color=colour)
                if segment["llr"] is not None:
                    middle = (start + end) / 2
                    label = f"{segment['llr']:.1f}"
                    bars.text(middle, row, label, color="white", ha="center", va="center")
        bars.set_yticks(range(len(talkers)), talkers)
        bars.invert_yaxis()
        bars.set(xlabel="seconds, with the LLR of each segment", xlim=(0, len(wav_T) / sample_rate))
        add_class_legend(bars)
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()
