"""Tar shards: packing, and the index that makes any utterance of a shard one read away.

A shard is what webdataset writes and reads: ``<utt>.<ext>`` with the audio file's own bytes, and
beside it ``<utt>.lab``. Its index ``<shard>.index`` is JSON: the size of the tar in bytes, and a row
``[utt, offset, size, samples, label]`` an utterance. A shard that comes without one, or with one that
is older or of another tar, gets it when first read.
"""

import json
import logging
import os
import re
import shutil
import tarfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

import soundfile as sf

from wedefense_lite.audio.reading import file_bytes, opened
from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.files import InputError, atomic_path, read_json, write_lines, write_text
from wedefense_lite.labels import LABELS
from wedefense_lite.progress import progress

EXTENSIONS = {name.lower() for name in sf.available_formats()} | {
    "aif",
    "aifc",
    "oga",
    "opus",
    "snd",
}


class _StrictInfo(tarfile.TarInfo):
    """A member's header. A damaged one is an error here, where :mod:`tarfile` ends in silence."""

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> tarfile.TarInfo:
        try:
            return super().fromtarfile(tar)
        except tarfile.HeaderError as error:
            ended = isinstance(error, tarfile.EOFHeaderError)
            if ended and not tar.fileobj.read(2**40).strip(b"\0"):  # only padding is left
                raise
            raise tarfile.ReadError(f"{error}, not the end-of-archive mark") from error


def read_tar(stream: BinaryIO, name: str) -> Iterator[Utterance]:
    """Utterances of a shard with their audio files' bytes. As in webdataset, a key ends at the first dot
    and the members of an utterance follow each other; those of other types are left out.

    Raises:
        InputError: the archive is damaged or ends before its end mark, an utterance has not one audio
            file, or a label is not known. Nothing is skipped.
    """
    try:
        with tarfile.open(fileobj=stream, mode="r|", tarinfo=_StrictInfo) as tar:
            files = (
                (*Path(member.name).name.partition("."), member)
                for member in tar
                if member.isfile()
            )
            for key, group in groupby(files, lambda file: file[0]):
                audio, label = [], None
                for _, _, extension, member in group:
                    if extension == "lab":
                        label = tar.extractfile(member).read().decode(errors="replace").strip()
                    elif extension.lower() in EXTENSIONS:
                        audio.append(
                            (member.offset_data, member.size, tar.extractfile(member).read())
                        )
                if label not in (None, *LABELS):
                    raise InputError(
                        f"{name}: {key}: label {label!r}, expected {' or '.join(LABELS)}"
                    )
                if len(audio) > 1 or label and not audio:
                    raise InputError(f"{name}: {key}: {len(audio)} audio files, expected one")
                for offset, size, data in audio:
                    yield Utterance(key, name, offset, size, label=label, data=data)
    except (tarfile.TarError, OSError) as error:
        raise InputError(f"{name}: damaged or truncated shard: {error}") from error


def read_shard(path: str) -> list[Utterance]:
    """Rows of one shard in the order of its members, from its index, which is made if there is none.

    Raises:
        InputError: the shard is missing or damaged; names it.
    """
    index, rows = Path(f"{path}.index"), []
    try:
        tar = os.stat(path)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    if index.is_file() and index.stat().st_mtime_ns >= tar.st_mtime_ns:
        size, known = read_json(index)
        if size == tar.st_size:
            return [Utterance(key, path, *row) for key, *row in known]
    with open(path, "rb") as stream:
        for row in read_tar(stream, path):
            with opened(row) as file:
                rows.append(replace(row, samples=file.frames, data=None))
    try:
        known = [(row.key, row.offset, row.size, row.samples, row.label) for row in rows]
        write_text(index, json.dumps([tar.st_size, known]))
    except OSError as error:
        logging.info("%s: index kept in memory: %s", path, error.strerror)
    return rows


def pack(
    rows: list[Utterance],
    folder: Path,
    shard_list: Path,
    prefix="shards",
    num_utts_per_shard=1000,
    num_threads=8,
) -> None:
    """Pack utterances into the shards of :func:`new_shards`.

    Args:
        rows: labelled utterances in the order of packing.
    """
    parts = [
        rows[start : start + num_utts_per_shard]
        for start in range(0, len(rows), num_utts_per_shard)
    ]
    with (
        new_shards(folder, shard_list, len(parts), prefix) as paths,
        ThreadPoolExecutor(num_threads) as pool,
    ):
        list(progress(pool.map(_write, paths, parts), len(parts), "packing", unit="shard"))


@contextmanager
def new_shards(folder: Path, shard_list: Path, count: int, prefix="shards") -> Iterator[list[Path]]:
    """Paths at which a block writes ``count`` shards, ``folder/<prefix>_%09d.tar`` once it ends; and their list.

    The paths are in a hidden folder. Then the earlier list goes, earlier shards of this prefix are
    replaced, and the new list comes last, so that a list that exists is true. After an error all
    that was there stays.
    """
    paths, new = hidden_shards(folder, count, prefix), folder / f".{prefix}.new"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        yield paths
        shard_list.unlink(missing_ok=True)
        for old in folder.iterdir():
            if re.fullmatch(rf"{re.escape(prefix)}_\d{{9}}\.tar(\.index)?", old.name):
                old.unlink()
        for file in new.iterdir():
            file.replace(folder / file.name)
    finally:
        shutil.rmtree(new)
    write_lines(shard_list, [str(folder / path.name) for path in paths])


def hidden_shards(folder: Path, count: int, prefix="shards") -> list[Path]:
    """The paths that :func:`new_shards` gives, for processes other than the one that is in its block."""
    return [folder / f".{prefix}.new" / f"{prefix}_{number:09d}.tar" for number in range(count)]


def _write(path: Path, rows: list[Utterance]) -> None:
    with shard_writer(path) as add:
        for row in rows:
            add(row)


@contextmanager
def shard_writer(path: Path) -> Iterator[Callable[[Utterance], None]]:
    """Write one shard, an utterance whenever the block adds one, then read it back for its index.

    Its bytes depend on its content only.
    """
    from webdataset import TarWriter  # brings torch along, which reading an index can do without

    options = {"encoder": False, "mtime": 0, "format": "PAX_FORMAT"}
    with atomic_path(path) as new, open(new, "wb") as stream, TarWriter(stream, **options) as tar:

        def add(row: Utterance) -> None:
            data, extension = file_bytes(row), Path(row.path).suffix[1:].lower()
            if extension not in EXTENSIONS:
                with opened(replace(row, data=data)) as file:
                    extension = file.format.lower()
            label = {} if row.label is None else {"lab": row.label.encode()}
            tar.write({"__key__": row.key, extension: data} | label)

        yield add
    read_shard(str(path))
