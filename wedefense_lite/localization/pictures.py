"""One utterance over time, as SVG text."""

import io

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from wedefense_lite.audio.segments import Segments
from wedefense_lite.labels import LABELS
from wedefense_lite.localization.frames import Frames
from wedefense_lite.report.pictures import BONAFIDE_COLOUR, INK, SPOOF_COLOUR, STYLE


def timeline(
    wav_T: np.ndarray, sample_rate: int, frames: Frames, truth: Segments, decided: Segments
) -> str:
    """Waveform, spectrogram, segments of the reference and of the decisions, and LLRs of frames.

    Args:
        wav_T: samples in [-1, 1].
        sample_rate: Hz.
        frames: scores.
        truth: reference segments.
        decided: segments that were decided on.
    """
    text = io.StringIO()
    with matplotlib.rc_context(STYLE | {"axes.grid": False}):
        figure = Figure(figsize=(9, 5.4), layout="constrained")
        wave, spectrum, bars, scores = figure.subplots(4, sharex=True, height_ratios=(2, 4, 1, 3))
        wave.plot(
            np.arange(len(wav_T)) / sample_rate, wav_T, color=INK, linewidth=0.4, rasterized=True
        )
        wave.set(ylabel="waveform")
        quiet = np.abs(wav_T).max() * 1e-4 + 1e-9  # keeps digital silence off minus infinity
        spectrum.specgram(
            wav_T + quiet, NFFT=512, Fs=sample_rate, noverlap=352, cmap="magma", rasterized=True
        )
        spectrum.set(ylabel="Hz")
        for row, parts in enumerate((decided, truth)):
            colours = [(SPOOF_COLOUR, BONAFIDE_COLOUR)[label] for label in parts.label]
            bars.barh(
                [row] * len(parts.label), parts.end - parts.start, left=parts.start, color=colours
            )
        bars.set_yticks((0, 1), ("decided", "truth"))
        scores.stairs(frames.score, frames.edges, color=INK, linewidth=1, baseline=None)
        scores.set(xlabel="seconds", ylabel="LLR, nats", xlim=(0, len(wav_T) / sample_rate))
        for label, colour in zip(LABELS, (SPOOF_COLOUR, BONAFIDE_COLOUR)):
            bars.bar(0, 0, color=colour, label=label)
        bars.legend(ncols=2, loc="lower right", bbox_to_anchor=(1, 1))
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()
