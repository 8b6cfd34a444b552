"""Utterances read for training and for scoring: crop, augmentation, pre-emphasis, length, batch.

Letters of shapes: B utterances of a batch, T samples, K talkers of a mixture.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from wedefense_lite.audio import reading
from wedefense_lite.audio.pre_emphasis import pre_emphasise
from wedefense_lite.audio.reading import AudioFile, as_float
from wedefense_lite.audio.stream import Draw
from wedefense_lite.audio.tracks import make_track
from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.files import InputError
from wedefense_lite.labels import NO_LABEL, label_id
from wedefense_lite.systems.batch import Batch
from wedefense_lite.systems.config import DataConfig


class Crop(NamedTuple):
    """A crop as it is read.

    Attributes:
        wav_T: int16 of 16-bit files, float32 of others.
        first: sample of the utterance that ``wav_T`` begins with.
        has_previous: whether that is the sample before the crop, which pre-emphasis needs.
    """

    wav_T: np.ndarray
    first: int
    has_previous: bool


class Signals(NamedTuple):
    """Signals of an utterance on one time axis, which are cropped and filled up together.

    Attributes:
        wav_T: waveform.
        track_T: class of each sample (``wedefense_lite.audio.tracks``); None without segments.
        stems: stem of each talker of a mixture, ``(T,)`` each; empty where no task takes them.
    """

    wav_T: Tensor
    track_T: Tensor | None
    stems: list[Tensor]

    def crop(self, first: int, count: int | None = None) -> "Signals":
        """``count`` samples from ``first`` on; all that follow without ``count``."""
        crop = slice(first, None if count is None else first + count)
        track_T = None if self.track_T is None else self.track_T[crop]
        return Signals(self.wav_T[crop], track_T, [stem_T[crop] for stem_T in self.stems])

    def repeat(self, count: int) -> "Signals":
        """The signals repeated until they are ``count`` samples long."""
        track_T = None if self.track_T is None else _repeat(self.track_T, count)
        stems = [_repeat(stem_T, count) for stem_T in self.stems]
        return Signals(_repeat(self.wav_T, count), track_T, stems)

    def pad(self, count: int) -> "Signals":
        """The signals with silence behind them, ``count`` samples long."""
        missing = (0, count - len(self.wav_T))
        track_T = None
        if self.track_T is not None:
            track_T = F.pad(self.track_T, missing, value=NO_LABEL)
        stems = [F.pad(stem_T, missing) for stem_T in self.stems]
        return Signals(F.pad(self.wav_T, missing), track_T, stems)


class Sample(NamedTuple):
    """An utterance as it goes into a batch.

    Attributes:
        signals: its signals.
        length: number of samples that are not zero padding.
    """

    signals: Signals
    length: int


def read_training_sample(
    utterance: Utterance, config: DataConfig, rng: np.random.Generator
) -> Sample:
    """A crop, augmented, of the length that the configuration asks for.

    Args:
        utterance: utterance to read.
        config: crop, augmentation and padding.
        rng: source of the crop and of all augmentation.

    Raises:
        InputError: audio that can't be used, or augmentation that changes the length of a mixture
            whose stems go with it.
    """
    count = round(config.crop_seconds * config.sample_rate)
    # Augmentation may shorten: it gets a longer crop, from which one of full length is cut.
    stretch = math.prod(augment.stretch for augment in config.augment)
    longer_count = math.ceil(count * stretch)
    if config.augment and config.augment_whole:
        longer_count = 0
    with reading.open_audio(utterance, config.sample_rate, config.channel) as file:
        if utterance.part is None:
            spare = reading.spare_samples(file, longer_count)
            offset = _crop_offset(spare, config, rng)
            crop = _decode_crop(file, longer_count, offset, config)
        else:
            crop = _decode_slice(file, count, utterance.part, config)
    # Not inside of the block, whose errors name the mixture: those of stems name the stem.
    stems = _read_stems(utterance, crop, config.sample_rate)
    wav_T = crop.wav_T
    track_T = _track_of_crop(utterance, crop, config.sample_rate)
    if config.augment:  # otherwise 16-bit samples stay as they are: half as many bytes to move
        wav_T = as_float(wav_T)
    for augment in config.augment:
        wav_T, track_T = augment.with_track(wav_T, track_T, rng)
    signals = _to_tensors(wav_T, track_T, stems)
    if config.pre_emphasis:
        signals = _pre_emphasise(signals, config.pre_emphasis, crop.has_previous)
    length = len(signals.wav_T)
    if stems and length != len(signals.stems[0]):
        raise InputError(
            f"{utterance.key}: augmentation changed its length, so its stems are no longer aligned"
        )
    if 0 < count < length:
        offset = _crop_offset(length - count, config, rng)
        signals = signals.crop(offset, count)
    return _fill_up(signals, count, config)


def _crop_offset(spare: int, config: DataConfig, rng: np.random.Generator) -> int:
    """Samples before a training crop, of those that it leaves out."""
    return reading.random_offset(spare, rng) if config.crop == "random" else 0


def read_scoring_sample(utterance: Utterance, config: DataConfig) -> Sample:
    """The whole utterance, or a crop of ``eval_seconds``; the same samples every time.

    Raises:
        InputError: audio that can't be used.
    """
    count = round(config.eval_seconds * config.sample_rate)
    with reading.open_audio(utterance, config.sample_rate, config.channel) as file:
        spare = reading.spare_samples(file, count)
        offset = spare // 2 if config.eval_crop == "centre" else 0
        if utterance.first is not None:
            offset = utterance.first
        crop = _decode_crop(file, count, offset, config)
    stems = _read_stems(utterance, crop, config.sample_rate)
    track_T = _track_of_crop(utterance, crop, config.sample_rate)
    signals = _to_tensors(crop.wav_T, track_T, stems)
    if config.pre_emphasis:
        signals = _pre_emphasise(signals, config.pre_emphasis, crop.has_previous)
    return _fill_up(signals, count, config)


def _decode_crop(file: AudioFile, count: int, offset: int, config: DataConfig) -> Crop:
    """The crop, with the sample before it where pre-emphasis needs one and there is one."""
    has_previous = config.pre_emphasis > 0 and offset > 0
    if has_previous:
        offset -= 1
        count += 1
    return Crop(reading.decode(file, count, offset), offset, has_previous)


def num_slices(samples: int, count: int) -> int:
    """Slices of an utterance, which overlap by half, after it was repeated up to whole ones.

    Source: feats_extraction/feat_slicing.py of
    https://github.com/lixucuhk/ASV-anti-spoofing-with-Res2Net, there of frames.

    Args:
        samples: length of the utterance.
        count: length of a slice.
    """
    return 2 * math.ceil(samples / count) - 1


def _decode_slice(file: AudioFile, count: int, number: int, config: DataConfig) -> Crop:
    """Slice of an utterance that is repeated up to a whole number of them."""
    offset = number * (count // 2)
    if offset + count <= file.samples:
        return _decode_crop(file, count, offset, config)
    wav_T = reading.decode(file)
    return Crop(np.resize(wav_T, offset + count)[offset:], offset, has_previous=False)


def _read_stems(mixture: Utterance, crop: Crop, sample_rate: int) -> list[np.ndarray]:
    """The same samples of each stem as of its mixture."""
    stems = []
    for stem in mixture.stems:
        if stem.path:
            stems.append(_read_stem(stem, crop, sample_rate))
    return stems


def _read_stem(stem: Utterance, crop: Crop, sample_rate: int) -> np.ndarray:
    count = len(crop.wav_T)
    end = crop.first + count
    with reading.open_audio(stem, sample_rate) as file:
        if file.samples < end:
            raise InputError(f"{file.samples} samples, its mixture has {end} or more")
        return reading.decode(file, count, crop.first)


def _track_of_crop(utterance: Utterance, crop: Crop, sample_rate: int) -> np.ndarray | None:
    if utterance.segments is None:
        return None
    return make_track(utterance.segments, crop.first, len(crop.wav_T), sample_rate)


def _to_tensors(wav_T: np.ndarray, track_T: np.ndarray | None, stems: list[np.ndarray]) -> Signals:
    track = None if track_T is None else torch.from_numpy(track_T)
    return Signals(torch.from_numpy(wav_T), track, [torch.from_numpy(stem_T) for stem_T in stems])


def _pre_emphasise(signals: Signals, coefficient: float, has_previous: bool) -> Signals:
    """Signals after pre-emphasis, without the sample before the crop, which has served its turn."""
    wav_T = pre_emphasise(as_float(signals.wav_T), coefficient)
    stems = [pre_emphasise(as_float(stem_T), coefficient) for stem_T in signals.stems]
    emphasised = Signals(wav_T, signals.track_T, stems)
    return emphasised.crop(1) if has_previous else emphasised


def _fill_up(signals: Signals, count: int, config: DataConfig) -> Sample:
    length = len(signals.wav_T)
    if length >= count:
        return Sample(signals, length)
    if config.pad == "repeat":
        return Sample(signals.repeat(count), count)
    return Sample(signals.pad(count), length)


def _repeat(signal_T: Tensor, count: int) -> Tensor:
    times = math.ceil(count / len(signal_T))
    return signal_T.repeat(times)[:count]


def read_training_batch(draws: list[Draw], config: DataConfig) -> Batch:
    """Training samples padded with zeros to the longest.

    Args:
        draws: utterances, each with its seed.
        config: as ``read_training_sample`` takes it.
    """
    rows = [utterance for utterance, _ in draws]
    # Seeded together: one by one, between files, it takes several times as long, as other code and
    # data have taken its place in the caches.
    rngs = [np.random.default_rng(seed) for _, seed in draws]
    samples = []
    for utterance, rng in zip(rows, rngs):
        samples.append(read_training_sample(utterance, config, rng))
    return _collate(rows, samples)


def read_scoring_batch(rows: list[Utterance], config: DataConfig) -> Batch:
    """Scoring samples padded with zeros to the longest."""
    samples = [read_scoring_sample(row, config) for row in rows]
    return _collate(rows, samples)


def _collate(rows: list[Utterance], samples: list[Sample]) -> Batch:
    wavs = [sample.signals.wav_T for sample in samples]
    if len({wav_T.dtype for wav_T in wavs}) > 1:  # 16-bit files among others
        wavs = [as_float(wav_T) for wav_T in wavs]
    wav_BT = _stack(wavs)
    lengths_B = torch.tensor([sample.length for sample in samples])
    labels_B = torch.tensor([_label(row) for row in rows])
    track_BT = None
    if rows[0].segments is not None:
        tracks = [sample.signals.track_T for sample in samples]
        track_BT = pad_sequence(tracks, batch_first=True, padding_value=NO_LABEL)
    talker_labels_BK = None
    if rows[0].stems:
        talker_labels = []
        for row in rows:
            talker_labels.append(torch.tensor([_label(stem) for stem in row.stems]))
        talker_labels_BK = pad_sequence(talker_labels, batch_first=True, padding_value=NO_LABEL)
    sources_B = None
    if rows[0].source is not None:
        sources_B = torch.tensor([row.source for row in rows])
    stems_BKT = _pad_stems([sample.signals.stems for sample in samples], wav_BT.shape[1])
    corpora_B = None
    if rows[0].corpus is not None:
        corpora_B = torch.tensor([row.corpus.number for row in rows])
    return Batch(
        [row.key for row in rows],
        wav_BT,
        lengths_B,
        labels_B,
        track_BT,
        talker_labels_BK,
        stems_BKT,
        corpora_B,
        sources_B,
    )


def _stack(wavs: list[Tensor]) -> Tensor:
    """``wav_BT``, shorter waveforms with zeros behind them."""
    if len({len(wav_T) for wav_T in wavs}) == 1:  # as crops are: nothing to fill with zeros first
        return torch.stack(wavs)
    return pad_sequence(wavs, batch_first=True)


def _label(utterance: Utterance) -> int:
    return NO_LABEL if utterance.label is None else label_id(utterance.label)


def _pad_stems(stems_of_mixtures: list[list[Tensor]], samples: int) -> Tensor | None:
    """``stems_BKT``, silent where a mixture lacks a talker; None where there are no stems."""
    most_talkers = max(len(stems) for stems in stems_of_mixtures)
    if not most_talkers:
        return None
    stems_BKT = torch.zeros(len(stems_of_mixtures), most_talkers, samples)
    for row, stems in enumerate(stems_of_mixtures):
        for talker, stem_T in enumerate(stems):
            stems_BKT[row, talker, : len(stem_T)] = as_float(stem_T)
    return stems_BKT
