"""Separate mixtures once: the talkers of a list as a data directory, under ``torchrun`` or alone."""

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

from wedefense_lite import cli
from wedefense_lite.audio import reading
from wedefense_lite.audio.data_dir import SHARD_LIST, check_data_dir, write_tables
from wedefense_lite.audio.index import read_index
from wedefense_lite.audio.reading import encode_flac
from wedefense_lite.audio.shards import ShardSet, shard_writer
from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.files import InputError, write_lines
from wedefense_lite.mixtures.separation import lost_band, trained_separator
from wedefense_lite.mixtures.separation import separate as separated
from wedefense_lite.mixtures.sisdr import best_sources, pairwise_si_sdr
from wedefense_lite.mixtures.stems import with_talkers
from wedefense_lite.progress import progress
from wedefense_lite.runtime import barrier, end_process, gather_objects, start_process
from wedefense_lite.separators import ConvTasNet, Separator
from wedefense_lite.separators.sepformer import SepFormer
from wedefense_lite.systems.checkpoint import load, load_state

LIBRI2MIX = (
    "https://download.pytorch.org/torchaudio/models/conv_tasnet_base_libri2mix.pt, about 20 MB"
)
PEAK = 0.9  # to which a mixture's streams are brought down, all by one factor, where one would clip


class Streams(NamedTuple):
    """What became of a mixture: the source of each stream, from 0, and SI-SDRs in dB against each source, of each
    stream and of the mixture itself."""

    mixture: str
    sources: list[int]
    sisdr: list[list[float]]
    sisdr_mixture: list[float]


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
    """Write a data directory of streams ``<mixture>-<stream>``, numbered from 1, in shards, and ``separation.tsv``.

    A stream has the label, speaker and attack of the talker whom SI-SDR says that it is of. ``separation.tsv`` has,
    for each stream, the number of its source, its SI-SDR against each stem, and that of the mixture, in dB.

    Args:
        mixtures_dir: what ``bin/simulate_mixtures.py`` wrote: mixtures, and ``stems/``; or any folder with shard.list.
        out_dir: data directory to write.
        config: exp/X/config.yaml of a trained separator.
        model_path: its checkpoint.
        libri2mix: in place of these, weights of torchaudio's CONVTASNET_BASE_LIBRI2MIX, a local file; 8 kHz.
        sepformer: in place of these, a SepFormer of SpeechBrain, a local folder or a name on the hub.
        chunk_seconds: longer mixtures are separated in chunks.
        overlap_seconds: of these.
        sample_rate: of the mixtures and of what is written, in Hz.
        mixtures_per_shard: mixtures whose streams make a shard; processes take shards in turn.
        stems: false for mixtures whose stems are not known: their streams have no labels, and no SI-SDR.
        gpus: devices, as ``0,1`` or ``[0,1]``.

    Raises:
        InputError: not one separator, mixtures of another number of talkers than it gives, stems that are missing,
            reading of another sample rate, or an ``out_dir`` that holds these. What was in the folder stays.
    """
    if Path(out_dir).resolve() in {
        Path(mixtures_dir).resolve(),
        Path(mixtures_dir, "stems").resolve(),
    }:
        raise InputError(
            f"--out_dir {out_dir}: holds the mixtures or their stems, which stay as they are"
        )
    process, out = start_process(gpus), Path(out_dir)
    separator = _separator(config, model_path, libri2mix, sepformer).to(process.device).eval()
    cut = partial(
        separated, separator, chunk_seconds=chunk_seconds, overlap_seconds=overlap_seconds
    )
    lost_band(separator, sample_rate)
    tables = check_data_dir(Path(mixtures_dir, "stems")) if stems else {}
    index = _mixtures(mixtures_dir, separator.talkers, stems)
    parts = [
        index[start : start + mixtures_per_shard]
        for start in range(0, len(index), mixtures_per_shard)
    ]
    shards = ShardSet(out / "shards", out / SHARD_LIST, len(parts))
    with ExitStack() as stack:
        if process.is_main:
            stack.enter_context(shards)
        barrier(process)
        own = list(zip(shards.paths, parts))[process.rank :: process.world]
        made = (_write_shard(path, part, cut, sample_rate) for path, part in own)
        found = [
            row for rows in progress(made, len(own), "separating", unit="shard") for row in rows
        ]
        found = [row for rows in gather_objects(process, found) for row in rows]
    if process.is_main and stems:
        _write_tables(out, found, tables)
    end_process()


def _mixtures(mixtures_dir: str, talkers: int, stems: bool) -> list[Utterance]:
    """The mixtures, with their stems all of so many talkers, or without."""
    listed = str(Path(mixtures_dir, "stems", SHARD_LIST))
    index = read_index(str(Path(mixtures_dir, SHARD_LIST)), "shard")
    if not stems:
        return index
    index = with_talkers(index, read_index(listed, "shard"), listed, audio=True)
    for row in index:
        if len(row.stems) != talkers:
            found = f"{row.key} has {len(row.stems)} talkers"
            raise InputError(f"{mixtures_dir}: {found}, the separator makes {talkers} streams")
    return index


def _separator(
    config: str | None, model_path: str | None, libri2mix: str | None, sepformer: str | None
) -> Separator:
    if sum(option is not None for option in (config, libri2mix, sepformer)) != 1 or bool(
        config
    ) != bool(model_path):
        raise InputError(
            "one separator is needed: --config with --model_path, --libri2mix or --sepformer"
        )
    if sepformer:
        return SepFormer(sepformer)
    if libri2mix:
        if not Path(libri2mix).is_file():
            raise InputError(f"{libri2mix}: not there; {LIBRI2MIX}, has to be fetched first")
        separator = ConvTasNet(sample_rate=8000, activation="relu")
        load_state(separator, load(libri2mix), libri2mix)
        return separator
    return trained_separator(config, model_path)


def _write_shard(
    path: Path, rows: list[Utterance], cut: Callable, sample_rate: int
) -> list[Streams]:
    """Separate the mixtures of a shard and write their streams as another."""
    done = []
    with shard_writer(path) as add:
        for row in rows:
            streams_KT = cut(reading.read(row, sample_rate, floats=True), sample_rate)
            if not np.isfinite(streams_KT).all():
                raise InputError(f"{row.key}: the separator gives samples that are not finite")
            streams_KT *= PEAK / peak if (peak := np.abs(streams_KT).max()) > 1 else 1
            samples_KT = np.rint(streams_KT * np.iinfo(np.int16).max).astype(np.int16)
            labels = [None] * len(samples_KT)
            if row.stems:
                done.append(_compared(row, torch.from_numpy(samples_KT), sample_rate))
                labels = [row.stems[source].label for source in done[-1].sources]
            for stream, (wav_T, label) in enumerate(zip(samples_KT, labels), 1):
                add(encode_flac(f"{row.key}-{stream}", wav_T, sample_rate, label))
    return done


def _compared(row: Utterance, streams_KT: Tensor, sample_rate: int) -> Streams:
    stems_KT = torch.from_numpy(np.stack([reading.read(stem, sample_rate) for stem in row.stems]))
    mixture_1T = torch.from_numpy(reading.read(row, sample_rate))[None]
    sisdr_KS = pairwise_si_sdr(streams_KT[None], stems_KT[None])[0]
    mixture_S = pairwise_si_sdr(mixture_1T[None], stems_KT[None])[0, 0]
    return Streams(
        row.key, best_sources(sisdr_KS[None])[0].tolist(), sisdr_KS.tolist(), mixture_S.tolist()
    )


def _write_tables(out: Path, found: list[Streams], stems: dict[str, dict[str, str]]) -> None:
    """The tables of a data directory, those of its stems by another name, and ``separation.tsv``."""
    sources = {
        f"{one.mixture}-{stream}": f"{one.mixture}-{source + 1}"
        for one in found
        for stream, source in enumerate(one.sources, 1)
    }
    tables = {
        name: {key: table[source] for key, source in sources.items()}
        for name, table in stems.items()
    }
    write_tables(out, tables)
    talkers = range(1, len(found[0].sources) + 1)
    header = (
        "mixture stream source".split()
        + [f"sisdr_{k}" for k in talkers]
        + [f"sisdr_mixture_{k}" for k in talkers]
    )
    lines, gains = ["\t".join(header)], []
    for one in sorted(found, key=lambda one: one.mixture):
        for stream, (source, sisdr_S) in enumerate(zip(one.sources, one.sisdr), 1):
            numbers = (f"{value:.4f}" for value in (*sisdr_S, *one.sisdr_mixture))
            lines.append("\t".join([one.mixture, str(stream), str(source + 1), *numbers]))
            gains.append(sisdr_S[source] - one.sisdr_mixture[source])
    write_lines(out / "separation.tsv", lines)
    logging.info(
        "%s: %d mixtures, mean SI-SDR improvement %.2f dB", out, len(found), np.mean(gains)
    )


if __name__ == "__main__":
    cli.run(separate)
