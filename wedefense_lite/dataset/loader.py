"""Batches for training and for scoring."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from wedefense_lite.dataset import audio
from wedefense_lite.dataset.audio import Utterance
from wedefense_lite.dataset.config import DataConfig
from wedefense_lite.dataset.order import epoch_order
from wedefense_lite.dataset.stream import Seed, Stream
from wedefense_lite.dataset.tracks import NOTHING, track_of
from wedefense_lite.files import InputError
from wedefense_lite.labels import LABELS, SPOOF, label_id

CROPS = {"first": audio.at_first, "centre": lambda spare: spare // 2}


class Batch(NamedTuple):
    """Utterances put together.

    Attributes:
        keys: their ids, ``B``.
        wav_BT: waveforms, float32 in [-1, 1], or int16 until :meth:`to` has moved them.
        lengths_B: samples of each row that are not zero padding, int64.
        labels_B: class ids, int64, -1 where unknown.
        track_BT: class of each sample (:mod:`wedefense_lite.dataset.tracks`), where segments are known.
        talkers_BK: of mixtures, class of each talker, -1 where there is none, where they are known.
        stems_BKT: of mixtures, what each talker says, float32 in [-1, 1], where it is asked for.
    """

    keys: list[str]
    wav_BT: Tensor
    lengths_B: Tensor
    labels_B: Tensor
    track_BT: Tensor | None = None
    talkers_BK: Tensor | None = None
    stems_BKT: Tensor | None = None

    def to(self, device: torch.device | str) -> "Batch":
        """The batch on a device, its waveforms float32 in [-1, 1]."""
        moved = [tensor if tensor is None else tensor.to(device, non_blocking=True) for tensor in self[1:]]
        return Batch(self.keys, as_float(moved[0]), *moved[1:])

    def each(self) -> Iterator["Batch"]:
        """Its utterances, each as a batch."""
        for row, key in enumerate(self.keys):
            yield Batch([key], *(tensor if tensor is None else tensor[row : row + 1] for tensor in self[1:]))


def as_float(wav: Tensor) -> Tensor:
    """Samples as float32 in [-1, 1], which they may be already, of 16-bit integers."""
    return wav if wav.is_floating_point() else wav.float() / 32768


class Sample(NamedTuple):
    """An utterance as it goes into a batch: :class:`Batch` without its first dimension, and the valid length."""

    wav: Tensor
    track: Tensor
    stems: list[Tensor]
    length: int


def read_sample(utterance: Utterance, config: DataConfig, seed: Seed) -> Sample:
    """To train, a random crop, augmented; to score, the whole utterance or ``eval_seconds`` of it, the same ones every
    time. Filled up to the length that the configuration asks for.

    Raises:
        InputError: audio that can't be used, or augmentation that changes the length of a mixture whose stems
            are to go with it.
    """
    train = seed is not None
    count = round((config.crop_seconds if train else config.eval_seconds) * config.sample_rate)
    rng = np.random.default_rng(seed) if train else None
    augments = config.augment if train else []
    # Augmentation that shortens gets more, so that what comes out is a crop of the length asked for.
    needed = math.ceil(count * math.prod(augment.stretch for augment in augments))
    start = audio.drawn(rng) if train else CROPS[config.eval_crop]
    wav, first = audio.read_part(utterance, config.sample_rate, needed, start, before=config.pre_emphasis > 0)
    before = int(0 < needed < len(wav))
    track = track_of(utterance.segments, first, len(wav), config.sample_rate)
    stems = [_stem(stem, config.sample_rate, len(wav), first) for stem in utterance.talkers if stem.path]
    if augments or config.pre_emphasis:
        wav = as_float(torch.from_numpy(wav)).numpy()
        for augment in augments:
            wav, track = augment.with_track(wav, track, rng)
        if config.pre_emphasis:
            wav, *stems = (_emphasised(one, config.pre_emphasis) for one in (wav, *stems))
            wav, track, *stems = (one[before:] for one in (wav, track, *stems))
        if stems and len(wav) != len(stems[0]):
            raise InputError(f"{utterance.key}: augmentation changed its length, so its stems are no longer aligned")
        if 0 < count < len(wav):
            first = int(rng.integers(len(wav) - count + 1))
            wav, track, *stems = (one[first : first + count] for one in (wav, track, *stems))
    length = len(wav)
    if length < count and config.pad == "repeat":
        wav, track, *stems = (np.resize(one, count) for one in (wav, track, *stems))
        length = count
    missing = (0, max(count - length, 0))
    track = np.pad(track, missing, constant_values=NOTHING)
    wav, *stems = (torch.from_numpy(np.pad(one, missing)) for one in (wav, *stems))
    return Sample(wav, torch.from_numpy(track), stems, length)


def _emphasised(wav: np.ndarray, factor: float) -> np.ndarray:
    """Float32 samples less a part of the one before each."""
    wav = as_float(torch.from_numpy(wav)).numpy()
    return np.append(wav[:1], wav[1:] - np.float32(factor) * wav[:-1])


def _stem(stem: Utterance, sample_rate: int, count: int, first: int) -> np.ndarray:
    wav, start = audio.read_part(stem, sample_rate, count, lambda spare: first)
    if start != first or len(wav) < count:
        found = f"{start + len(wav)} samples, its mixture has {first + count} or more"
        raise InputError(f"{stem.key}: {stem.path}: {found}")
    return wav


def read_batch(drawn: list[tuple[Utterance, Seed]], config: DataConfig) -> Batch:
    """Utterances read and padded with zeros to the longest."""
    wavs, tracks, stems, lengths = zip(*(read_sample(utterance, config, seed) for utterance, seed in drawn))
    if len({wav.dtype for wav in wavs}) > 1:
        wavs = [as_float(wav) for wav in wavs]
    rows = [utterance for utterance, _ in drawn]
    labels, track, talkers = torch.tensor([_label(row) for row in rows]), None, None
    if rows[0].segments:
        track = pad_sequence(tracks, batch_first=True, padding_value=NOTHING)
    if rows[0].talkers:
        talkers = [torch.tensor([_label(talker) for talker in row.talkers]) for row in rows]
        talkers = pad_sequence(talkers, batch_first=True, padding_value=NOTHING)
    wav = pad_sequence(wavs, batch_first=True)
    return Batch(
        [row.key for row in rows], wav, torch.tensor(lengths), labels, track, talkers, _padded(stems, *wav.shape)
    )


def _label(utterance: Utterance) -> int:
    return NOTHING if utterance.label is None else label_id(utterance.label)


def _padded(stems: Sequence[list[Tensor]], rows: int, samples: int) -> Tensor | None:
    """Stems of mixtures as ``stems_BKT``, silence for talkers that a mixture lacks; None where there are none."""
    most = max(map(len, stems))
    padded = torch.zeros(rows, most, samples)
    for row, talkers in enumerate(stems):
        for number, stem in enumerate(talkers):
            padded[row, number, : len(stem)] = as_float(stem)
    return padded if most else None


class _Reader(IterableDataset):
    """Batches in the order of a plan, or the error that a worker can't raise as it is.

    A plan is called with the worker's number and the number of workers, which read in turn.
    """

    def __init__(self, plan: Callable[[int, int], Iterable[list[tuple[Utterance, Seed]]]], config: DataConfig):
        self.plan, self.config = plan, config

    def __iter__(self) -> Iterator[Batch | InputError]:
        worker = get_worker_info()
        try:
            for drawn in self.plan(worker.id, worker.num_workers) if worker else self.plan(0, 1):
                yield read_batch(drawn, self.config)
        except InputError as error:
            yield error


def _in_turn(batches: list, worker: int, workers: int) -> list:
    return batches[worker::workers]


def _batches(plan: Callable, config: DataConfig, num_workers: int) -> Iterator[Batch]:
    reader, pin = _Reader(plan, config), torch.cuda.is_available()
    own = torch.Generator()  # so that making an iterator draws nothing from the global one, which resume restores
    loader = DataLoader(reader, batch_size=None, num_workers=num_workers, pin_memory=pin, generator=own)
    for batch in loader:
        if isinstance(batch, InputError):
            # Raising it as it is would tie this frame, and so the workers, into a cycle: a slow end.
            raise InputError(*batch.args)
        yield batch


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
        self.class_prior = [0.5, 0.5] if config.balance_classes else [n / len(index) for n in counts]
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
            weights.append(self._drawn(row, counts) * (1.0 if self.config.crop_seconds else row.samples))
        share = float(np.average(spoofed, weights=weights))
        if not 0 < share < 1:
            raise InputError(f"the segments of the training set are all {LABELS[share < 0.5]}")
        return [share, 1 - share]

    def _prior_of_talkers(self, counts: dict[str, int]) -> list[float]:
        """Shares of the classes among the talkers of the mixtures that sampling delivers."""
        spoofed = [np.mean([talker.label == LABELS[SPOOF] for talker in row.talkers]) for row in self.index]
        weights = [self._drawn(row, counts) * len(row.talkers) for row in self.index]
        share = float(np.average(spoofed, weights=weights))
        return [share, 1 - share]

    def _drawn(self, row: Utterance, counts: dict[str, int]) -> float:
        """How often sampling draws an utterance, on some scale."""
        return 1 / counts[row.label] if self.config.balance_classes else 1.0

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """This rank's batches of an epoch, from a step on. Only a stream reads what is skipped.

        Raises:
            InputError: audio that can't be used; names the utterance and the file.
        """
        size, steps, workers = self.config.batch_size, self.steps_per_epoch, self.config.num_workers
        if isinstance(self.index, Stream):
            plan = partial(self.index.batches, size, (self.seed, epoch), self.rank, self.world)
            return islice(_batches(plan, self.config, workers), start_step, steps)
        order = epoch_order(self.index, self.config, self.seed, epoch, total=steps * self.world * size)
        starts = range((start_step * self.world + self.rank) * size, len(order), self.world * size)
        # Places count from 1: a seed that ends in 0 is the one without it, which the order has.
        batches = [enumerate(order[first : first + size], first + 1) for first in starts]
        draws = [[(self.index[row], (self.seed, epoch, place)) for place, row in batch] for batch in batches]
        return _batches(partial(_in_turn, draws), self.config, workers)


class EvalLoader:
    """Scoring batches: this rank's block of a list, each utterance once, whole, no augmentation.

    A batch holds utterances of one length only, so that no score depends on a neighbour's padding;
    therefore the order within a block may differ from the list's. A stream's utterances come one by one,
    and which of them this rank gets depends on the shards.

    Args:
        index: the list; all ranks together deliver it exactly once.
        rank: this process's number.
        world: the number of processes.
        batch_size: utterances in a batch, at most; by default one, or, where ``eval_seconds`` makes all of one length,
            those of a training batch.
        num_workers: processes that read ahead.

    Attributes:
        positions: rows of this rank's block; of a stream, as many as an even split would give.
    """

    def __init__(self, index: list[Utterance], config: DataConfig, rank=0, world=1, batch_size=None, num_workers=0):
        size = batch_size or (config.batch_size if config.eval_seconds else 1)
        self.positions = range(rank * len(index) // world, (rank + 1) * len(index) // world)
        self.config, self.num_workers = config, num_workers
        if isinstance(index, Stream):
            self._plan, self._length = partial(index.batches, 1, None, rank, world), len(self.positions)
            return
        groups: dict[int, list[tuple[Utterance, Seed]]] = {}
        for row in self.positions:
            groups.setdefault(0 if config.eval_seconds else index[row].samples, []).append((index[row], None))
        batches = [group[n : n + size] for group in groups.values() for n in range(0, len(group), size)]
        self._plan, self._length = partial(_in_turn, batches), len(batches)

    def __len__(self) -> int:
        """Batches of this rank; of a stream, what an even split would give."""
        return self._length

    def __iter__(self) -> Iterator[Batch]:
        return _batches(self._plan, self.config, self.num_workers)
