"""Batches for training."""

import math
from collections.abc import Iterator
from functools import partial
from itertools import islice

import numpy as np

from wedefense_lite.audio.stream import Stream
from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.files import InputError
from wedefense_lite.labels import LABELS, SPOOF
from wedefense_lite.systems.batch import Batch
from wedefense_lite.systems.config import DataConfig
from wedefense_lite.systems.delivery import read_batches, worker_share
from wedefense_lite.training.order import epoch_order


class TrainLoader:
    """Training batches: random crops, augmented, in an order that the seed and the epoch decide.

    Args:
        index: the training list; all its utterances have labels.
        seed: of the order and of all augmentation; the same on every rank.
        rank: this process's number.
        world: the number of processes; each gets batches of its own and the same number of them.

    Attributes:
        steps_per_epoch: batches in an epoch that draws all utterances, at least one.
        class_prior: ``[p_spoof, p_bonafide]`` of what sampling delivers: of its time, where segments are known, and
            of its talkers, where these are.

    Raises:
        InputError: an utterance without label, or ``balance_classes`` with one class only.
    """

    def __init__(self, index: list[Utterance], config: DataConfig, seed: int, rank=0, world=1):
        self.index, self.config, self.seed, self.rank, self.world = index, config, seed, rank, world
        self.steps_per_epoch = math.ceil(len(index) / (config.batch_size * world))
        counts = [sum(utterance.label == label for utterance in index) for label in LABELS]
        if sum(counts) < len(index):
            raise InputError(f"{len(index) - sum(counts)} training utterances have no label")
        if isinstance(index, Stream) and (config.balance_classes or config.shuffle_window):
            raise InputError("balance_classes and shuffle_window need an index; a stream has none")
        if config.balance_classes and not all(counts):
            raise InputError(f"balance_classes with {dict(zip(LABELS, counts))} utterances")
        self.class_prior = (
            [0.5, 0.5] if config.balance_classes else [n / len(index) for n in counts]
        )
        if index and index[0].segments:
            self.class_prior = self._prior_of_time(dict(zip(LABELS, counts)))
        elif index and index[0].talkers:
            self.class_prior = self._prior_of_talkers(dict(zip(LABELS, counts)))

    def _prior_of_time(self, counts: dict[str, int]) -> list[float]:
        """Shares of the classes in the time that sampling delivers: crops are of one length."""
        spoofed, weights = [], []
        for row in self.index:
            start, end, label = row.segments
            spoofed.append(((end - start) * (label == SPOOF)).sum() / (end - start).sum())
            weights.append(
                self._drawn(row, counts) * (1.0 if self.config.crop_seconds else row.samples)
            )
        share = float(np.average(spoofed, weights=weights))
        if not 0 < share < 1:
            raise InputError(f"the segments of the training set are all {LABELS[share < 0.5]}")
        return [share, 1 - share]

    def _prior_of_talkers(self, counts: dict[str, int]) -> list[float]:
        """Shares of the classes among the talkers of the mixtures that sampling delivers."""
        spoofed = [
            np.mean([talker.label == LABELS[SPOOF] for talker in row.talkers]) for row in self.index
        ]
        weights = [self._drawn(row, counts) * len(row.talkers) for row in self.index]
        share = float(np.average(spoofed, weights=weights))
        return [share, 1 - share]

    def _drawn(self, row: Utterance, counts: dict[str, int]) -> float:
        """How often sampling draws an utterance, on some scale."""
        return 1 / counts[row.label] if self.config.balance_classes else 1.0

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """This rank's batches of an epoch, from a step on. Only a stream reads what is skipped.

        Raises:
            InputError: reading that can't be used; names the utterance and the file.
        """
        size, steps, workers = self.config.batch_size, self.steps_per_epoch, self.config.num_workers
        if isinstance(self.index, Stream):
            plan = partial(self.index.batches, size, (self.seed, epoch), self.rank, self.world)
            return islice(read_batches(plan, self.config, workers), start_step, steps)
        order = epoch_order(
            self.index, self.config, self.seed, epoch, total=steps * self.world * size
        )
        starts = range((start_step * self.world + self.rank) * size, len(order), self.world * size)
        # Places count from 1: a seed that ends in 0 is the one without it, which the order has.
        batches = [enumerate(order[first : first + size], first + 1) for first in starts]
        draws = [
            [(self.index[row], (self.seed, epoch, place)) for place, row in batch]
            for batch in batches
        ]
        return read_batches(partial(worker_share, draws), self.config, workers)
