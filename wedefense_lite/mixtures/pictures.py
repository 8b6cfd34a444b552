"""The talkers of a recording over time, as SVG text."""

import io
from collections.abc import Mapping

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from wedefense_lite.labels import LABELS
from wedefense_lite.report.pictures import BONAFIDE_COLOUR, INK, SOFT, SPOOF_COLOUR, STYLE


def talker_timeline(wav_T: np.ndarray, sample_rate: int, talkers: Mapping[str, dict]) -> str:
    """Waveform, and the segments of each talker in the colour of what was decided of it, with their
    LLRs.

    Args:
        wav_T: samples in [-1, 1].
        sample_rate: Hz.
        talkers: by name, ``decision``, a label or None, and ``segments`` with ``start``, ``end``
            and ``llr``, or None.
    """
    text, colours = io.StringIO(), dict(zip(LABELS, (SPOOF_COLOUR, BONAFIDE_COLOUR)))
    with matplotlib.rc_context(STYLE | {"axes.grid": False}):
        figure = Figure(figsize=(9, 1.8 + 0.5 * len(talkers)), layout="constrained")
        wave, bars = figure.subplots(2, sharex=True, height_ratios=(2, len(talkers)))
        wave.plot(
            np.arange(len(wav_T)) / sample_rate, wav_T, color=INK, linewidth=0.4, rasterized=True
        )
        wave.set(ylabel="waveform")
        for row, talker in enumerate(talkers.values()):
            for part in talker["segments"]:
                start, end = part["start"], part["end"]
                bars.barh(row, end - start, left=start, color=colours.get(talker["decision"], SOFT))
                if part["llr"] is not None:
                    bars.text(
                        (start + end) / 2,
                        row,
                        f"{part['llr']:.1f}",
                        color="white",
                        ha="center",
                        va="center",
                    )
        bars.set_yticks(range(len(talkers)), talkers)
        bars.invert_yaxis()
        bars.set(xlabel="seconds, with the LLR of each segment", xlim=(0, len(wav_T) / sample_rate))
        for label, colour in colours.items():
            bars.bar(0, 0, color=colour, label=label)
        bars.legend(ncols=2, loc="lower right", bbox_to_anchor=(1, 1))
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()
