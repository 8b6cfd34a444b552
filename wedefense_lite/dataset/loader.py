"""Batches for training and for scoring."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info

from wedefense_lite.dataset import audio
from wedefense_lite.dataset.audio import Utterance
from wedefense_lite.dataset.config import DataConfig
from wedefense_lite.dataset.order import epoch_order, steps_per_epoch
from wedefense_lite.dataset.stream import Stream
from wedefense_lite.files import InputError
from wedefense_lite.labels import LABELS, label_id

FULL_SCALE = 32768


@dataclass
class Batch:
    """Utterances put together.

    Attributes:
        keys: their ids, ``B``.
        wav_BT: waveforms, float32 in [-1, 1], or int16 until :meth:`to` has moved them.
        lengths_B: samples of each row that are not zero padding, int64.
        labels_B: class ids, int64, -1 where unknown.
    """

    keys: list[str]
    wav_BT: Tensor
    lengths_B: Tensor
    labels_B: Tensor

    def pin_memory(self) -> "Batch":
        """The batch in page-locked memory, from which copies to a GPU need not be waited for."""
        return Batch(self.keys, *(tensor.pin_memory() for tensor in self._tensors()))

    def to(self, device: torch.device | str) -> "Batch":
        """The batch on a device, its waveforms float32 in [-1, 1]."""
        wav, lengths, labels = (tensor.to(device, non_blocking=True) for tensor in self._tensors())
        if not wav.is_floating_point():
            wav = wav.float() / FULL_SCALE
        return Batch(self.keys, wav, lengths, labels)

    def _tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.wav_BT, self.lengths_B, self.labels_B


def fit(wav: np.ndarray, count: int, pad: str) -> tuple[np.ndarray, int]:
    """``wav`` filled up to ``count`` samples by ``repeat`` or ``zero``, and its valid length."""
    if len(wav) >= count:
        return wav, len(wav)
    if pad == "repeat":
        return np.resize(wav, count), count
    return np.pad(wav, (0, count - len(wav))), len(wav)


def training_sample(utterance: Utterance, config: DataConfig, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """A random crop, augmented, filled up, and its valid length in samples; chance is all ``rng``."""
    count = round(config.crop_seconds * config.sample_rate)
    wav = audio.read(utterance, config.sample_rate, count, rng, integer=not config.augment)
    for augment in config.augment:
        wav = augment(wav, rng)
    return fit(wav, count, config.pad)


def scoring_sample(utterance: Utterance, config: DataConfig) -> tuple[np.ndarray, int]:
    """The whole utterance or its first ``eval_seconds``, and its valid length in samples; no chance."""
    count = round(config.eval_seconds * config.sample_rate)
    return fit(audio.read(utterance, config.sample_rate, count, integer=True), count, config.pad)


def collate(utterances: list[Utterance], samples: list[tuple[np.ndarray, int]]) -> Batch:
    """Put samples ``(wav, valid length)`` into a batch, padded with zeros to the longest."""
    wavs, lengths = zip(*samples)
    same = len({wav.dtype for wav in wavs}) == 1
    wav_BT = np.zeros((len(wavs), max(map(len, wavs))), wavs[0].dtype if same else np.float32)
    for row, wav in zip(wav_BT, wavs):
        row[: len(wav)] = wav if wav.dtype == row.dtype else wav / np.float32(FULL_SCALE)
    return Batch(
        [utterance.key for utterance in utterances],
        torch.from_numpy(wav_BT),
        torch.tensor(lengths),
        torch.tensor([-1 if u.label is None else label_id(u.label) for u in utterances]),
    )


class _Reader(Dataset):
    """Maps a planned batch to a :class:`Batch`, or to the error that a worker can't raise as it is.

    A plan is the rows of the index, and to train ``(seed, epoch, position of the first in the epoch)``.
    """

    def __init__(self, index: list[Utterance], config: DataConfig):
        self.index, self.config = index, config

    def __getitem__(self, plan: tuple[Sequence[int], tuple | None]) -> Batch | InputError:
        rows, chance = plan
        utterances = [self.index[row] for row in rows]
        try:
            if chance is None:
                return collate(utterances, [scoring_sample(row, self.config) for row in utterances])
            *seed, first = chance
            # From 1: a seed that ends in 0 is the one without it, which the order has.
            rngs = [np.random.default_rng([*seed, first + n]) for n in range(1, len(rows) + 1)]
            samples = [training_sample(row, self.config, rng) for row, rng in zip(utterances, rngs)]
            return collate(utterances, samples)
        except InputError as error:
            return error


class _StreamReader(IterableDataset):
    """Batches of one rank's and worker's part of a stream; with ``seed`` endless, to train on."""

    def __init__(self, stream: Stream, config: DataConfig, rank: int, world: int, seed=None):
        self.stream, self.config, self.rank, self.world, self.seed = stream, config, rank, world, seed

    def __iter__(self) -> Iterator[Batch | InputError]:
        worker = get_worker_info()
        workers, number = (worker.num_workers, worker.id) if worker else (1, 0)
        part, parts = self.rank * workers + number, self.world * workers
        try:
            if self.seed is None:
                for row in self.stream.once(part, parts):
                    yield collate([row], [scoring_sample(row, self.config)])
            else:
                draws = self.stream.endless(part, parts, self.seed)
                while drawn := list(islice(draws, self.config.batch_size)):
                    samples = [training_sample(row, self.config, rng) for row, rng in drawn]
                    yield collate([row for row, _ in drawn], samples)
        except InputError as error:
            yield error


def _one_thread(_worker: int) -> None:
    torch.set_num_threads(1)


def _data_loader(dataset: Dataset, plan: list | None, num_workers: int) -> DataLoader:
    return DataLoader(
        dataset,
        sampler=plan,
        batch_size=None,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        worker_init_fn=_one_thread,
        pin_memory=torch.cuda.is_available(),
        # Its own, so that making an iterator draws nothing from the global one, which resume restores.
        generator=torch.Generator(),
    )


def _checked(batches: Iterator[Batch | InputError]) -> Iterator[Batch]:
    for batch in batches:
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
        steps_per_epoch: batches in an epoch, at least one.
        class_prior: ``[p_spoof, p_bonafide]`` of what sampling delivers.

    Raises:
        InputError: an utterance without label, or ``balance_classes`` with one class only.
    """

    def __init__(self, index: list[Utterance], config: DataConfig, seed: int, rank=0, world=1):
        self.index, self.config, self.seed, self.rank, self.world = index, config, seed, rank, world
        self.steps_per_epoch = steps_per_epoch(len(index), config.batch_size, world)
        counts = [sum(utterance.label == label for utterance in index) for label in LABELS]
        if None in {utterance.label for utterance in index}:
            raise InputError(f"{len(index) - sum(counts)} training utterances have no label")
        if isinstance(index, Stream) and (config.balance_classes or config.shuffle_window):
            raise InputError("balance_classes and shuffle_window need an index; a stream has none")
        if config.balance_classes and not all(counts):
            raise InputError(f"balance_classes with {dict(zip(LABELS, counts))} utterances")
        self.class_prior = [0.5, 0.5] if config.balance_classes else [n / len(index) for n in counts]
        self._plan: list = []
        self._batches = _data_loader(_Reader(index, config), self._plan, config.num_workers)

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """This rank's batches of an epoch, from a step on. Only a stream reads what is skipped.

        Raises:
            InputError: audio that can't be used; names the utterance and the file.
        """
        size, steps = self.config.batch_size, self.steps_per_epoch
        if isinstance(self.index, Stream):
            reader = _StreamReader(self.index, self.config, self.rank, self.world, (self.seed, epoch))
            batches = _data_loader(reader, None, self.config.num_workers)
            return _checked(islice(batches, start_step, steps))
        order = epoch_order(self.index, self.config, self.seed, epoch, total=steps * self.world * size)
        starts = range((start_step * self.world + self.rank) * size, len(order), self.world * size)
        self._plan[:] = [(order[first : first + size], (self.seed, epoch, first)) for first in starts]
        return _checked(iter(self._batches))


class EvalLoader:
    """Scoring batches: this rank's block of a list, each utterance once, whole, no augmentation.

    A batch holds utterances of one length only, so that no score depends on a neighbour's padding;
    therefore the order within a block may differ from the list's.

    Args:
        index: the list; all ranks together deliver it exactly once.
        rank: this process's number.
        world: the number of processes.
        batch_size: utterances in a batch, at most.
        num_workers: processes that read ahead.

    Attributes:
        positions: rows of the list in the order of delivery; of a stream, those delivered so far.
    """

    def __init__(self, index: list[Utterance], config: DataConfig, rank=0, world=1, batch_size=1, num_workers=0):
        self.index, self.world, self.positions = index, world, []
        if isinstance(index, Stream):
            self._batches = _data_loader(_StreamReader(index, config, rank, world), None, num_workers)
            return
        same_length: dict[int, list[int]] = {}
        for row in range(rank * len(index) // world, (rank + 1) * len(index) // world):
            same_length.setdefault(0 if config.eval_seconds else index[row].samples, []).append(row)
        size = batch_size
        groups = same_length.values()
        plan = [(rows[n : n + size], None) for rows in groups for n in range(0, len(rows), size)]
        self.positions = [row for rows, _ in plan for row in rows]
        self._batches = _data_loader(_Reader(index, config), plan, min(num_workers, len(plan)))

    def __len__(self) -> int:
        """Batches of this rank; of a stream, what an even split would give."""
        even = -(-len(self.index) // self.world)
        return even if isinstance(self.index, Stream) else len(self._batches)

    def __iter__(self) -> Iterator[Batch]:
        batches = _checked(iter(self._batches))
        return self._located(batches) if isinstance(self.index, Stream) else batches

    def _located(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        rows = {utterance.key: row for row, utterance in enumerate(self.index)}
        self.positions = []
        for batch in batches:
            self.positions += [rows[key] for key in batch.keys]
            yield batch
        if self.world == 1:
            self.index.check_complete({self.index[row].key for row in self.positions})
