"""Rendering: a plan becomes shards of mixtures and of their talkers' reference stems.

Shapes: T samples, K talkers of a mixture, S signals that add up to it: its talkers, and its noise
if there is any.
"""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
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
from wedefense_lite.mixtures.ids import talker_id
from wedefense_lite.mixtures.plan import Mixture, Talker, write_plan
from wedefense_lite.progress import progress

PEAK = 0.9  # of a mixture, against full scale
RIR_SECONDS = 2.0  # length to which room responses are cut
FRAME_SECONDS = 0.02
ACTIVE_SHARE = 1e-3  # a talker is active in frames within 30 dB of the loudest one
FULL_SCALE = np.iinfo(np.int16).max
Files = dict[tuple[str, str], Utterance]  # by kind (source, rir, noise) and id


def needed_files(mixture: Mixture) -> Iterator[tuple[str, str]]:
    """Kind and id of each file that a mixture is made of."""
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
    plan_path: Path | None = None,
) -> None:
    """Write a plan's mixtures as a data directory of shards, and their talkers as ``stems/``.

    A stem ``<mixture>-<k>`` (k from 1) has the mixture's length and time. 16-bit samples of stems,
    and of the noise if there is any, add up to those of the mixture. The bytes depend on nothing
    but the plan and its audio. The plan is written along, with the measured ``level_difference``.

    Args:
        plan: mixtures.
        files: at least what the plan needs.
        out_dir: data directory to write.
        sample_rate: rate of the mixtures in Hz, at which all audio is read.
        nj: processes, each with one mixture in memory.
        per_shard: mixtures of a shard.
        plan_path: another file to write the plan to, as it was drawn.

    Raises:
        InputError: audio that the plan needs is not in ``files``, has another label or can't be
            read. Everything that was in the folder stays.
    """
    for mixture in plan:
        _check_files(mixture, files)
    shards = [plan[start : start + per_shard] for start in range(0, len(plan), per_shard)]
    # Each process gets the files of its shard alone: all of a large corpus would cost more to send.
    shard_files = []
    for mixtures in shards:
        needed = {}
        for mixture in mixtures:
            for kind_and_id in needed_files(mixture):
                needed[kind_and_id] = files[kind_and_id]
        shard_files.append(needed)

    rendered = []
    with ExitStack() as stack:
        mixture_set = _begin_shards(stack, out_dir, len(shards))
        stem_set = _begin_shards(stack, out_dir / "stems", len(shards))
        map_shards = map
        if nj > 1:
            # Not forked: a fork copies locks of libraries' threads as they are, held perhaps.
            pool = ProcessPoolExecutor(nj, get_context("spawn"))
            map_shards = stack.enter_context(pool).map
        results = map_shards(
            partial(_render_shard, sample_rate),
            shards,
            shard_files,
            mixture_set.paths,
            stem_set.paths,
        )
        for mixtures in progress(results, len(shards), "rendering", unit="shard"):
            rendered.extend(mixtures)
        # The lists come last, when the block ends: a list that exists is that of all the others.
        mixture_set.replace_earlier()
        stem_set.replace_earlier()
        _write_tables(out_dir, rendered)
        if plan_path is not None:
            write_plan(plan_path, plan)


def _check_files(mixture: Mixture, files: Files) -> None:
    for kind, name in needed_files(mixture):
        if (kind, name) not in files:
            raise InputError(f"{mixture.mixture}: {kind} {name} is not in the data that is given")
    for talker in mixture.talkers:
        label = files["source", talker.source].label
        if talker.label != label:
            raise InputError(
                f"{mixture.mixture}: {talker.source} is {talker.label}, "
                f"but {label} in its data directory"
            )


def _begin_shards(stack: ExitStack, folder: Path, count: int) -> ShardSet:
    """New shards, which take the place of old ones when the stack closes without error."""
    shards = ShardSet(folder / "shards", folder / SHARD_LIST, count)
    return stack.enter_context(shards)


def _render_shard(
    sample_rate: int,
    mixtures: list[Mixture],
    files: Files,
    mixture_path: Path,
    stem_path: Path,
) -> list[Mixture]:
    """Write a shard of mixtures and one of their stems.

    Returns:
        The mixtures, with the level difference that was measured on their stems.
    """
    rendered = []
    with shard_writer(mixture_path) as add_mixture, shard_writer(stem_path) as add_stem:
        for mixture in mixtures:
            wav_T, stems_KT = render_mixture(mixture, files, sample_rate)
            label = mixture.utterance_label
            add_mixture(encode_flac(mixture.mixture, wav_T, sample_rate, label))
            for number, (talker, stem_T) in enumerate(zip(mixture.talkers, stems_KT), 1):
                key = talker_id(mixture.mixture, number)
                add_stem(encode_flac(key, stem_T, sample_rate, talker.label))
            difference = _level_difference(stems_KT, sample_rate)
            rendered.append(replace(mixture, level_difference=difference))
    return rendered


def render_mixture(
    mixture: Mixture, files: Files, sample_rate: int
) -> tuple[np.ndarray, np.ndarray]:
    """Samples of a mixture and of its stems.

    The peak of a mixture is 0.9 of full scale, or less where a stem would not fit otherwise.

    Returns:
        ``T`` and ``K x T``, int16.

    Raises:
        InputError: audio that can't be read; names it.
    """
    samples = round(mixture.seconds * sample_rate)
    signals = [_stem(talker, files, samples, sample_rate) for talker in mixture.talkers]
    if mixture.noise:
        first = round(mixture.noise_offset * sample_rate)
        noise = files["noise", mixture.noise]
        noise_T = _read_float(noise, sample_rate, first + samples)[first:]
        if not len(noise_T):
            raise InputError(
                f"{mixture.mixture}: its noise begins at {mixture.noise_offset:g} s, after the end "
                f"of {noise.path}"
            )
        speech_T = sum(signals)
        noisy_T = add_noise(speech_T, np.resize(noise_T, samples), mixture.snr)
        signals.append(noisy_T - speech_T)
    signals_ST = np.stack(signals)
    mixture_peak = np.abs(signals_ST.sum(axis=0)).max() / PEAK
    signal_peak = np.abs(signals_ST).max()
    scale = FULL_SCALE / (max(mixture_peak, signal_peak) or 1)
    # Signals are rounded and then added, so that stems and noise add up to the mixture exactly.
    signals_ST = np.rint(signals_ST * scale).astype(np.int16)
    return signals_ST.sum(axis=0, dtype=np.int16), signals_ST[: len(mixture.talkers)]


def _stem(talker: Talker, files: Files, samples: int, sample_rate: int) -> np.ndarray:
    """A talker alone, ``samples`` long, before the mixture is normalised."""
    first = round(talker.offset * sample_rate)
    wav_T = _read_float(files["source", talker.source], sample_rate, samples - first)
    if talker.rir:
        count = round(RIR_SECONDS * sample_rate)
        rir = _read_float(files["rir", talker.rir], sample_rate, count, channel=1)
        wav_T = reverberate(wav_T, rir)
    if talker.level is not None:
        power = 10 ** (talker.level / 10)
        wav_T = wav_T * np.sqrt(power / (active_power(wav_T, sample_rate) or 1))
    stem_T = np.zeros(samples)
    stem_T[first : first + len(wav_T)] = talker.gain * wav_T
    return stem_T


def _read_float(row: Utterance, sample_rate: int, count: int, channel: int = 0) -> np.ndarray:
    """Up to ``count`` samples from the first one, float64 in [-1, 1]."""
    return reading.read(row, sample_rate, count, floats=True, channel=channel).astype(np.float64)


def active_power(wav_T: np.ndarray, sample_rate: int) -> float:
    """Mean square of samples in the frames in which somebody talks; 0 of digital silence.

    Pauses are left out, or a talker with longer pauses would be made louder.
    """
    length = min(len(wav_T), round(FRAME_SECONDS * sample_rate))
    count = len(wav_T) // length
    frames = wav_T[: count * length].reshape(count, length)
    powers = np.mean(np.square(frames, dtype=np.float64), axis=1)
    is_active = powers >= ACTIVE_SHARE * powers.max()
    return float(powers[is_active].mean())


def _level_difference(stems_KT: np.ndarray, sample_rate: int) -> float | None:
    """Loudest minus softest talker while they talk, in dB; None where one is silent."""
    if not stems_KT.any(axis=1).all():
        return None
    powers = [active_power(np.trim_zeros(stem_T), sample_rate) for stem_T in stems_KT]
    return float(10 * np.log10(max(powers) / min(powers)))


def _write_tables(out_dir: Path, plan: list[Mixture]) -> None:
    """Write the tables of both data directories, and the plan.

    Stems get tables of speakers and attacks where these are known for all of them.
    """
    mixture_labels = {}
    mixture_seconds = {}
    labels = {}
    seconds = {}
    speakers = {}
    attacks = {}
    all_attacks_known = True
    for mixture in plan:
        mixture_labels[mixture.mixture] = mixture.utterance_label
        mixture_seconds[mixture.mixture] = f"{mixture.seconds:.4f}"
        for number, talker in enumerate(mixture.talkers, 1):
            key = talker_id(mixture.mixture, number)
            labels[key] = talker.label
            seconds[key] = f"{mixture.seconds:.4f}"
            speakers[key] = talker.speaker
            attacks[key] = talker.attack or NO_VALUE
            # A spoof has an attack, a bona fide utterance has none.
            if bool(talker.attack) != (talker.label == LABELS[SPOOF]):
                all_attacks_known = False

    write_tables(out_dir, {"utt2lab": mixture_labels, "utt2dur": mixture_seconds})
    write_plan(out_dir / "plan.tsv", plan)
    stem_tables = {"utt2lab": labels, "utt2dur": seconds}
    if all(speakers.values()):
        stem_tables["utt2spk"] = speakers
    if all_attacks_known:
        stem_tables["utt2attack"] = attacks
    write_tables(out_dir / "stems", stem_tables)
