"""Batches for training and for scoring."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from wedefense_lite.audio import reading
from wedefense_lite.audio.stream import Seed
from wedefense_lite.audio.tracks import track_of
from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.files import InputError
from wedefense_lite.labels import NO_LABEL, label_id
from wedefense_lite.systems.batch import Batch, as_float
from wedefense_lite.systems.config import DataConfig

CROPS = {"first": reading.at_first, "centre": lambda spare: spare // 2}


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
        InputError: reading that can't be used, or augmentation that changes the length of a mixture whose stems
            are to go with it.
    """
    train = seed is not None
    count = round((config.crop_seconds if train else config.eval_seconds) * config.sample_rate)
    rng = np.random.default_rng(seed) if train else None
    augments = config.augment if train else []
    # Augmentation that shortens gets more, so that what comes out is a crop of the length asked for.
    needed = math.ceil(count * math.prod(augment.stretch for augment in augments))
    start = reading.drawn(rng) if train else CROPS[config.eval_crop]
    wav, first = reading.read_part(
        utterance, config.sample_rate, needed, start, before=config.pre_emphasis > 0
    )
    before = int(0 < needed < len(wav))
    track = track_of(utterance.segments, first, len(wav), config.sample_rate)
    stems = [
        _stem(stem, config.sample_rate, len(wav), first) for stem in utterance.talkers if stem.path
    ]
    if augments or config.pre_emphasis:
        wav = as_float(torch.from_numpy(wav)).numpy()
        for augment in augments:
            wav, track = augment.with_track(wav, track, rng)
        if config.pre_emphasis:
            wav, *stems = (_emphasised(one, config.pre_emphasis) for one in (wav, *stems))
            wav, track, *stems = (one[before:] for one in (wav, track, *stems))
        if stems and len(wav) != len(stems[0]):
            raise InputError(
                f"{utterance.key}: augmentation changed its length, so its stems are no longer aligned"
            )
        if 0 < count < len(wav):
            first = int(rng.integers(len(wav) - count + 1))
            wav, track, *stems = (one[first : first + count] for one in (wav, track, *stems))
    length = len(wav)
    if length < count and config.pad == "repeat":
        wav, track, *stems = (np.resize(one, count) for one in (wav, track, *stems))
        length = count
    missing = (0, max(count - length, 0))
    track = np.pad(track, missing, constant_values=NO_LABEL)
    wav, *stems = (torch.from_numpy(np.pad(one, missing)) for one in (wav, *stems))
    return Sample(wav, torch.from_numpy(track), stems, length)


def _emphasised(wav: np.ndarray, factor: float) -> np.ndarray:
    """Float32 samples less a part of the one before each."""
    wav = as_float(torch.from_numpy(wav)).numpy()
    return np.append(wav[:1], wav[1:] - np.float32(factor) * wav[:-1])


def _stem(stem: Utterance, sample_rate: int, count: int, first: int) -> np.ndarray:
    wav, start = reading.read_part(stem, sample_rate, count, lambda spare: first)
    if start != first or len(wav) < count:
        found = f"{start + len(wav)} samples, its mixture has {first + count} or more"
        raise InputError(f"{stem.key}: {stem.path}: {found}")
    return wav


def read_batch(drawn: list[tuple[Utterance, Seed]], config: DataConfig) -> Batch:
    """Utterances read and padded with zeros to the longest."""
    wavs, tracks, stems, lengths = zip(
        *(read_sample(utterance, config, seed) for utterance, seed in drawn)
    )
    if len({wav.dtype for wav in wavs}) > 1:
        wavs = [as_float(wav) for wav in wavs]
    rows = [utterance for utterance, _ in drawn]
    labels, track, talkers = torch.tensor([_label(row) for row in rows]), None, None
    if rows[0].segments:
        track = pad_sequence(tracks, batch_first=True, padding_value=NO_LABEL)
    if rows[0].talkers:
        talkers = [torch.tensor([_label(talker) for talker in row.talkers]) for row in rows]
        talkers = pad_sequence(talkers, batch_first=True, padding_value=NO_LABEL)
    wav = pad_sequence(wavs, batch_first=True)
    return Batch(
        [row.key for row in rows],
        wav,
        torch.tensor(lengths),
        labels,
        track,
        talkers,
        _padded(stems, *wav.shape),
    )


def _label(utterance: Utterance) -> int:
    return NO_LABEL if utterance.label is None else label_id(utterance.label)


def _padded(stems: Sequence[list[Tensor]], rows: int, samples: int) -> Tensor | None:
    """Stems of mixtures as ``stems_BKT``, silence for talkers that a mixture lacks; None where there are none."""
    most = max(map(len, stems))
    padded = torch.zeros(rows, most, samples)
    for row, talkers in enumerate(stems):
        for number, stem in enumerate(talkers):
            padded[row, number, : len(stem)] = as_float(stem)
    return padded if most else None
