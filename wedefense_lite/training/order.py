"""The order of training: a pure function of the seed, the epoch and the list."""

import math

import numpy as np

from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.labels import LABELS
from wedefense_lite.systems.config import DataConfig


def epoch_order(
    index: list[Utterance], config: DataConfig, seed: int, epoch: int, total: int
) -> np.ndarray:
    """Rows of ``index`` in the order in which an epoch draws them.

    Every utterance is there once; the last steps are filled up from the start of the order. With
    ``balance_classes`` the classes take turns, the larger seeing a part of its utterances in each
    epoch and the smaller repeating.

    Args:
        total: the number of draws, all ranks together.

    Returns:
        ``total`` row numbers.
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(index))
    if config.shuffle_window:
        shard = np.unique([utterance.path for utterance in index], return_inverse=True)[1]
        window = rng.permutation(shard.max() + 1)[shard] // config.shuffle_window
        order = order[np.argsort(window[order], kind="stable")]
    if config.balance_classes:
        labels = np.array([utterance.label for utterance in index])[order]
        turns = [
            np.resize(order[labels == label], math.ceil(total / len(LABELS))) for label in LABELS
        ]
        order = np.stack(turns, axis=1).ravel()
    return np.resize(order, total)
