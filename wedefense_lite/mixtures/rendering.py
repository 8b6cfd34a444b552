"""Mixtures as reading: a plan becomes shards of mixtures and of their talkers' reference stems."""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from itertools import chain
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from wedefense_lite.audio import reading
from wedefense_lite.audio.data_dir import SHARD_LIST, write_tables
from wedefense_lite.audio.reading import encode_flac
from wedefense_lite.audio.shards import ShardSet, shard_writer
from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.augment.base import add_noise
from wedefense_lite.augment.noise import reverberate
from wedefense_lite.files import NO_VALUE, InputError
from wedefense_lite.labels import LABELS, SPOOF
from wedefense_lite.mixtures.plan import Mixture, Talker, write_plan
from wedefense_lite.progress import progress

PEAK = 0.9  # of a mixture, against full scale
RIR_SECONDS = 2.0  # of a room response that are heard
FRAME_SECONDS, ACTIVE = 0.02, 1e-3  # a talker is active in frames within 30 dB of the loudest one
Files = dict[tuple[str, str], Utterance]  # by kind (source, rir, noise) and id


def needed_files(mixture: Mixture) -> Iterator[tuple[str, str]]:
    """Kind and id of all reading that a mixture is made of."""
    for talker in mixture.talkers:
        yield "source", talker.source
        if talker.rir:
            yield "rir", talker.rir
    if mixture.noise:
        yield "noise", mixture.noise


def render(
    plan: list[Mixture],
    files: Files,
    out_dir: Path,
    sample_rate: int,
    nj: int,
    per_shard: int = 100,
) -> None:
    """Write a plan's mixtures as a data directory of shards, and ``stems/``, one of their talkers.

    A stem ``<mixture>-<k>`` (k from 1) has the mixture's length and time. 16-bit samples of stems, and of the noise
    where there is some, add up to those of the mixture. The bytes depend on the plan and its reading only. The
    plan is written along, with the ``level_difference`` that was measured on the stems.

    Args:
        files: at least what the plan needs.
        sample_rate: the rate in Hz that all reading must have.
        nj: processes, each with one mixture in memory.

    Raises:
        InputError: reading that the plan needs is not in ``files``, has another label or can't be read. Everything
            that was in the folder stays.
    """
    for mixture in plan:
        for kind, name in needed_files(mixture):
            if (kind, name) not in files:
                raise InputError(
                    f"{mixture.mixture}: {kind} {name} is not in the data that is given"
                )
        for one in mixture.talkers:
            if one.label != (label := files["source", one.source].label):
                raise InputError(
                    f"{mixture.mixture}: {one.source} is {one.label}, but {label} in its data directory"
                )
    parts = [plan[start : start + per_shard] for start in range(0, len(plan), per_shard)]
    named = [
        {need: files[need] for mixture in part for need in needed_files(mixture)} for part in parts
    ]
    folders = out_dir, out_dir / "stems"
    with ExitStack() as stack:
        paths = [
            stack.enter_context(ShardSet(one / "shards", one / SHARD_LIST, len(parts))).paths
            for one in folders
        ]
        apply = (
            stack.enter_context(ProcessPoolExecutor(nj, get_context("spawn"))).map
            if nj > 1
            else map
        )
        made = apply(partial(_render_shard, sample_rate), parts, named, *paths)
        done = list(chain.from_iterable(progress(made, len(parts), "rendering", unit="shard")))
    _write_tables(out_dir, done)


def _render_shard(
    sample_rate: int, part: list[Mixture], files: Files, mixtures: Path, stems: Path
) -> list[Mixture]:
    """Write a shard of mixtures and that of their stems; the mixtures with what was measured on them."""
    done = []
    with shard_writer(mixtures) as add_mixture, shard_writer(stems) as add_stem:
        for mixture in part:
            wav_T, stems_KT = rendered(mixture, files, sample_rate)
            add_mixture(encode_flac(mixture.mixture, wav_T, sample_rate, mixture.any_spoof))
            for place, (talker, stem_T) in enumerate(zip(mixture.talkers, stems_KT), 1):
                add_stem(
                    encode_flac(f"{mixture.mixture}-{place}", stem_T, sample_rate, talker.label)
                )
            done.append(replace(mixture, level_difference=_level_difference(stems_KT, sample_rate)))
    return done


def rendered(mixture: Mixture, files: Files, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Samples of a mixture and of its stems.

    The peak of a mixture is 0.9 of full scale, or less where a stem would not fit otherwise.

    Returns:
        ``T`` and ``K x T``, int16.

    Raises:
        InputError: reading that can't be read or is of another rate; names it.
    """
    samples = round(mixture.seconds * sample_rate)
    parts = [_stem(talker, files, samples, sample_rate) for talker in mixture.talkers]
    if mixture.noise:
        first = round(mixture.noise_offset * sample_rate)
        noise = _samples(files["noise", mixture.noise], sample_rate, first + samples)[first:]
        talk = sum(parts)
        parts.append(add_noise(talk, np.resize(noise, samples), mixture.snr) - talk)
    parts_PT = np.stack(parts)
    peaks = np.abs(parts_PT.sum(axis=0)).max() / PEAK, np.abs(parts_PT).max()
    parts_PT = np.rint(parts_PT * (np.iinfo(np.int16).max / (max(peaks) or 1))).astype(np.int16)
    return parts_PT.sum(axis=0, dtype=np.int16), parts_PT[: len(mixture.talkers)]


def _stem(talker: Talker, files: Files, samples: int, sample_rate: int) -> np.ndarray:
    """A talker alone, ``samples`` long, before the mixture is normalised."""
    first = round(talker.offset * sample_rate)
    wav = _samples(files["source", talker.source], sample_rate, samples - first)
    if talker.rir:
        wav = reverberate(
            wav, _samples(files["rir", talker.rir], sample_rate, round(RIR_SECONDS * sample_rate))
        )
    if talker.level is not None:
        wav = wav * np.sqrt(10 ** (talker.level / 10) / (active_power(wav, sample_rate) or 1))
    stem = np.zeros(samples)
    stem[first : first + len(wav)] = talker.gain * wav
    return stem


def _samples(row: Utterance, sample_rate: int, count: int) -> np.ndarray:
    return reading.read(row, sample_rate, count, floats=True).astype(np.float64)


def active_power(wav: np.ndarray, sample_rate: int) -> float:
    """Mean square of ``T`` samples in the frames in which somebody talks; 0 of digital silence."""
    length = min(len(wav), round(FRAME_SECONDS * sample_rate))
    frames = wav[: len(wav) // length * length].reshape(-1, length)
    powers = np.mean(np.square(frames, dtype=np.float64), axis=1)
    return float(powers[powers >= ACTIVE * powers.max()].mean())


def _level_difference(stems_KT: np.ndarray, sample_rate: int) -> float | None:
    """Loudest minus softest talker while they talk, in dB; None where one is silent."""
    if not stems_KT.any(axis=1).all():
        return None
    powers = [active_power(np.trim_zeros(stem_T), sample_rate) for stem_T in stems_KT]
    return float(10 * np.log10(max(powers) / min(powers)))


def _write_tables(out_dir: Path, plan: list[Mixture]) -> None:
    """The tables of both data directories; those of the stems' speakers and attacks where all are known."""
    seconds = {mixture.mixture: f"{mixture.seconds:.4f}" for mixture in plan}
    write_tables(
        out_dir,
        {"utt2lab": {mixture.mixture: mixture.any_spoof for mixture in plan}, "utt2dur": seconds},
    )
    write_plan(out_dir / "plan.tsv", plan)
    talkers = {
        f"{mixture.mixture}-{place}": one
        for mixture in plan
        for place, one in enumerate(mixture.talkers, 1)
    }
    tables = {"utt2lab": {key: one.label for key, one in talkers.items()}}
    tables["utt2dur"] = {key: seconds[key.rpartition("-")[0]] for key in talkers}
    if all(one.speaker for one in talkers.values()):
        tables["utt2spk"] = {key: one.speaker for key, one in talkers.items()}
    if all(bool(one.attack) == (one.label == LABELS[SPOOF]) for one in talkers.values()):
        tables["utt2attack"] = {key: one.attack or NO_VALUE for key, one in talkers.items()}
    write_tables(out_dir / "stems", tables)
