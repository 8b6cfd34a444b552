"""From frame LLRs to segments: smoothing, a threshold and the shortest segment, chosen on a dev set."""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import median_filter

from wedefense_lite.audio.segments import Segments
from wedefense_lite.labels import BONAFIDE, SPOOF
from wedefense_lite.localization.frames import Frames
from wedefense_lite.localization.metrics import durations

SMOOTHING, SHORTEST = (
    (0.0, 0.1, 0.2, 0.3, 0.5),
    (0.0, 0.06, 0.1, 0.2, 0.3),
)  # seconds to choose from


@dataclass(frozen=True)
class Decoder:
    """Which frames are spoof.

    Attributes:
        smooth: frames of the running median, an odd number.
        threshold: frames with a smoothed LLR up to it are spoof.
        shortest: frames that a segment has at least: shorter bona fide ones turn into spoof, then shorter
            spoofed ones into bona fide.
    """

    smooth: int
    threshold: float
    shortest: int

    def __call__(self, llr_T: np.ndarray) -> np.ndarray:
        """``label_T``, class indices."""
        label_T = (smoothed(llr_T, self.smooth) > self.threshold).astype(int)
        for kind in (BONAFIDE, SPOOF):
            edges, value = runs(label_T)
            value[(value == kind) & (np.diff(edges) < self.shortest)] = 1 - kind
            label_T = np.repeat(value, np.diff(edges))
        return label_T

    def segments(self, frames: Frames) -> Segments:
        """Segments of both classes, one after the other."""
        edges, value = runs(self(frames.score))
        seconds = frames.edges[edges].round(6)
        return Segments(seconds[:-1], seconds[1:], value)


def smoothed(llr_T: np.ndarray, size: int) -> np.ndarray:
    """Running median over ``size`` frames, the ends repeated."""
    return median_filter(llr_T, size, mode="nearest")


def runs(label_T: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``edges_R+1``, frame numbers, and ``label_R`` of the runs of equal labels."""
    edges = np.concatenate(([0], np.flatnonzero(np.diff(label_T)) + 1, [len(label_T)]))
    return edges, label_T[edges[:-1]]


def chosen(utterances: list[tuple[Frames, Segments]], hop: float) -> tuple[Decoder, float]:
    """The decoder with the highest F1 of spoofed time on a set, and that F1.

    For each smoothing the threshold is the best there is without a shortest segment.
    """
    spoof_N, bonafide_N = (
        np.concatenate([durations(*pair, label) for pair in utterances])
        for label in (SPOOF, BONAFIDE)
    )

    def f1(hit: np.ndarray | float, false: np.ndarray | float) -> np.ndarray | float:
        return 2 * hit / (hit + false + spoof_N.sum())

    best = Decoder(1, -np.inf, 1), 0.0
    sizes, shortest = (
        [round(seconds / hop) for seconds in choice] for choice in (SMOOTHING, SHORTEST)
    )
    for smooth in sorted({size // 2 * 2 + 1 for size in sizes}):
        llr_N = np.concatenate([smoothed(frames.score, smooth) for frames, _ in utterances])
        order = np.argsort(llr_N)
        curve = f1(spoof_N[order].cumsum(), bonafide_N[order].cumsum())
        is_last_of_equals = np.append(np.diff(llr_N[order]) > 0, True)
        threshold = float(llr_N[order][np.where(is_last_of_equals, curve, -1).argmax()])
        for least in sorted({max(1, size) for size in shortest}):
            decoder = Decoder(smooth, threshold, least)
            is_spoof_N = (
                np.concatenate([decoder(frames.score) for frames, _ in utterances]) == SPOOF
            )
            found = float(f1(spoof_N[is_spoof_N].sum(), bonafide_N[is_spoof_N].sum()))
            best = max(best, (decoder, found), key=lambda pair: pair[1])
    return best
