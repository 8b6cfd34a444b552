"""Scores of the frames of an utterance."""

from typing import NamedTuple

import numpy as np


class FrameScores(NamedTuple):
    """Scores of the frames of one utterance; each frame begins where the one before ends.

    Two frames of 20 ms: ``FrameScores(np.array([0.0, 0.02, 0.04]), np.array([1.5, -2.0]))``.

    Attributes:
        edges: ``(G + 1,)`` seconds: the start of every frame, then the end of the last.
        score: ``(G,)``; higher is more bona fide.
    """

    edges: np.ndarray
    score: np.ndarray
