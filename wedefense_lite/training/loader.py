"""Batches for training."""

import logging
import math
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

import numpy as np
import torch

from wedefense_lite.audio.packed import PackedRows
from wedefense_lite.audio.stream import Draw, Stream
from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.files import InputError
from wedefense_lite.labels import BONAFIDE, LABELS, SPOOF
from wedefense_lite.systems.batch import Batch
from wedefense_lite.systems.config import DataConfig
from wedefense_lite.systems.delivery import BatchReader, share_state
from wedefense_lite.systems.samples import num_slices, read_training_batch
from wedefense_lite.training.order import (
    Group,
    Sampling,
    order_of_epoch,
    prepare_sampling,
    sampling_groups,
)


class TrainLoader:
    """Training batches: random crops, augmented, in an order that the seed and the epoch decide.

    Args:
        index: the training list; all its utterances have labels.
        config: how audio is read.
        seed: seed of the order, of crops and of augmentation; the same on every rank.
        rank: number of this process.
        world: number of processes; each gets batches of its own and the same number of them.

    Attributes:
        batch_size: utterances in a batch of this process.
        steps_per_epoch: batches in an epoch that draws all utterances, at least one.
        class_prior: ``[p_spoof, p_bonafide]`` among what sampling delivers: utterances; with
            segments, time; with stems, talkers.

    Raises:
        InputError: an utterance without label, ``balance_classes`` with one class only, weights of
            other corpora than those of the list, slices of what has none, a batch that is larger
            than the memory, or one that the processes can't share evenly.
    """

    def __init__(
        self,
        index: list[Utterance] | Stream,
        config: DataConfig,
        seed: int,
        rank: int = 0,
        world: int = 1,
    ):
        self.index = training_rows(index, config)
        self.config = config
        self.seed = seed
        self.rank = rank
        self.world = world
        self._plan = EpochPlan(self.index, config, seed, rank, world)
        self.batch_size = self._plan.batch_size
        self.steps_per_epoch = self.steps()
        balances = config.balance_classes or config.by_corpus
        if isinstance(index, Stream) and (balances or config.shuffle_window):
            raise InputError(
                "balance_classes, balance_corpora, corpus_weights and shuffle_window need an "
                "index; a stream has none"
            )
        self.class_prior = self._compute_prior()
        self._check_memory()
        self._reader = BatchReader(
            self._plan,
            read_training_batch,
            config,
            config.num_workers,
            samples=self.batch_size * round(config.crop_seconds * config.sample_rate),
            count=3,
        )
        if self._reader.num_workers:
            self._plan.share()

    def _check_memory(self) -> None:
        config = self.config
        seconds = self.batch_size * config.crop_seconds
        size = seconds * config.sample_rate * np.dtype(np.float32).itemsize
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if size > memory:
            raise InputError(
                f"a batch of {self.batch_size} crops of {config.crop_seconds:g} s takes "
                f"{size / 1e9:.3g} GB, this machine has {memory / 1e9:.3g} GB: "
                "lower data.batch_size or data.crop_seconds"
            )

    def _compute_prior(self) -> list[float]:
        rows = list(self.index)
        labels = Counter(row.label for row in rows)
        counts = {label: labels[label] for label in LABELS}
        unlabelled = len(rows) - sum(counts.values())
        if unlabelled:
            raise InputError(f"{unlabelled} training utterances have no label")
        # Nothing is divided out of the logits of sources.
        is_of_sources = bool(rows) and rows[0].source is not None
        if self.config.balance_classes and not is_of_sources and not all(counts.values()):
            raise InputError(f"balance_classes with {counts} utterances")
        groups = sampling_groups(rows, self.config)
        if rows and rows[0].corpus is not None:
            _log_corpora(rows, groups)
        if rows and rows[0].segments:
            return self._prior_of_time(rows, _draws_of_rows(groups, len(rows)))
        if rows and rows[0].stems:
            return self._prior_of_talkers(rows, _draws_of_rows(groups, len(rows)))
        if is_of_sources:
            return [0.5, 0.5]
        shares = dict.fromkeys(LABELS, 0.0)
        for group in groups:
            members = Counter(rows[row].label for row in group.rows)
            for label, count in members.items():
                shares[label] += group.share * (count / len(group.rows))
        return [shares[label] for label in LABELS]

    def _prior_of_time(self, rows: list[Utterance], draws: np.ndarray) -> list[float]:
        """Shares of the classes in the time that sampling delivers."""
        spoofed_shares = []
        weights = []
        for row, draw_count in zip(rows, draws):
            start, end, label = row.segments
            seconds = end - start
            spoofed_seconds = np.where(label == SPOOF, seconds, 0.0)
            spoofed_shares.append(spoofed_seconds.sum() / seconds.sum())
            # Crops are of one length; whole utterances deliver their own.
            length = 1.0
            if not self.config.crop_seconds:
                length = row.samples_at(self.config.sample_rate)
            weights.append(draw_count * length)
        share = float(np.average(spoofed_shares, weights=weights))
        if not 0 < share < 1:
            label = LABELS[SPOOF] if share else LABELS[BONAFIDE]
            raise InputError(f"the segments of the training set are all {label}")
        return [share, 1 - share]

    def _prior_of_talkers(self, rows: list[Utterance], draws: np.ndarray) -> list[float]:
        """Shares of the classes among the talkers of the mixtures that sampling delivers."""
        spoofed_shares = []
        weights = []
        for row, draw_count in zip(rows, draws):
            is_spoof = [stem.label == LABELS[SPOOF] for stem in row.stems]
            spoofed_shares.append(np.mean(is_spoof))
            weights.append(draw_count * len(row.stems))
        share = float(np.average(spoofed_shares, weights=weights))
        return [share, 1 - share]

    @property
    def is_stream(self) -> bool:
        """Whether the list is read in the order of its files, without an index."""
        return isinstance(self.index, Stream)

    def steps(self, drawn: int = 0) -> int:
        """Number of batches of each rank that an epoch has left.

        Args:
            drawn: utterances of the epoch that have been drawn already.
        """
        return self._plan.steps(drawn)

    def epoch(self, epoch: int, start_step: int = 0, drawn: int = 0) -> Iterator[Batch]:
        """This rank's batches of an epoch.

        Args:
            epoch: number of the epoch.
            start_step: steps to skip. Only a stream reads their audio.
            drawn: utterances that another number of ranks has drawn before step 0; none of a
                stream.

        Raises:
            InputError: audio that can't be used; names the utterance and the file.
        """
        self._plan.prepare(epoch, drawn)
        batches = self._reader.batches(epoch, start_step, drawn)
        if self.is_stream:
            return islice(batches, start_step, self.steps_per_epoch)
        return batches

    def contents(self, epoch: int, start_step: int = 0, drawn: int = 0) -> Iterator[list[Draw]]:
        """What is in the batches of ``epoch``, before anything is read."""
        self._plan.prepare(epoch, drawn)
        return self._plan(epoch, start_step, drawn, 0, 1)

    def begin(self, epoch: int) -> None:
        """Let workers read the first batches of an epoch ahead of ``epoch``."""
        self._plan.prepare(epoch, drawn=0)
        self._reader.begin(epoch, 0, 0)

    def close(self) -> None:
        """End the reading processes."""
        self._reader.close()

    @property
    def num_workers(self) -> int:
        """Number of reading processes."""
        return self._reader.num_workers


class EpochPlan:
    """Contents of the batches of any epoch, as workers ask for them.

    Args:
        index: the training list.
        config: sampling and batch size.
        seed: seed of the order, of crops and of augmentation.
        rank: number of this process.
        world: number of processes.
    """

    def __init__(
        self, index: list[Utterance] | Stream, config: DataConfig, seed: int, rank: int, world: int
    ):
        self.index: PackedRows | Stream = index
        self._sampling: Sampling | None = None
        if not isinstance(index, Stream):
            self.index = PackedRows(index)
            self._sampling = prepare_sampling(index, config)
        self.config = config
        self.batch_size = config.process_batch(world)
        self.seed = seed
        self.rank = rank
        self.world = world
        # As long as any epoch's: it is filled up by less than a step of all ranks.
        longest = 0 if isinstance(index, Stream) else len(index) + world * self.batch_size
        self._rows = torch.empty(longest, dtype=torch.int64)

    def share(self) -> None:
        """Let workers see the rows of epochs that are prepared after they have begun.

        Raises:
            InputError: shared memory has no room for them.
        """
        share_state(self._rows)

    def steps(self, drawn: int) -> int:
        """Batches of each rank that an epoch has left; see ``TrainLoader.steps``."""
        return math.ceil((len(self.index) - drawn) / (self.batch_size * self.world))

    def prepare(self, epoch: int, drawn: int) -> None:
        """Draw the order of an epoch, once for all workers.

        Args:
            epoch: number of the epoch.
            drawn: utterances that another number of ranks has drawn before step 0.
        """
        if self._sampling is None:
            return
        # The first draws of an order don't depend on its length.
        total = drawn + self.steps(drawn) * self.world * self.batch_size
        order = order_of_epoch(self._sampling, self.config, self.seed, epoch, total)
        self._rows[:total] = torch.from_numpy(order)

    def __call__(
        self, epoch: int, start_step: int, drawn: int, worker: int, workers: int
    ) -> Iterator[list[Draw]]:
        """Contents of a worker's batches of the epoch that was prepared, from a step on."""
        size = self.batch_size
        if isinstance(self.index, Stream):
            seed = (self.seed, epoch)
            yield from self.index.training_batches(
                size, seed, self.rank, self.world, worker, workers
            )
            return
        for step in range(start_step + worker, self.steps(drawn), workers):
            # The ranks take turns, a batch each.
            place = self.rank
            if self.config.balance_classes and size == 1:
                # The classes take turns as well: a rank with one place would see one class alone.
                place = (self.rank + step) % self.world
            start = drawn + (step * self.world + place) * size
            rows = self._rows[start : start + size].tolist()
            draws = []
            for position, row in enumerate(rows, start):
                # NumPy seeds (seed, epoch) and (seed, epoch, 0) alike, and the order of the epoch
                # is drawn from the first: so the positions in seeds count from 1.
                seed = (self.seed, epoch, position + 1)
                draws.append((self.index[row], seed))
            yield draws


def training_rows(index: list[Utterance] | Stream, config: DataConfig) -> list[Utterance] | Stream:
    """Rows of a list that an epoch draws from: the list, or with ``crop: slices`` all slices.

    Raises:
        InputError: with ``crop: slices``, a stream, whose lengths are unknown, or utterances with
            segments or stems, which are not cut along.
    """
    if config.crop != "slices":
        return index
    if isinstance(index, Stream):
        raise InputError("crop is slices, expected a list with an index; a stream has none")
    count = round(config.crop_seconds * config.sample_rate)
    rows = []
    for row in index:
        if row.segments is not None or row.stems:
            raise InputError(
                f"{row.key}: crop is slices, expected utterances without segments and stems"
            )
        samples = row.samples_at(config.sample_rate)
        if not samples:
            raise InputError(f"{row.key}: crop is slices, expected a list with lengths")
        for number in range(num_slices(samples, count)):
            rows.append(replace(row, part=number))
    return rows


def _draws_of_rows(groups: list[Group], count: int) -> np.ndarray:
    """Mean number of draws of each utterance in an epoch.

    Args:
        groups: groups of all utterances.
        count: number of utterances, and of draws.
    """
    draws = np.zeros(count)
    for group in groups:
        draws[group.rows] = group.share * count / len(group.rows)
    return draws


def _log_corpora(rows: list[Utterance], groups: list[Group]) -> None:
    """Log of each corpus its utterances and its part of the draws."""
    counts: dict[str, Counter] = {}
    shares: Counter = Counter()
    for row, draw_count in zip(rows, _draws_of_rows(groups, len(rows))):
        counts.setdefault(row.corpus.name, Counter())[row.label] += 1
        shares[row.corpus.name] += draw_count / len(rows)
    for name in sorted(counts):
        logging.info(
            "corpus %s: %d bona fide, %d spoof, %.1f %% of the draws",
            name,
            counts[name][LABELS[BONAFIDE]],
            counts[name][LABELS[SPOOF]],
            100 * shares[name],
        )
