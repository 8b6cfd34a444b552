"""Tar shards: packing, and the index that makes any utterance of a shard one read away.

A shard is what webdataset writes and reads: ``<utt>.<ext>`` with the audio file's own bytes, and
``<utt>.lab``. Its index stands beside it as ``<shard>.idx``: a line ``bytes N`` with the size of the
tar, then ``utt offset size samples label`` a line, ``-`` for an unknown label. A shard that comes
without one, or with one that is older or of another tar, gets it when first read.
"""

import logging
import os
import random
import re
import shutil
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import soundfile as sf

from wedefense_lite import cli
from wedefense_lite.dataset.audio import Header, Held, Utterance, opened, run_command
from wedefense_lite.files import InputError, read_text, write_lines
from wedefense_lite.labels import LABELS

EXTENSIONS = {name.lower() for name in sf.available_formats()} | {"aif", "aifc", "oga", "opus", "snd"}


class _StrictInfo(tarfile.TarInfo):
    """A member's header. A damaged one is an error here, where :mod:`tarfile` ends in silence."""

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> tarfile.TarInfo:
        try:
            return super().fromtarfile(tar)
        except tarfile.EOFHeaderError:
            while block := tar.fileobj.read(tarfile.RECORDSIZE):
                if block.strip(b"\0"):
                    raise tarfile.ReadError("zeros where a member should be") from None
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"{error}, not the end-of-archive mark") from error


def read_tar(stream: BinaryIO, name: str) -> Iterator[tuple[str, str, int, bytes]]:
    """Members of a tar as ``(key, extension, offset, bytes)``; a key ends at the first dot.

    Raises:
        InputError: the archive is damaged or ends before its end mark. Nothing is skipped.
    """
    try:
        with tarfile.open(fileobj=stream, mode="r|", tarinfo=_StrictInfo) as tar:
            for member in tar:
                if member.isfile():
                    key, _, extension = member.name.rpartition("/")[2].partition(".")
                    yield key, extension.lower(), member.offset_data, tar.extractfile(member).read()
    except (tarfile.TarError, OSError) as error:
        raise InputError(f"{name}: damaged or truncated shard: {error}") from error


def _scan(path: str) -> list[Utterance]:
    """The index of a shard, from its members' headers."""
    audio: dict[str, Utterance] = {}
    labels: dict[str, str] = {}
    with open(path, "rb") as stream:
        for key, extension, offset, data in read_tar(stream, path):
            kept = {"lab": labels}.get(extension, audio if extension in EXTENSIONS else None)
            if kept is None:
                continue
            if key in kept or not key or re.search(r"\s", key):
                raise InputError(f"{path}: second or malformed member {key!r}.{extension}")
            if kept is labels:
                labels[key] = parse_label(data, f"{path}: {key}")
            else:
                with opened(Held(key, path, offset, len(data), 0, None, data)) as file:
                    audio[key] = Utterance(key, path, offset, len(data), file.frames, None)
    silent = labels.keys() - audio.keys()
    if silent or not audio:
        raise InputError(f"{path}: no audio for {', '.join(sorted(silent)) or 'any utterance'}")
    return [replace(row, label=labels.get(key)) for key, row in audio.items()]


def parse_label(data: bytes, where: str) -> str:
    """The label in a ``.lab`` member, checked."""
    label = data.decode("utf-8", errors="replace").strip()
    if label not in LABELS:
        raise InputError(f"{where}: label {label!r}, expected {' or '.join(LABELS)}")
    return label


def read_shard(path: str) -> list[Utterance]:
    """Rows of one shard in the order of its members, from its index, which is made if there is none.

    Raises:
        InputError: the shard is missing or damaged; names it.
    """
    index = Path(f"{path}.idx")
    try:
        tar = os.stat(path)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    if index.is_file() and index.stat().st_mtime_ns >= tar.st_mtime_ns:
        lines = read_text(index).splitlines()
        if lines[:1] == [f"bytes {tar.st_size}"]:
            named = {"-": None} | {label: label for label in LABELS}
            return [
                Utterance(key, path, int(offset), int(size), int(samples), named[label])
                for key, offset, size, samples, label in map(str.split, lines[1:])
            ]
    rows = _scan(path)
    lines = (f"{row.key} {row.offset} {row.size} {row.samples} {row.label or '-'}" for row in rows)
    try:
        write_lines(index, [f"bytes {tar.st_size}", *lines])
    except OSError as error:
        logging.info("%s: index kept in memory: %s", path, error.strerror)
    return rows


def read_shard_list(shard_list: str) -> list[str]:
    """Paths or URLs, one a line."""
    paths = [line.strip() for line in read_text(shard_list).splitlines() if line.strip()]
    if not paths:
        raise InputError(f"{shard_list}: empty list")
    return paths


def read_shards(shard_list: str, num_threads: int = 8) -> list[Utterance]:
    """Rows of all shards that ``shard_list`` names."""
    with ThreadPoolExecutor(num_threads) as pool:
        return [row for rows in pool.map(read_shard, read_shard_list(shard_list)) for row in rows]


def pack(
    wavs: dict[str, str],
    labels: dict[str, str],
    headers: dict[str, Header],
    folder: Path,
    shard_list: Path,
    prefix: str = "shards",
    num_utts_per_shard: int = 1000,
    num_threads: int = 8,
    shuffle_seed: int | None = None,
) -> list[str]:
    """Pack utterances into ``folder/<prefix>_%09d.tar`` and write their list.

    All is written into a hidden folder first. Then the earlier list goes, earlier shards of this
    prefix are replaced, and the new list comes last, so that a list that exists is true.

    Args:
        wavs: utterance to path or ``command |``, in the order of packing.
        shuffle_seed: permute the utterances first.

    Returns:
        the paths of the shards.
    """
    keys = list(wavs)
    if shuffle_seed is not None:
        random.Random(shuffle_seed).shuffle(keys)
    starts = range(0, len(keys), num_utts_per_shard)
    parts = [keys[start : start + num_utts_per_shard] for start in starts]
    names = [f"{prefix}_{number:09d}.tar" for number in range(len(parts))]
    new = folder / f".{prefix}.new"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        with ThreadPoolExecutor(num_threads) as pool:
            made = pool.map(lambda *shard: _write(new, *shard, wavs, labels, headers), names, parts)
            list(cli.progress(made, len(parts), "packing", unit="shard"))
        shard_list.unlink(missing_ok=True)
        for old in folder.iterdir():
            if re.fullmatch(rf"{re.escape(prefix)}_\d{{9}}\.tar(\.idx)?", old.name):
                old.unlink()
        for file in sorted(new.iterdir()):
            file.replace(folder / file.name)
    finally:
        shutil.rmtree(new)
    paths = [str(folder / name) for name in names]
    write_lines(shard_list, paths)
    return paths


def _write(folder: Path, name: str, keys: list[str], wavs: dict, labels: dict, headers: dict) -> None:
    """Write one shard, then read it back for its index. Its bytes depend on its content only."""
    from webdataset import TarWriter  # brings torch along, which reading an index can do without

    path, options = folder / name, {"encoder": False, "mtime": 0, "format": "PAX_FORMAT"}
    with open(path, "wb") as stream, TarWriter(stream, **options) as tar:
        for key in keys:
            wav, extension = wavs[key], Path(wavs[key]).suffix[1:].lower()
            if extension not in EXTENSIONS:
                extension = headers[key].format.lower()
            data = run_command(wav) if wav.endswith("|") else Path(wav).read_bytes()
            tar.write({"__key__": key, extension: data, "lab": labels[key].encode()})
    with open(path, "rb") as written:
        os.fsync(written.fileno())
    read_shard(str(path))
