"""The order of training: a pure function of the seed, the epoch and the list."""

import math

import numpy as np

from wedefense_lite.dataset.audio import Utterance
from wedefense_lite.dataset.config import DataConfig
from wedefense_lite.labels import LABELS


def steps_per_epoch(utterances: int, batch_size: int, world: int) -> int:
    """Steps that every rank makes in an epoch: all utterances, and at least one step."""
    return math.ceil(utterances / (batch_size * world))


def epoch_order(index: list[Utterance], config: DataConfig, seed: int, epoch: int, total: int) -> np.ndarray:
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
    window = config.shuffle_window
    order = _windows(index, window, rng) if window else rng.permutation(len(index))
    if config.balance_classes:
        labels = np.array([utterance.label for utterance in index])[order]
        turns = [np.resize(order[labels == label], math.ceil(total / len(LABELS))) for label in LABELS]
        order = np.stack(turns, axis=1).ravel()
    return np.resize(order, total)


def _windows(index: list[Utterance], window: int, rng: np.random.Generator) -> np.ndarray:
    shards: dict[str, list[int]] = {}
    for row, utterance in enumerate(index):
        shards.setdefault(utterance.path, []).append(row)
    rows = [np.array(part) for part in shards.values()]
    turn = rng.permutation(len(rows))
    windows = [turn[start : start + window] for start in range(0, len(turn), window)]
    mixed = [rng.permutation(np.concatenate([rows[shard] for shard in part])) for part in windows]
    return np.concatenate(mixed)
