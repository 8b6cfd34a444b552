"""The order of training: a pure function of the seed, the epoch and the list.

An epoch has as many draws as the list has utterances, filled up to whole steps, however these are
sampled. Where nothing is balanced, every utterance is drawn once. Where groups of utterances are
(classes, corpora, classes of corpora), each group has its share of the draws, and within a group
every utterance is drawn n times or n + 1 times: a part of a group that has more utterances than
draws is drawn once, another part in each epoch, and a smaller group is repeated.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.files import InputError
from wedefense_lite.labels import LABELS
from wedefense_lite.systems.config import DataConfig


class Group(NamedTuple):
    """Utterances that are drawn equally often.

    Attributes:
        rows: ``(N,)``, their row numbers in the index.
        share: their part of all draws.
    """

    rows: np.ndarray
    share: float


class Sampling(NamedTuple):
    """What the order of every epoch is drawn from, as it follows from the list.

    Attributes:
        count: number of utterances.
        groups: groups of these.
        shard_of_row: ``(count,)``, numbers of their shards; None where these don't matter.
    """

    count: int
    groups: list[Group]
    shard_of_row: np.ndarray | None


def prepare_sampling(index: Sequence[Utterance], config: DataConfig) -> Sampling:
    """Look at all utterances once, for ``order_of_epoch``.

    Raises:
        InputError: as ``sampling_groups``.
    """
    shard_of_row = None
    if config.shuffle_window:
        paths = [utterance.path for utterance in index]
        _, shard_of_row = np.unique(paths, return_inverse=True)
    return Sampling(len(index), sampling_groups(index, config), shard_of_row)


def epoch_order(
    index: Sequence[Utterance], config: DataConfig, seed: int, epoch: int, total: int
) -> np.ndarray:
    """Row numbers of an index in the order of an epoch, as ``order_of_epoch`` gives them."""
    return order_of_epoch(prepare_sampling(index, config), config, seed, epoch, total)


def order_of_epoch(
    sampling: Sampling, config: DataConfig, seed: int, epoch: int, total: int
) -> np.ndarray:
    """Row numbers of an index in the order in which an epoch draws them.

    The last steps are filled up from the beginning of the order. Groups take turns, so that each
    has its share of any stretch of draws. The turns of classes are strict; those of corpora have a
    random phase, so that no rank and no place in a batch sees one group alone.

    Args:
        sampling: of the training list.
        config: ``balance_classes``, ``balance_corpora``, ``corpus_weights`` and ``shuffle_window``
            are used.
        seed: seed of the training.
        epoch: number of the epoch.
        total: number of draws, all ranks together.

    Returns:
        ``(total,)`` row numbers.
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(sampling.count)
    if sampling.shard_of_row is not None:
        rank_of_shard = rng.permutation(sampling.shard_of_row.max() + 1)
        window_of_row = rank_of_shard[sampling.shard_of_row] // config.shuffle_window
        # A stable sort keeps the random order of the rows of a window.
        order = order[np.argsort(window_of_row[order], kind="stable")]
    if len(sampling.groups) > 1:
        order = _take_turns(order, sampling.groups, total, rng if config.by_corpus else None)
    return np.resize(order, total)


def sampling_groups(index: Sequence[Utterance], config: DataConfig) -> list[Group]:
    """Groups of utterances that sampling draws equally often; one where nothing is balanced.

    Raises:
        InputError: ``corpus_weights`` of other corpora than those of the list.
    """
    shares = _corpus_shares(index, config)
    rows_of_group: dict[tuple[str, str | int], list[int]] = {}
    sources = set()
    for row, utterance in enumerate(index):
        corpus = utterance.corpus.name if config.by_corpus else ""
        label = utterance.label if config.balance_classes else ""
        if config.balance_classes and utterance.source is not None:
            # Classes of source tracing.
            label = utterance.source
            sources.add(label)
        rows_of_group.setdefault((corpus, label), []).append(row)
    groups = []
    for corpus in sorted(shares):
        labels = sorted(sources) or LABELS if config.balance_classes else ("",)
        present = [label for label in labels if (corpus, label) in rows_of_group]
        # A corpus of one class gives that class its whole share.
        for label in present:
            rows = np.array(rows_of_group[corpus, label])
            groups.append(Group(rows, shares[corpus] / len(present)))
    return groups


def _corpus_shares(index: Sequence[Utterance], config: DataConfig) -> dict[str, float]:
    """Share of the draws of each corpus; of all together, named ``""``, where none is weighted."""
    if not config.by_corpus:
        return {"": 1.0}
    if any(utterance.corpus is None for utterance in index):
        raise InputError(
            "balance_corpora and corpus_weights need the corpus of each utterance: --train_corpora"
        )
    names = sorted({utterance.corpus.name for utterance in index})
    weights = config.corpus_weights or dict.fromkeys(names, 1.0)
    if sorted(weights) != names:
        raise InputError(
            f"data.corpus_weights are of {', '.join(sorted(weights))}, the training list has "
            f"{', '.join(names)}: give a weight to each of these"
        )
    total = sum(weights.values())
    return {name: weights[name] / total for name in names}


def _take_turns(
    order: np.ndarray, groups: list[Group], total: int, rng: np.random.Generator | None
) -> np.ndarray:
    """Draws of an epoch in which groups take turns; the first ones don't depend on their number.

    Args:
        order: rows in random order.
        groups: groups of these rows.
        total: number of draws.
        rng: draws the place of each draw within its turn; None for the middle.
    """
    place_of_row = np.empty(len(order), dtype=np.int64)
    place_of_row[order] = np.arange(len(order))
    # A generator a group: what one group draws doesn't depend on how often others are drawn.
    rngs = [None] * len(groups) if rng is None else rng.spawn(len(groups))
    draws = []
    times = []
    for group, group_rng in zip(groups, rngs):
        rows = group.rows[np.argsort(place_of_row[group.rows])]
        # Enough of them: each group is a turn ahead of or behind its share at most.
        count = math.ceil(group.share * (total + len(groups))) + 1
        phase = 0.5 if group_rng is None else group_rng.random(count)
        draws.append(np.resize(rows, count))
        times.append((np.arange(count) + phase) / group.share)
    by_time = np.argsort(np.concatenate(times), kind="stable")
    return np.concatenate(draws)[by_time[:total]]
