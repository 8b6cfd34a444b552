"""Separate mixtures once: the streams of a list as a data directory, under ``torchrun`` or alone.

Shapes: T samples, K streams of a mixture, S stems (talkers) that they are compared with.
"""

from wedefense_lite import cli

import logging
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jsonargparse.typing import PositiveInt
from torch import Tensor

from wedefense_lite.audio import reading
from wedefense_lite.audio.data_dir import SHARD_LIST, check_data_dir, remove_tables, write_tables
from wedefense_lite.audio.index import read_index
from wedefense_lite.audio.reading import encode_flac
from wedefense_lite.audio.shards import ShardSet, shard_writer
from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.files import InputError, check_writable, write_lines
from wedefense_lite.mixtures.ids import talker_id
from wedefense_lite.mixtures.separation import lost_band, trained_separator
from wedefense_lite.mixtures.separation import separate as separate_audio
from wedefense_lite.mixtures.sisdr import assign_streams, pairwise_si_sdr
from wedefense_lite.mixtures.stems import with_talkers
from wedefense_lite.progress import progress
from wedefense_lite.runtime import barrier, end_process, gather_objects, start_process
from wedefense_lite.separators import ConvTasNet, Separator
from wedefense_lite.separators.sepformer import SepFormer
from wedefense_lite.systems.checkpoint import load
from wedefense_lite.weights import load_state

LIBRI2MIX = (
    "https://download.pytorch.org/torchaudio/models/conv_tasnet_base_libri2mix.pt, about 20 MB"
)
SEPARATION_TABLE = "separation.tsv"
PEAK = 0.9  # to which a mixture's streams are brought down, all by one factor, where one would clip


class SeparatedMixture(NamedTuple):
    """How the streams of a mixture compare with its stems.

    Attributes:
        mixture: id.
        stems: index of the stem that each stream is of, from 0.
        sisdr_KS: SI-SDR of each stream against each stem, dB.
        mixture_sisdr_S: SI-SDR of the mixture itself against each stem, dB.
    """

    mixture: str
    stems: list[int]
    sisdr_KS: list[list[float]]
    mixture_sisdr_S: list[float]


def separate(
    mixtures_dir: str,
    out_dir: str,
    config: str | None = None,
    model_path: str | None = None,
    libri2mix: str | None = None,
    sepformer: str | None = None,
    chunk_seconds: float = 30.0,
    overlap_seconds: float = 4.0,
    sample_rate: PositiveInt = 16000,
    mixtures_per_shard: PositiveInt = 100,
    stems: bool = True,
    gpus: str | None = None,
) -> None:
    """Write a data directory of streams MIXTURE-STREAM, numbered from 1, and separation.tsv.

    A stream has the label, speaker and attack of the talker that it is of by SI-SDR. separation.tsv
    has for each stream the number of its talker, its SI-SDR against each stem, and that of the
    mixture, in dB.

    Args:
        mixtures_dir: output of bin/simulate_mixtures.py, mixtures and stems/; or, with --stems
            false, any folder with shard.list.
        out_dir: data directory to write.
        config: exp/X/config.yaml of a trained separator.
        model_path: checkpoint of that separator.
        libri2mix: in place of these, weights of torchaudio's CONVTASNET_BASE_LIBRI2MIX, a local
            file; 8 kHz.
        sepformer: in place of these, a SepFormer of SpeechBrain, a local folder or a name on the
            hub.
        chunk_seconds: length of the chunks in which longer mixtures are separated.
        overlap_seconds: overlap of a chunk with the next one.
        sample_rate: sample rate of the streams in Hz, to which mixtures of another one are
            resampled.
        mixtures_per_shard: mixtures whose streams make a shard; processes take shards in turn.
        stems: false for mixtures without known stems: their streams have no labels and no SI-SDR.
        gpus: devices, as 0,1 or [0,1].

    Raises:
        InputError: not one separator, mixtures of another number of talkers than its streams,
            missing stems, audio of another sample rate, or an out_dir that holds the mixtures. What
            was in the folder stays.
    """
    _check_out_dir(mixtures_dir, out_dir)
    check_writable(Path(out_dir, SHARD_LIST), Path(out_dir, "shards", "shards.tar"))
    process = start_process(gpus)
    separator = _load_separator(config, model_path, libri2mix, sepformer)
    separator = separator.to(process.device).eval()
    lost_band(separator, sample_rate)
    stem_tables = check_data_dir(Path(mixtures_dir, "stems")) if stems else {}
    index = _read_mixtures(mixtures_dir, separator.num_talkers, stems)

    rows_by_shard = []
    for start in range(0, len(index), mixtures_per_shard):
        rows_by_shard.append(index[start : start + mixtures_per_shard])
    separate_wav = partial(
        separate_audio, separator, chunk_seconds=chunk_seconds, overlap_seconds=overlap_seconds
    )
    out = Path(out_dir)
    shards = ShardSet(out / "shards", out / SHARD_LIST, len(rows_by_shard))
    separated = []
    with ExitStack() as stack:
        # One process makes the hidden folder and shows it at the end; the others write into it.
        if process.is_main:
            stack.enter_context(shards)
        barrier(process)
        paths_and_rows = list(zip(shards.paths, rows_by_shard))
        own = paths_and_rows[process.rank :: process.world]
        for path, rows in progress(own, len(own), "separating", unit="shard"):
            separated.extend(_write_shard(path, rows, separate_wav, sample_rate))
        # All processes wait here for each other, before the shards are shown.
        all_separated = []
        for separated_by_process in gather_objects(process, separated):
            all_separated.extend(separated_by_process)
        # The list of the shards comes last, when the block ends.
        if process.is_main:
            shards.replace_earlier()
            # In the order of ids, whichever process separated which shard.
            all_separated.sort(key=lambda separated: separated.mixture)
            _write_or_remove_tables(out, all_separated, stem_tables)
    end_process()


def _check_out_dir(mixtures_dir: str, out_dir: str) -> None:
    for folder in (Path(mixtures_dir), Path(mixtures_dir, "stems")):
        if Path(out_dir).resolve() == folder.resolve():
            raise InputError(
                f"--out_dir {out_dir}: holds the mixtures or their stems, which stay as they are"
            )


def _read_mixtures(mixtures_dir: str, num_talkers: int, stems: bool) -> list[Utterance]:
    """The mixtures, with their stems, each of ``num_talkers``; or without stems."""
    index = read_index(str(Path(mixtures_dir, SHARD_LIST)), "shard")
    if not stems:
        return index
    stem_list = str(Path(mixtures_dir, "stems", SHARD_LIST))
    index = with_talkers(index, read_index(stem_list, "shard"), stem_list, audio=True)
    for row in index:
        if len(row.stems) != num_talkers:
            raise InputError(
                f"{mixtures_dir}: {row.key} has {len(row.stems)} talkers, "
                f"the separator makes {num_talkers} streams"
            )
    return index


def _load_separator(
    config: str | None, model_path: str | None, libri2mix: str | None, sepformer: str | None
) -> Separator:
    options = [option for option in (config, libri2mix, sepformer) if option is not None]
    if len(options) != 1 or bool(config) != bool(model_path):
        raise InputError(
            "one separator is needed: --config with --model_path, --libri2mix or --sepformer"
        )
    if sepformer:
        return SepFormer(sepformer)
    if libri2mix:
        if not Path(libri2mix).is_file():
            raise InputError(f"{libri2mix}: not there; {LIBRI2MIX}, has to be fetched first")
        # The options in which the published weights differ from the defaults.
        separator = ConvTasNet(sample_rate=8000, activation="relu")
        load_state(separator, load(libri2mix), libri2mix)
        return separator
    return trained_separator(config, model_path)


def _write_shard(
    path: Path,
    rows: list[Utterance],
    separate_wav: Callable[[np.ndarray, int], np.ndarray],
    sample_rate: int,
) -> list[SeparatedMixture]:
    """Separate the mixtures of a shard and write their streams as another."""
    separated = []
    with shard_writer(path) as add:
        for row in rows:
            wav_T = reading.read(row, sample_rate, floats=True)
            streams_KT = _to_int16(row.key, separate_wav(wav_T, sample_rate))
            # Compared as they are written, rounding included.
            labels = [None] * len(streams_KT)
            if row.stems:
                comparison = _compare_with_stems(row, torch.from_numpy(streams_KT), sample_rate)
                separated.append(comparison)
                labels = [row.stems[stem].label for stem in comparison.stems]
            for stream, (stream_T, label) in enumerate(zip(streams_KT, labels), 1):
                add(encode_flac(talker_id(row.key, stream), stream_T, sample_rate, label))
    return separated


def _to_int16(mixture: str, streams_KT: np.ndarray) -> np.ndarray:
    """Streams as 16-bit samples, softer where one would clip, all by one factor.

    Raises:
        InputError: samples that are not finite.
    """
    if not np.isfinite(streams_KT).all():
        raise InputError(f"{mixture}: the separator gives samples that are not finite")
    peak = np.abs(streams_KT).max()
    if peak > 1:
        streams_KT = streams_KT * (PEAK / peak)
    return np.rint(streams_KT * np.iinfo(np.int16).max).astype(np.int16)


def _compare_with_stems(row: Utterance, streams_KT: Tensor, sample_rate: int) -> SeparatedMixture:
    stems = [reading.read(stem, sample_rate) for stem in row.stems]
    stems_ST = torch.from_numpy(np.stack(stems))
    mixture_1T = torch.from_numpy(reading.read(row, sample_rate))[None]
    sisdr_KS = pairwise_si_sdr(streams_KT[None], stems_ST[None])[0]
    mixture_sisdr_S = pairwise_si_sdr(mixture_1T[None], stems_ST[None])[0, 0]
    stem_of_stream_K = assign_streams(sisdr_KS[None])[0]
    return SeparatedMixture(
        row.key, stem_of_stream_K.tolist(), sisdr_KS.tolist(), mixture_sisdr_S.tolist()
    )


def _write_or_remove_tables(
    out: Path, separated: list[SeparatedMixture], stem_tables: dict[str, dict[str, str]]
) -> None:
    """Write what is known of the streams; without stems, remove what is known of earlier ones."""
    if separated:
        _write_tables(out, separated, stem_tables)
        _write_sisdr(out, separated)
    else:
        remove_tables(out)
        (out / SEPARATION_TABLE).unlink(missing_ok=True)


def _write_tables(
    out: Path, separated: list[SeparatedMixture], stem_tables: dict[str, dict[str, str]]
) -> None:
    """Write the tables of the stems as those of the streams that are of them."""
    stem_of_stream = {}
    for mixture, stems, _, _ in separated:
        for stream, stem in enumerate(stems, 1):
            stem_of_stream[talker_id(mixture, stream)] = talker_id(mixture, stem + 1)
    tables = {}
    for name, stem_table in stem_tables.items():
        tables[name] = {stream: stem_table[stem] for stream, stem in stem_of_stream.items()}
    write_tables(out, tables)


def _write_sisdr(out: Path, separated: list[SeparatedMixture]) -> None:
    """Write ``separation.tsv``, a line a stream, and log the mean improvement of SI-SDR."""
    talkers = range(1, len(separated[0].stems) + 1)
    header = ["mixture", "stream", "source"]
    header += [f"sisdr_{talker}" for talker in talkers]
    header += [f"sisdr_mixture_{talker}" for talker in talkers]
    lines = ["\t".join(header)]
    improvements = []
    for mixture, stems, sisdr_KS, mixture_sisdr_S in separated:
        for stream, (stem, sisdr_S) in enumerate(zip(stems, sisdr_KS), 1):
            numbers = [f"{value:.4f}" for value in (*sisdr_S, *mixture_sisdr_S)]
            lines.append("\t".join([mixture, str(stream), str(stem + 1), *numbers]))
            improvements.append(sisdr_S[stem] - mixture_sisdr_S[stem])
    write_lines(out / SEPARATION_TABLE, lines)
    logging.info(
        "%s: %d mixtures, mean SI-SDR improvement %.2f dB",
        out,
        len(separated),
        np.mean(improvements),
    )


if __name__ == "__main__":
    cli.run(separate, builds_systems=True)
