"""From frame LLRs to segments: smoothing, a threshold and a shortest segment, tuned on a dev set.

Letters: G frames of an utterance, N frames of all utterances of a set.
"""

from dataclasses import dataclass

import numpy as np
import scipy  # imports its parts where they are used, some of which take a second

from wedefense_lite.audio.segments import Segments, runs
from wedefense_lite.labels import BONAFIDE, SPOOF
from wedefense_lite.localization.frames import FrameScores
from wedefense_lite.localization.metrics import class_seconds

SMOOTHING = (0.0, 0.1, 0.2, 0.3, 0.5)  # seconds of the running median to choose from
SHORTEST = (0.0, 0.06, 0.1, 0.2, 0.3)  # seconds of the shortest segment to choose from


@dataclass(frozen=True)
class Decoder:
    """Decisions for the frames of an utterance.

    Attributes:
        smooth: frames of the running median, an odd number.
        threshold: a frame is bona fide if its smoothed LLR is at or above it.
        shortest: least number of frames of a segment: shorter bona fide ones turn into spoof, then
            shorter spoofed ones into bona fide.
    """

    smooth: int
    threshold: float
    shortest: int

    def __call__(self, llr_G: np.ndarray) -> np.ndarray:
        """Class indices ``label_G``."""
        is_bonafide_G = running_median(llr_G, self.smooth) >= self.threshold
        label_G = is_bonafide_G.astype(int)
        # Bona fide first: a short gap inside a spoofed part closes before the part can be dropped.
        for label in (BONAFIDE, SPOOF):
            for begin, end, run_label in runs(label_G):
                if run_label == label and end - begin < self.shortest:
                    label_G[begin:end] = 1 - label
        return label_G

    def segments(self, frames: FrameScores) -> Segments:
        """Segments of both classes, one after the other."""
        begin, end, label = np.array(runs(self(frames.score))).T
        edges = frames.edges.round(6)
        return Segments(edges[begin], edges[end], label)


def running_median(llr_G: np.ndarray, size: int) -> np.ndarray:
    """Running median over ``size`` frames, the ends repeated."""
    return scipy.ndimage.median_filter(llr_G, size, mode="nearest")


def choose_decoder(
    utterances: list[tuple[FrameScores, Segments]], hop: float
) -> tuple[Decoder, float]:
    """The decoder with the highest F1 of spoofed time on a set.

    For each smoothing, the threshold is the best one without a shortest segment.

    Args:
        utterances: scores of the frames and reference segments of each.
        hop: seconds a frame.

    Returns:
        The decoder, and its F1 in [0, 1].

    Raises:
        ValueError: the set has no spoofed time, or infinite scores leave no threshold.
    """
    spoof_N = np.concatenate(
        [class_seconds(frames.edges, segments, SPOOF) for frames, segments in utterances]
    )
    bonafide_N = np.concatenate(
        [class_seconds(frames.edges, segments, BONAFIDE) for frames, segments in utterances]
    )
    spoof_seconds = spoof_N.sum()
    if not spoof_seconds:
        raise ValueError("no spoofed time in the dev set, expected some to choose a decoder by")
    median_sizes = {_odd(round(seconds / hop)) for seconds in SMOOTHING}
    shortest_sizes = {max(1, round(seconds / hop)) for seconds in SHORTEST}
    best_decoder = Decoder(1, -np.inf, 1)
    best_f1 = 0.0
    for smooth in sorted(median_sizes):
        llr_N = np.concatenate([running_median(frames.score, smooth) for frames, _ in utterances])
        threshold = _best_threshold(llr_N, spoof_N, bonafide_N)
        for shortest in sorted(shortest_sizes):
            decoder = Decoder(smooth, threshold, shortest)
            label_N = np.concatenate([decoder(frames.score) for frames, _ in utterances])
            is_spoof_N = label_N == SPOOF
            f1 = float(_f1(spoof_N[is_spoof_N].sum(), bonafide_N[is_spoof_N].sum(), spoof_seconds))
            # Only a higher F1 wins: of equals, the one that changes the scores least stays.
            if f1 > best_f1:
                best_decoder = decoder
                best_f1 = f1
    if not np.isfinite(best_decoder.threshold):
        raise ValueError("infinite scores leave no threshold to decide at")
    return best_decoder, best_f1


def _odd(size: int) -> int:
    """The size itself if it is odd, else the next one: a median has a middle then."""
    return size // 2 * 2 + 1


def _best_threshold(llr_N: np.ndarray, spoof_N: np.ndarray, bonafide_N: np.ndarray) -> float:
    """Threshold with the highest F1: the least one above the LLRs that are best taken for spoof.

    Args:
        llr_N: smoothed LLRs.
        spoof_N: seconds of each frame that are spoof in the reference.
        bonafide_N: seconds of each frame that are bona fide in the reference.
    """
    order = np.argsort(llr_N)
    llr_N = llr_N[order]
    f1_N = _f1(spoof_N[order].cumsum(), bonafide_N[order].cumsum(), spoof_N.sum())
    # Equal LLRs are on one side of any threshold, so only the sums behind the last of them count.
    is_last_of_equals = np.append(np.diff(llr_N) > 0, True)
    best = np.where(is_last_of_equals, f1_N, -1).argmax()
    return float(np.nextafter(llr_N[best], np.inf))


def _f1(
    hits: np.ndarray | float, false_alarms: np.ndarray | float, spoofed: float
) -> np.ndarray | float:
    """F1 from the seconds decided to be spoof (rightly, wrongly), and all that are spoofed."""
    return 2 * hits / (hits + false_alarms + spoofed)
