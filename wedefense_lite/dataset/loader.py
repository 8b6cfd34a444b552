"""Batches for training and for scoring."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from wedefense_lite.dataset import audio
from wedefense_lite.dataset.audio import Utterance
from wedefense_lite.dataset.config import DataConfig
from wedefense_lite.dataset.order import epoch_order, steps_per_epoch
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


def training_sample(
    utterance: Utterance, config: DataConfig, rng: np.random.Generator, data: bytes | None = None
) -> tuple[np.ndarray, int]:
    """A random crop, augmented, filled up, and its valid length in samples; chance is all ``rng``."""
    count = round(config.crop_seconds * config.sample_rate)
    wav = audio.read(utterance, config.sample_rate, count, rng, integer=not config.augment, data=data)
    for augment in config.augment:
        wav = augment(wav, rng)
    return fit(wav, count, config.pad)


def scoring_sample(
    utterance: Utterance, config: DataConfig, data: bytes | None = None
) -> tuple[np.ndarray, int]:
    """The whole utterance or its first ``eval_seconds``, and its valid length in samples; no chance."""
    count = round(config.eval_seconds * config.sample_rate)
    wav = audio.read(utterance, config.sample_rate, count, integer=True, data=data)
    return fit(wav, count, config.pad)


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
    """Maps a planned batch to a :class:`Batch`, or to the error that a worker can't raise as it is."""

    def __init__(self, index: list[Utterance], config: DataConfig):
        self.index, self.config = index, config

    def __getitem__(self, planned) -> Batch | InputError:
        try:
            return self.read(*planned)
        except InputError as error:
            return error


class _TrainReader(_Reader):
    def read(self, seed: int, epoch: int, first: int, rows: np.ndarray) -> Batch:
        """``first`` is the batch's position in the epoch's order; each utterance has its own chance."""
        utterances = [self.index[row] for row in rows]
        # From 1: a seed that ends in 0 is the one without it, which the order has.
        samples = [
            training_sample(utterance, self.config, np.random.default_rng([seed, epoch, position]))
            for position, utterance in enumerate(utterances, first + 1)
        ]
        return collate(utterances, samples)


class _EvalReader(_Reader):
    def read(self, *rows: int) -> Batch:
        utterances = [self.index[row] for row in rows]
        return collate(utterances, [scoring_sample(utterance, self.config) for utterance in utterances])


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
            raise batch
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

    def __init__(
        self, index: list[Utterance], config: DataConfig, seed: int, rank: int = 0, world: int = 1
    ):
        self.index, self.config, self.seed, self.rank, self.world = index, config, seed, rank, world
        self.steps_per_epoch = steps_per_epoch(len(index), config.batch_size, world)
        counts = [sum(utterance.label == label for utterance in index) for label in LABELS]
        if None in {utterance.label for utterance in index}:
            raise InputError(f"{len(index) - sum(counts)} training utterances have no label")
        if config.balance_classes and not all(counts):
            raise InputError(f"balance_classes with {dict(zip(LABELS, counts))} utterances")
        self.class_prior = [0.5, 0.5] if config.balance_classes else [n / len(index) for n in counts]
        self._plan: list = []
        self._batches = _data_loader(_TrainReader(index, config), self._plan, config.num_workers)

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """This rank's batches of an epoch, from a step on; what was skipped is not read.

        Raises:
            InputError: audio that can't be used; names the utterance and the file.
        """
        size, steps = self.config.batch_size, self.steps_per_epoch
        order = epoch_order(
            self.index,
            steps * self.world * size,
            self.seed,
            epoch,
            self.config.shuffle_window,
            self.config.balance_classes,
        ).reshape(steps, self.world, size)
        self._plan[:] = [
            (self.seed, epoch, (step * self.world + self.rank) * size, order[step, self.rank])
            for step in range(start_step, steps)
        ]
        return _checked(iter(self._batches))


class EvalLoader:
    """Scoring batches: this rank's block of a list, each utterance once, whole, no augmentation.

    A batch holds utterances of one length only, so that no score depends on a neighbour's padding;
    therefore the order within a block may differ from the list's.

    Args:
        index: the list; all ranks together deliver it exactly once.
        rank: this process's number.
        world: the number of processes.

    Attributes:
        positions: rows of the list in the order of delivery.
    """

    def __init__(
        self,
        index: list[Utterance],
        config: DataConfig,
        rank: int = 0,
        world: int = 1,
        batch_size: int = 1,
        num_workers: int = 0,
    ):
        same_length: dict[int, list[int]] = {}
        for row in range(rank * len(index) // world, (rank + 1) * len(index) // world):
            same_length.setdefault(0 if config.eval_seconds else index[row].samples, []).append(row)
        plan = [
            rows[start : start + batch_size]
            for rows in same_length.values()
            for start in range(0, len(rows), batch_size)
        ]
        self.positions = [row for rows in plan for row in rows]
        self._batches = _data_loader(_EvalReader(index, config), plan, min(num_workers, len(plan)))

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Batch]:
        return _checked(iter(self._batches))
