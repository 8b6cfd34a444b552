"""Tar shards: packing, and the index that makes any utterance of a shard one read away.

A shard is what webdataset writes and reads: ``<utt>.<ext>`` with the audio file's own bytes, and
beside it ``<utt>.lab``. Its index ``<shard>.index`` is JSON: the size of the tar in bytes, and a
row ``[utt, offset, size, samples, label]`` an utterance. The index is made when a shard is first
read without one, or with one that is older or of another tar.
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
from pathlib import Path
from typing import BinaryIO

import soundfile as sf

from wedefense_lite.audio.reading import file_bytes, open_audio
from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.files import InputError, atomic_path, read_json, write_lines, write_text
from wedefense_lite.labels import LABELS
from wedefense_lite.progress import progress

# Some extensions of audio files differ from libsndfile's names of the formats.
EXTENSIONS = {"aif", "aifc", "oga", "opus", "snd"}
EXTENSIONS |= {name.lower() for name in sf.available_formats()}


class _StrictInfo(tarfile.TarInfo):
    """Header of a member; a damaged one is an error, where ``tarfile`` ends in silence."""

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> tarfile.TarInfo:
        try:
            return super().fromtarfile(tar)
        except tarfile.HeaderError as error:
            ended = isinstance(error, tarfile.EOFHeaderError)
            if ended and not tar.fileobj.read(2**40).strip(b"\0"):  # only padding is left
                raise
            raise tarfile.ReadError(f"{error}, not the end-of-archive mark") from error


class _Members:
    """Members of one utterance, which follow each other in a shard.

    Args:
        shard: path or URL of the shard.
        key: id of the utterance.
    """

    def __init__(self, shard: str, key: str):
        self.shard = shard
        self.key = key
        self.label: str | None = None
        self.audio: list[Utterance] = []

    def add(self, tar: tarfile.TarFile, member: tarfile.TarInfo, extension: str) -> None:
        """Read a member; those that are neither audio nor a label are left out."""
        if extension == "lab":
            content = tar.extractfile(member).read()
            self.label = content.decode(errors="replace").strip()
        elif extension.lower() in EXTENSIONS:
            data = tar.extractfile(member).read()
            row = Utterance(self.key, self.shard, member.offset_data, member.size, data=data)
            self.audio.append(row)

    def utterances(self) -> list[Utterance]:
        """The utterance, or none where no member was audio or a label.

        Raises:
            InputError: not one audio file, or an unknown label.
        """
        if self.label not in (None, *LABELS):
            expected = " or ".join(LABELS)
            raise InputError(f"{self.shard}: {self.key}: label {self.label!r}, expected {expected}")
        count = len(self.audio)
        if count > 1 or (self.label and not self.audio):
            raise InputError(f"{self.shard}: {self.key}: {count} audio files, expected one")
        return [replace(row, label=self.label) for row in self.audio]


def read_tar(stream: BinaryIO, name: str) -> Iterator[Utterance]:
    """Utterances of a shard with the bytes of their audio files.

    As in webdataset, a key ends at the first dot of a member's name, and the members of an
    utterance follow each other. Members of other types are left out; nothing else is skipped.

    Args:
        stream: the archive, read once from its beginning to its end.
        name: path or URL of the shard, for the rows and for errors.

    Raises:
        InputError: the archive is damaged or ends before its end mark, an utterance has not one
            audio file, or a label is unknown.
    """
    try:
        with tarfile.open(fileobj=stream, mode="r|", tarinfo=_StrictInfo) as tar:
            members = _Members(name, "")
            for member in tar:
                if not member.isfile():
                    continue
                key, _, extension = Path(member.name).name.partition(".")
                if key != members.key:
                    yield from members.utterances()
                    members = _Members(name, key)
                members.add(tar, member, extension)
            yield from members.utterances()
    except (tarfile.TarError, OSError) as error:
        raise InputError(f"{name}: damaged or truncated shard: {error}") from error


def read_shard(path: str) -> list[Utterance]:
    """Rows of one shard in the order of its members, from its index, which is made if there is
    none.

    Raises:
        InputError: the shard is missing or damaged; names it.
    """
    try:
        tar = os.stat(path)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    index = Path(f"{path}.index")
    if index.is_file() and index.stat().st_mtime_ns >= tar.st_mtime_ns:
        indexed_size, cells = read_json(index)
        if indexed_size == tar.st_size:
            return [Utterance(key, path, *values) for key, *values in cells]
    rows = []
    with open(path, "rb") as stream:
        for row in read_tar(stream, path):
            with open_audio(row) as file:
                rows.append(replace(row, samples=file.frames, data=None))
    cells = [(row.key, row.offset, row.size, row.samples, row.label) for row in rows]
    try:
        write_text(index, json.dumps([tar.st_size, cells]))
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
    """Pack utterances into the shards of a ``ShardSet``.

    Args:
        rows: labelled utterances in the order of packing.
        folder: folder of the shards.
        shard_list: list of the shards, to write.
        prefix: beginning of the shards' names.
        num_utts_per_shard: utterances in a shard; the last one may hold fewer.
        num_threads: threads, each of which writes one shard at a time.
    """
    starts = range(0, len(rows), num_utts_per_shard)
    contents = [rows[start : start + num_utts_per_shard] for start in starts]
    shards = ShardSet(folder, shard_list, len(contents), prefix)
    with shards, ThreadPoolExecutor(num_threads) as pool:
        written = pool.map(_write_shard, shards.paths, contents)
        for _ in progress(written, len(contents), "packing", unit="shard"):
            pass  # the loop raises the first error of a thread


class ShardSet:
    """Shards ``folder/<prefix>_%09d.tar`` and their list, which replace earlier ones all at once.

    They are written in a hidden folder and moved when all are complete::

        shards = ShardSet(folder, shard_list, count)
        with shards:  # begins; commits at the end, or takes all back after an error
            for path in shards.paths:
                with shard_writer(path) as add: ...

    Of several processes, one alone enters the block; the others write to ``paths`` inside its time.

    Args:
        folder: folder of the shards.
        shard_list: list of the shards.
        count: number of shards.
        prefix: beginning of the shards' names.

    Attributes:
        paths: paths to write the shards to, in the hidden folder.
    """

    def __init__(self, folder: Path, shard_list: Path, count: int, prefix: str = "shards"):
        self.folder = folder
        self.shard_list = shard_list
        self.prefix = prefix
        self.hidden = folder / f".{prefix}.new"
        self.paths = [self.hidden / f"{prefix}_{number:09d}.tar" for number in range(count)]

    def begin(self) -> None:
        """Make the hidden folder, empty."""
        self.discard()
        self.hidden.mkdir(parents=True)

    def commit(self) -> None:
        """Replace the earlier shards of the prefix and their list.

        The earlier list goes first and the new one comes last, so that a list that exists is true.
        """
        self.shard_list.unlink(missing_ok=True)
        pattern = re.compile(rf"{re.escape(self.prefix)}_\d{{9}}\.tar(\.index)?")
        for earlier in self.folder.iterdir():
            if pattern.fullmatch(earlier.name):
                earlier.unlink()
        for file in self.hidden.iterdir():
            file.replace(self.folder / file.name)
        write_lines(self.shard_list, [str(self.folder / path.name) for path in self.paths])

    def discard(self) -> None:
        """Remove the hidden folder with all that is in it."""
        shutil.rmtree(self.hidden, ignore_errors=True)

    def __enter__(self) -> "ShardSet":
        self.begin()
        return self

    def __exit__(self, error_type, error, traceback) -> None:
        try:
            if error is None:
                self.commit()
        finally:
            self.discard()


def _write_shard(path: Path, rows: list[Utterance]) -> None:
    with shard_writer(path) as add:
        for row in rows:
            add(row)


@contextmanager
def shard_writer(path: Path) -> Iterator[Callable[[Utterance], None]]:
    """A function that adds an utterance to a new shard, which is complete when the block ends.

    The shard's bytes depend on its content only. It is read back for its index.
    """
    from webdataset import TarWriter  # brings torch along, which reading an index can do without

    options = {"encoder": False, "mtime": 0, "format": "PAX_FORMAT"}
    with atomic_path(path) as new, open(new, "wb") as stream, TarWriter(stream, **options) as tar:

        def add(row: Utterance) -> None:
            data = file_bytes(row)
            extension = Path(row.path).suffix[1:].lower()
            if extension not in EXTENSIONS:  # as of a command; the file itself says its format
                with open_audio(replace(row, data=data, samples=0)) as file:
                    extension = file.format.lower()
            members = {"__key__": row.key, extension: data}
            if row.label is not None:
                members["lab"] = row.label.encode()
            tar.write(members)

        yield add
    read_shard(str(path))
