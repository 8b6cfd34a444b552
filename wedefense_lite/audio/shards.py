"""Tar shards: packing, and the index that makes any utterance of a shard one read away.

A shard is what webdataset writes and reads: ``<utt>.<ext>`` with the audio file's own bytes, and
beside it ``<utt>.lab``. Its index ``<shard>.index`` is JSON: the hash of all headers and labels of
the tar, the hash of that and of the rows, and a row an utterance: ``[utt, offset, size, samples,
label, rate, format]``, as ``Utterance`` has them. The index is made when a shard is first read
without one, or with one that is damaged, of an earlier version or of another tar, whatever the
dates of the files are.
"""

import hashlib
import json
import logging
import os
import re
import shutil
import tarfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, NamedTuple

import soundfile as sf

from wedefense_lite.audio.containers import check_length
from wedefense_lite.audio.decoders import (
    FFMPEG_EXTENSIONS,
    HEADERLESS_FORMATS,
    UNKNOWN_LENGTH,
    open_as_listed,
)
from wedefense_lite.audio.reading import (
    HIGHEST_RATE,
    check_regular_file,
    file_bytes,
    headerless_format,
    is_command,
    open_audio,
)
from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.files import (
    InputError,
    abbreviate,
    atomic_path,
    folder_lock,
    read_json,
    read_text,
    refuse_input,
    write_lines,
    write_text,
)
from wedefense_lite.labels import LABELS
from wedefense_lite.progress import progress

# Some extensions of audio files differ from libsndfile's names of the formats.
EXTENSIONS = {"aif", "aifc", "oga", "opus", "snd"}
EXTENSIONS |= {name.lower() for name in sf.available_formats()}
EXTENSIONS |= FFMPEG_EXTENSIONS
# Of members that go with an utterance, or lie in a shard on their own, and are no audio.
OTHER_EXTENSIONS = {"cls", "csv", "json", "md", "npy", "npz", "pyd", "tsv", "txt", "yaml", "yml"}
MAX_PADDING = 2**26  # bytes of zeros behind the end mark of a tar
PADDING_CHUNK = 2**20
TAR_BLOCK = 512  # bytes, of which every header and the padding of every member are multiples
TAR_OWNER = "bigdata"
WRITE_BYTES = 2**20
TAR_SIZE = slice(124, 136)  # of a member, in its header
TAR_TYPE = slice(156, 157)
# Members that carry names and sizes of those behind them: of pax (x, g) and of GNU (L, K).
TAR_NAMES = (b"x", b"g", b"L", b"K")


class _StrictInfo(tarfile.TarInfo):
    """Header of a member; a damaged one is an error, where ``tarfile`` ends in silence."""

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> tarfile.TarInfo:
        try:
            return super().fromtarfile(tar)
        except tarfile.HeaderError as error:
            if isinstance(error, tarfile.EOFHeaderError) and _ends_in_padding(tar.fileobj):
                raise
            raise tarfile.ReadError(f"{error}, not the end-of-archive mark") from error


def _ends_in_padding(stream: BinaryIO) -> bool:
    """Whether only zeros follow, and of these no more than a tape needs; a device has no end."""
    for _ in range(MAX_PADDING // PADDING_CHUNK):
        chunk = stream.read(PADDING_CHUNK)
        if not chunk:
            return True
        if chunk.strip(b"\0"):
            return False
    return False


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
        self.unknown: list[str] = []  # names of members that may be audio

    def add(self, tar: tarfile.TarFile, member: tarfile.TarInfo, extension: str) -> None:
        """Read a member; those that are neither audio nor a label are left out.

        Raises:
            InputError: an audio file whose id would hold a dot.
        """
        extension = extension.lower()
        last_extension = extension.rpartition(".")[2]
        if extension == "lab":
            content = tar.extractfile(member).read()
            self.label = content.decode(errors="replace").strip()
        elif extension in EXTENSIONS:
            data = tar.extractfile(member).read()
            row = Utterance(
                self.key,
                self.shard,
                member.offset_data,
                member.size,
                data=data,
                format=headerless_format(extension),
            )
            self.audio.append(row)
        elif last_extension in EXTENSIONS:
            raise InputError(
                f"{self.shard}: {member.name}: an id ends at the first dot, here as {self.key!r}; "
                "expected a name with one dot"
            )
        elif last_extension not in OTHER_EXTENSIONS and (extension or self._is_audio(tar, member)):
            self.unknown.append(member.name)

    def _is_audio(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> bool:
        """Whether a member without an extension is audio; README files are not."""
        data = tar.extractfile(member).read()
        try:
            with open_audio(Utterance(self.key, self.shard, data=data)):
                return True
        except InputError:
            return False

    def utterances(self) -> list[Utterance]:
        """The utterance, or none where no member was audio or a label.

        Raises:
            InputError: not one audio file, a file of an unknown kind in its place, or an unknown
                label.
        """
        if self.unknown and not self.audio:
            raise InputError(
                f"{self.shard}: {self.unknown[0]}: another extension than those of audio, "
                "such as .flac or .wav"
            )
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
    utterance follow each other. Folders are left out, and members of other extensions that go with
    an utterance.

    Args:
        stream: the archive, read once from its beginning to its end.
        name: path or URL of the shard, for the rows and for errors.

    Raises:
        InputError: the archive is damaged or ends before its end mark, holds links or devices, an
            utterance has not one audio file, or a label is unknown.
    """
    try:
        with tarfile.open(fileobj=stream, mode="r|", tarinfo=_StrictInfo) as tar:
            members = _Members(name, "")
            for member in tar:
                key, _, extension = Path(member.name).name.partition(".")
                if member.isdir() and extension.lower() not in EXTENSIONS:
                    continue
                if not member.isfile() or member.issparse():
                    raise InputError(
                        f"{name}: {member.name}: a link, device, folder or sparse file, "
                        "expected a file"
                    )
                if key != members.key:
                    yield from members.utterances()
                    members = _Members(name, key)
                members.add(tar, member, extension)
            yield from members.utterances()
    except (tarfile.TarError, OSError) as error:
        raise InputError(f"{name}: damaged or truncated shard: {error}") from error


def read_shard(path: str) -> list[Utterance]:
    """Rows of one shard in the order of its members, from its index, which is made if there is
    none of this tar.

    Raises:
        InputError: the shard is missing, no file or damaged; names it.
    """
    try:
        check_regular_file(path)
        tar_hash = _hash_headers(path)
    except (OSError, InputError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: {reason}") from error
    index = Path(f"{path}.index")
    if index.is_file():
        try:
            return _read_shard_index(index, path, tar_hash)
        except InputError as error:
            logging.info("%s; it is made anew", error)
    rows = []
    with open(path, "rb") as stream:
        for row in read_tar(stream, path):
            with open_audio(row) as file:
                decoder = file.decoder
                rows.append(replace(row, samples=decoder.samples, rate=decoder.rate, data=None))
    _write_shard_index(index, tar_hash, rows)
    return rows


def _hash_headers(path: str) -> str:
    """SHA-256 of all of a tar but the audio: what its members are, where they lie, and labels.

    Of 1000 utterances this takes 10 ms, a sixth of the time that ``tarfile`` needs. A damaged tar
    has a hash too, which is that of no index.
    """
    size = os.path.getsize(path)
    digest = hashlib.sha256(f"{size} bytes".encode())
    position = 0
    # Unbuffered: a buffer would read 8 KiB at every header.
    with open(path, "rb", buffering=0) as stream:
        while position < size:
            stream.seek(position)
            # With the block behind the header, which holds a label or the rest of a name.
            blocks = stream.read(2 * TAR_BLOCK)
            header = blocks[:TAR_BLOCK]
            if len(header) < TAR_BLOCK or not header.strip(b"\0"):
                break
            digest.update(header)
            try:
                member_size = tarfile.nti(header[TAR_SIZE])
            except tarfile.HeaderError:
                break
            if member_size < 0:
                break
            content = blocks[TAR_BLOCK:]
            if header[TAR_TYPE] in TAR_NAMES:
                content += stream.read(min(member_size, size))
            if member_size <= len(content):
                digest.update(content[:member_size])
            position += TAR_BLOCK + member_size + -member_size % TAR_BLOCK
    return digest.hexdigest()


def _hash_rows(tar_hash: str, cells: list) -> str:
    return hashlib.sha256(json.dumps([tar_hash, cells]).encode()).hexdigest()


def _read_shard_index(index: Path, path: str, tar_hash: str) -> list[Utterance]:
    """Rows of an index.

    Raises:
        InputError: the index is of an earlier version, damaged, or of another tar.
    """
    content = read_json(index)
    if not isinstance(content, list) or len(content) != 3:
        raise InputError(f"{index}: an index of another version")
    indexed_hash, rows_hash, cells = content
    if indexed_hash != tar_hash:
        raise InputError(f"{index}: the index of another tar")
    if not isinstance(cells, list) or rows_hash != _hash_rows(tar_hash, cells):
        raise InputError(f"{index}: damaged, its rows are not those that were written")
    size = os.path.getsize(path)
    rows = []
    for row in cells:
        if not _is_index_row(row, size):
            raise InputError(f"{index}: the row {row!r} is of no utterance")
        key, offset, audio_bytes, samples, label, rate, format_name = row
        utterance = Utterance(
            key, path, offset, audio_bytes, samples, label, rate=rate, format=format_name
        )
        rows.append(utterance)
    return rows


def _is_index_row(row, tar_size: int) -> bool:
    """Whether a row of an index has the types, and lies within the tar."""
    if not isinstance(row, list) or len(row) != 7:
        return False
    key, offset, audio_bytes, samples, label, rate, format_name = row
    if not isinstance(key, str) or label not in (None, *LABELS):
        return False
    if any(type(number) is not int for number in (offset, audio_bytes, samples, rate)):
        return False
    if not 0 < rate <= HIGHEST_RATE or format_name not in ("", *HEADERLESS_FORMATS.values()):
        return False
    if offset <= 0 or audio_bytes <= 0 or offset + audio_bytes > tar_size:
        return False
    return 0 < samples < UNKNOWN_LENGTH


def _write_shard_index(index: Path, tar_hash: str, rows: list[Utterance]) -> None:
    """Write the index of a shard, where its folder can be written."""
    cells = []
    for row in rows:
        place = [row.key, row.offset, row.size, row.samples]
        cells.append([*place, row.label, row.rate, row.format])
    content = [tar_hash, _hash_rows(tar_hash, cells), cells]
    try:
        if index.exists() and not index.is_file():
            raise InputError(f"{index}: no file")
        write_text(index, json.dumps(content))
    except (OSError, InputError) as error:
        logging.info("%s: index kept in memory: %s", index, error)


def pack(
    rows: list[Utterance],
    folder: Path,
    shard_list: Path,
    prefix="shards",
    num_utts_per_shard=1000,
    num_threads=8,
    convert: Callable[[Utterance], Utterance] | None = None,
) -> None:
    """Pack utterances into the shards of a ``ShardSet``.

    Args:
        rows: utterances in the order of packing; one without a label has no ``<utt>.lab``.
        folder: folder of the shards.
        shard_list: list of the shards, to write.
        prefix: beginning of the shards' names.
        num_utts_per_shard: utterances in a shard; the last one may hold fewer.
        num_threads: threads, each of which writes one shard at a time.
        convert: gives the utterance that is packed instead of a row.
    """
    starts = range(0, len(rows), num_utts_per_shard)
    contents = [rows[start : start + num_utts_per_shard] for start in starts]
    shards = ShardSet(folder, shard_list, len(contents), prefix)
    with shards, ThreadPoolExecutor(num_threads) as pool:
        written = pool.map(partial(_write_shard, convert), shards.paths, contents)
        for _ in progress(written, len(contents), "packing", unit="shard"):
            pass  # the loop raises the first error of a thread


def check_shard_folder(folder: Path, shard_list: Path, prefix: str = "shards") -> None:
    """Refuse to replace shards that another list names.

    A folder notes, in ``<prefix>_list.txt``, the list that its shards are of; in a folder without
    the note, the list itself has to name them.

    Args:
        folder: folder of the shards.
        shard_list: list of the shards that are to be written.
        prefix: beginning of their names.

    Raises:
        InputError: the shards there are of another list, which is named with the way out; or the
            list is an input of the command.
    """
    # Before anything is removed: a mistyped list may be the wav.scp itself.
    refuse_input(shard_list)
    earlier = _shards_of(folder, prefix)
    if not earlier:
        return
    way_out = "give another folder or --prefix, or remove these shards"
    note = _note_of(folder, prefix)
    if note.is_file():
        owner = folder.resolve() / read_text(note).strip()
        if owner.is_file() and not _is_same_path(owner, shard_list):
            raise InputError(f"{folder}: holds the shards of {owner}: {way_out}")
        return
    listed = []
    if shard_list.is_file():
        listed = [Path(line).resolve() for line in read_text(shard_list).split("\n")]
    if not any(path.resolve() in listed for path in earlier):
        raise InputError(
            f"{folder}: holds {len(earlier)} shards {prefix}_* that {shard_list} does not name: "
            f"{way_out}"
        )


def _is_same_path(first: Path, second: Path) -> bool:
    return first.resolve() == second.resolve()


def _note_of(folder: Path, prefix: str) -> Path:
    return folder / f"{prefix}_list.txt"


def _shards_of(folder: Path, prefix: str) -> list[Path]:
    """Shards of a prefix in a folder, and their indexes."""
    if not folder.is_dir():
        return []
    pattern = re.compile(rf"{re.escape(prefix)}_\d{{9}}\.tar(\.index)?")
    return [path for path in folder.iterdir() if pattern.fullmatch(path.name)]


@contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    """Context in which errors of the operating system become an ``InputError``."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{error.filename or folder}: {error.strerror}") from error


class ShardSet:
    """Shards ``folder/<prefix>_%09d.tar`` and their list, which replace earlier ones all at once.

    They are written in a hidden folder and moved when all are complete::

        shards = ShardSet(folder, shard_list, count)
        with shards:  # begins; commits at the end, or takes all back after an error
            for path in shards.paths:
                with shard_writer(path) as add: ...
            shards.replace_earlier()  # where files beside the shards are written with them
            ...

    The earlier list is gone from the beginning to the end, when the new one is written last: a
    list that exists is that of the shards, and of the files that were written in the block. After
    an error before ``replace_earlier`` it is there again; after a kill the work is done anew.

    Of several processes, one alone enters the block; the others write to ``paths`` inside its time.
    Another one that enters the block for the same folder is refused.

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

        self._lock: AbstractContextManager | None = None
        self._earlier_list: str | None = None
        self._is_replaced = False

    def begin(self) -> None:
        """Lock the folder, hide the earlier list, and make the hidden folder, empty.

        Raises:
            InputError: the folder is locked, its shards are of another list, or the list is an
                input of the command.
        """
        self._lock = folder_lock(self.folder, f"packing shards {self.prefix}_*")
        self._lock.__enter__()
        check_shard_folder(self.folder, self.shard_list, self.prefix)
        self.discard()
        self.hidden.mkdir()
        owner = os.path.relpath(self.shard_list.resolve(), self.folder.resolve())
        write_lines(_note_of(self.folder, self.prefix), [owner])
        if self.shard_list.is_file():
            self._earlier_list = read_text(self.shard_list)
            self.shard_list.unlink()

    def replace_earlier(self) -> None:
        """Put the new shards in the place of the earlier ones of the prefix.

        Raises:
            InputError: a shard is missing, because somebody removed the hidden folder.
        """
        if self._is_replaced:
            return
        missing = [path.name for path in self.paths if not path.is_file()]
        if missing:
            raise InputError(
                f"{self.hidden}: removed while shards were packed into it, which lacks "
                f"{abbreviate(missing)}"
            )
        self._is_replaced = True
        for earlier in _shards_of(self.folder, self.prefix):
            earlier.unlink()
        for path in _shards_of(self.hidden, self.prefix):
            path.replace(self.folder / path.name)

    def commit(self) -> None:
        """Replace the earlier shards, and write the list, which comes last."""
        self.replace_earlier()
        write_lines(self.shard_list, [str(self.folder / path.name) for path in self.paths])

    def discard(self) -> None:
        """Remove the hidden folder with all that is in it."""
        shutil.rmtree(self.hidden, ignore_errors=True)

    def __enter__(self) -> "ShardSet":
        try:
            with _disk_errors(self.folder):
                self.begin()
        except BaseException:
            self._unlock()
            raise
        return self

    def __exit__(self, error_type, error, traceback) -> None:
        try:
            if error is None:
                with _disk_errors(self.folder):
                    self.commit()
        finally:
            if not self._is_replaced and self._earlier_list is not None:
                write_text(self.shard_list, self._earlier_list)
            self.discard()
            self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.__exit__(None, None, None)
            self._lock = None


def _write_shard(
    convert: Callable[[Utterance], Utterance] | None, path: Path, rows: list[Utterance]
) -> None:
    with shard_writer(path) as add:
        for row in rows:
            add(convert(row) if convert else row)


class _Facts(NamedTuple):
    """What an audio file says of itself: samples of a channel, rate in Hz, kind of file."""

    samples: int
    rate: int
    container: str


def _facts_as_listed(row: Utterance, data: bytes) -> _Facts | None:
    """Facts of a file that was checked when it was listed, and still states the same.

    The header of FLAC is in the bytes. Of others libsndfile takes a path in half of the time that
    bytes in memory take.

    Args:
        row: utterance of a list.
        data: bytes of its file.

    Returns:
        None where it has to be looked at anew, which tells what is wrong with it.
    """
    is_file = row.data is None and not row.size and not is_command(row.path)
    if not (is_file and row.samples and row.rate):
        return None
    container = None
    with suppress(InputError):
        length = check_length(BytesIO(data))
        if (length.samples, length.rate) == (row.samples, row.rate):
            container = "FLAC"
        elif not (length.samples or length.patch):
            container = _container_as_listed(row, len(data))
    return _Facts(row.samples, row.rate, container) if container else None


def _container_as_listed(row: Utterance, size: int) -> str | None:
    """Kind of a file of libsndfile's that states what its list does, and has as many bytes."""
    decoder = open_as_listed(row.path, row.samples, row.rate)
    if decoder is None:
        return None
    container = decoder.container
    decoder.close()
    return container if os.path.getsize(row.path) == size else None


def _facts_of(row: Utterance) -> _Facts:
    """Facts of the audio file of an utterance, its header checked against its bytes.

    Raises:
        InputError: the file can't be used; names the utterance and the file.
    """
    with open_audio(row) as file:
        return _Facts(file.decoder.samples, file.decoder.rate, file.decoder.container)


class _ShardWriter:
    """Writer of the members of a shard, which knows where each of them lies.

    Headers are those of ``tarfile``, whose own writer copies each member several times.

    Args:
        path: of the shard, as its index names it.
        stream: the new file.
    """

    def __init__(self, path: Path, stream: BinaryIO):
        self.path = path
        self.stream = stream
        self.position = 0
        self.rows: list[Utterance] = []

    def add(self, row: Utterance) -> None:
        """Add an utterance, the header of its audio file checked against the bytes.

        Raises:
            InputError: audio that can't be read, or has another number of samples than when it was
                listed; names the utterance and the file.
        """
        try:
            data = file_bytes(row)
        except (OSError, InputError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"{row.key}: {row.path}: {reason}") from error
        extension = os.path.splitext(row.path)[1][1:].lower()
        format_name = headerless_format(extension)
        facts = None if format_name else _facts_as_listed(row, data)
        if facts is None:
            # What is packed is what is checked: a file may have changed since it was listed.
            facts = _facts_of(replace(row, data=data, samples=0, rate=0, format=format_name))
        if row.samples not in (0, facts.samples):
            raise InputError(
                f"{row.key}: {row.path}: changed while it was packed: {facts.samples} samples, "
                f"expected {row.samples}"
            )
        if extension not in EXTENSIONS:  # as of a command; the file itself says its format
            extension = facts.container.lower().partition("/")[0]
        members = {extension: data}
        if row.label is not None:
            members["lab"] = row.label.encode()
        places = {}
        for name in sorted(members):
            places[name] = self._write(f"{row.key}.{name}", members[name])
        packed = Utterance(
            row.key,
            str(self.path),
            places[extension],
            len(data),
            facts.samples,
            row.label,
            rate=facts.rate,
            format=format_name,
        )
        self.rows.append(packed)

    def close(self) -> None:
        """Write the end mark, and fill up the last record, as ``tarfile`` does."""
        end = self.position + 2 * TAR_BLOCK
        self._pad(end - self.position + -end % tarfile.RECORDSIZE)

    def _write(self, name: str, data: bytes) -> int:
        """Write a member; byte of the shard at which its content begins."""
        member = tarfile.TarInfo(name)
        member.size = len(data)
        # As webdataset's writer has them, so that shards keep their bytes.
        member.mode = 0o444
        member.uname = TAR_OWNER
        member.gname = TAR_OWNER
        header = member.tobuf(tarfile.PAX_FORMAT)
        self.stream.write(header)
        self.stream.write(data)
        begin = self.position + len(header)
        self.position = begin + len(data)
        self._pad(-len(data) % TAR_BLOCK)
        return begin

    def _pad(self, count: int) -> None:
        self.stream.write(bytes(count))
        self.position += count


@contextmanager
def shard_writer(path: Path) -> Iterator[Callable[[Utterance], None]]:
    """A function that adds an utterance to a new shard, which is complete when the block ends.

    The shard's bytes depend on its content only. Its index must have the number of samples that
    each utterance had when it was listed.
    """
    with atomic_path(path) as new, open(new, "wb", buffering=WRITE_BYTES) as stream:
        writer = _ShardWriter(path, stream)
        yield writer.add
        writer.close()
    _write_shard_index(Path(f"{path}.index"), _hash_headers(str(path)), writer.rows)
