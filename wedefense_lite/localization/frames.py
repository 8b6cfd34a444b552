"""Scores of the frames of an utterance."""

from typing import NamedTuple

import numpy as np


class Frames(NamedTuple):
    """Frames of one utterance in order, each beginning where the one before ends; seconds.

    ``edges`` is ``(T + 1,)``, ``score`` ``(T,)``.
    """

    edges: np.ndarray
    score: np.ndarray
