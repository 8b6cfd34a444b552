"""The order of training: a pure function of the seed, the epoch and the list."""

import math

import numpy as np

from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.labels import LABELS
from wedefense_lite.systems.config import DataConfig


def epoch_order(
    index: list[Utterance], config: DataConfig, seed: int, epoch: int, total: int
) -> np.ndarray:
    """Row numbers of an index in the order in which an epoch draws them.

    Every utterance is drawn once; the last steps are filled up from the beginning of the order.
    With ``balance_classes`` the classes take turns: an epoch draws a part of the larger class, and
    repeats utterances of the smaller one.

    Args:
        index: the training list.
        config: ``balance_classes`` and ``shuffle_window`` are used.
        seed: seed of the training.
        epoch: number of the epoch.
        total: number of draws, all ranks together.

    Returns:
        ``(total,)`` row numbers.
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(index))
    if config.shuffle_window:
        paths = [utterance.path for utterance in index]
        _, shard_of_row = np.unique(paths, return_inverse=True)
        rank_of_shard = rng.permutation(shard_of_row.max() + 1)
        window_of_row = rank_of_shard[shard_of_row] // config.shuffle_window
        # A stable sort keeps the random order of the rows of a window.
        order = order[np.argsort(window_of_row[order], kind="stable")]
    if config.balance_classes:
        labels = np.array([utterance.label for utterance in index])[order]
        draws_per_class = math.ceil(total / len(LABELS))
        turns = [np.resize(order[labels == label], draws_per_class) for label in LABELS]
        order = np.stack(turns, axis=1).ravel()
    return np.resize(order, total)
