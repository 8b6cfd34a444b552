"""One utterance over time, as SVG text.

Letters: T samples.
"""

import io

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from wedefense_lite.audio.segments import Segments
from wedefense_lite.localization.frames import FrameScores
from wedefense_lite.report.pictures import (
    CLASS_COLOURS,
    INK,
    STYLE,
    add_class_legend,
    draw_waveform,
)


def timeline(
    wav_T: np.ndarray,
    sample_rate: int,
    frames: FrameScores,
    truth: Segments,
    decided: Segments,
) -> str:
    """Waveform, spectrogram, segments of the reference and of the decisions, and LLRs of frames.

    Args:
        wav_T: samples in [-1, 1].
        sample_rate: Hz.
        frames: LLRs.
        truth: reference segments.
        decided: decided segments.
    """
    text = io.StringIO()
    with matplotlib.rc_context(STYLE | {"axes.grid": False}):
        figure = Figure(figsize=(9, 5.4), layout="constrained")
        wave, spectrum, bars, scores = figure.subplots(4, sharex=True, height_ratios=(2, 4, 1, 3))
        draw_waveform(wave, wav_T, sample_rate)
        quiet = np.abs(wav_T).max() * 1e-4 + 1e-9  # keeps digital silence off minus infinity
        spectrum.specgram(
            wav_T + quiet, NFFT=512, Fs=sample_rate, noverlap=352, cmap="magma", rasterized=True
        )
        spectrum.set(ylabel="Hz")
        for row, segments in enumerate((decided, truth)):
            bars.barh(
                [row] * len(segments.label),
                segments.end - segments.start,
                left=segments.start,
                color=[CLASS_COLOURS[label] for label in segments.label],
            )
        bars.set_yticks((0, 1), ("decided", "truth"))
        scores.stairs(frames.score, frames.edges, color=INK, linewidth=1, baseline=None)
        scores.set(xlabel="seconds", ylabel="LLR, nats", xlim=(0, len(wav_T) / sample_rate))
        add_class_legend(bars)
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()
