"""Downloads: continued where they stopped, checked, and unpacked whole or not at all."""

import hashlib
import http.client
import logging
import lzma
import math
import os
import re
import shutil
import stat
import struct
import tarfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from wedefense_lite.files import InputError
from wedefense_lite.progress import progress

BLOCK = 1 << 20  # bytes of a read; one unit of the progress
OK = 200
PARTIAL_CONTENT = 206
RANGE_NOT_SATISFIABLE = 416
BUSY = (408, 429)  # too slow, too many requests
SERVER_ERRORS = 500  # and above
CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
ENCRYPTED = 1  # bit of a member's flags
# Deflate packs at most 1032 bytes into one.
LARGEST_RATIO = 1100
MOST_MEMBERS = 5_000_000
# What the readers of archives raise for damaged ones.
BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    OSError,
    ValueError,
    RuntimeError,
    LookupError,
    OverflowError,
    MemoryError,
)


class Unfinished(InputError):
    """A server that can't be reached, is busy or stops early: a later try may go on."""


def fetch(url: str, part: Path, size: int = 0, timeout: float = 60, is_shown: bool = True) -> None:
    """Fetch a file, from the byte where an earlier try stopped if the server knows ranges.

    Args:
        url: address of the file, http or https.
        part: the file as far as it was fetched; it stays after an error.
        size: published size in bytes; 0 for any.
        timeout: longest wait for the server, in seconds.
        is_shown: show the progress.

    Raises:
        Unfinished: the server can't be reached, is busy, or stops before the end.
        InputError: it refuses, or has a file of another size; or ``part`` is no file.
    """
    if not url.startswith(("http://", "https://")):
        raise InputError(f"{url!r}: unknown url type, expected http:// or https://")
    # A link would have another file written, a pipe or a device would be waited for.
    if os.path.lexists(part) and not stat.S_ISREG(part.lstat().st_mode):
        raise InputError(f"{part}: a link, a folder or a device, expected a file: remove it")
    present = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={present}-"} if present else {}
    try:
        request = urllib.request.Request(url, headers=headers)
        with urllib.request.urlopen(request, timeout=timeout) as reply:
            start, end = _range(reply, part, present, size)
            logging.info("%s: bytes %d to %s", url, start, end or "its end")
            blocks = read_blocks(reply)
            if is_shown:
                count = math.ceil((end - start) / BLOCK)
                blocks = progress(blocks, max(0, count), part.stem, "MiB")
            with open(part, "r+b" if start else "wb") as file:
                file.seek(start)
                for block in blocks:
                    if end and file.tell() + len(block) > end:
                        raise ValueError(f"more than the {end} bytes that it has")
                    file.write(block)
                present = file.tell()
    except urllib.error.HTTPError as error:
        # No byte is left after those of an earlier try, if the file is as long as they are.
        is_complete = error.headers.get("Content-Range") == f"bytes */{present}"
        if error.code != RANGE_NOT_SATISFIABLE or not is_complete:
            remedy = f"; {part} has {present} bytes: remove it to begin again" if present else ""
            kind = Unfinished if is_busy(error.code) else InputError
            raise kind(f"{url}: {error}{remedy}") from error
        end = present
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise Unfinished(f"{url!r}: {reason}; the same command goes on from there") from error
    # The reply of a server that stops early ends without an error.
    if present < end:
        raise Unfinished(
            f"{url}: ended after {present} of {end} bytes; the same command goes on from there"
        )


def is_busy(status: int) -> bool:
    """Whether a later try may get what a server refuses with this status."""
    return status in BUSY or status >= SERVER_ERRORS


def _range(reply: http.client.HTTPResponse, part: Path, present: int, size: int) -> tuple[int, int]:
    """First byte of a reply, and the size of the file; 0 where the server doesn't tell it.

    Raises:
        InputError: another status, range or size than can be.
        ValueError: a length that is no number.
    """
    if reply.status == PARTIAL_CONTENT:
        start = present
        end = _end_of_range(reply, start)
        if not end:
            raise InputError(
                f"{reply.url}: another range than was asked for; remove {part} to begin again"
            )
    elif reply.status == OK:
        # A server that doesn't know ranges sends the file from its beginning.
        start = 0
        end = int(reply.headers.get("Content-Length", size))
    else:
        raise InputError(f"{reply.url}: status {reply.status}, expected {OK}")
    if end < start:
        raise InputError(
            f"{reply.url}: {end} bytes, but {part} has {start}; remove it to begin again"
        )
    if size and end != size:
        raise InputError(f"{reply.url}: {end} bytes, expected {size}")
    return start, end


def _end_of_range(reply: http.client.HTTPResponse, start: int) -> int:
    """Size of the file that a reply is a range of; 0 for another range, or one of no bytes."""
    header = reply.headers.get("Content-Range")
    if header is None:
        # Against the standard, but the length says as much.
        length = int(reply.headers.get("Content-Length", 0))
        return start + length if length > 0 else 0
    match = CONTENT_RANGE.fullmatch(header)
    return int(match[3]) if match and int(match[1]) == start else 0


def read_blocks(reply: BinaryIO) -> Iterator[bytes]:
    """Yield the content of a reply in blocks, because an archive may not fit into memory."""
    block = reply.read(BLOCK)
    while block:
        yield block
        block = reply.read(BLOCK)


def check(path: Path, size: int, **checksums: str | None) -> None:
    """Check the size and the checksums of a file, and log the checksums.

    Args:
        path: the file.
        size: expected bytes; 0 for any number.
        checksums: expected checksums in hexadecimal, by algorithm; None for any.

    Raises:
        InputError: another size or checksum.
    """
    actual_size = path.stat().st_size
    if size and actual_size != size:
        raise InputError(f"{path}: {actual_size} bytes, expected {size}; remove it to begin again")
    for algorithm, expected in checksums.items():
        with open(path, "rb") as file:
            actual = hashlib.file_digest(file, algorithm).hexdigest()
        if expected and actual != expected.lower():
            raise InputError(
                f"{path}: {algorithm} {actual}, expected {expected}; remove it to begin again"
            )
        # Without a published checksum the log is all that a user can compare later.
        verdict = "as expected" if expected else "nothing to compare"
        logging.info("%s: %s %s, %s", path.name, algorithm, actual, verdict)


def unpack(archive: Path, target: Path, whole: bool = False) -> None:
    """Unpack one folder of an archive; it gets its name when it is complete.

    Args:
        archive: ``.zip``, ``.whl`` or ``.tar.gz``, or one with ``.part`` behind it, with a folder
            ``target.name`` at its top or one level below.
        target: the folder to make.
        whole: the folder gets all of the archive.

    Raises:
        InputError: no archive, a damaged one, one without that folder, one with members that lie
            outside of it or are no files, or more than the disk has room for. Nothing of it stays.
    """
    partial = target.with_name(f".{target.name}.unpacking")
    if partial.is_symlink():
        partial.unlink()
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        if archive.name.removesuffix(".part").endswith(".gz"):
            _unpack_tar(archive, partial)
        else:
            _unpack_zip(archive, partial)
        folder = partial
        if not whole:
            folder = partial / target.name
            if not folder.is_dir():
                # Some archives hold everything in one folder more.
                folder = next(partial.glob(f"*/{target.name}/"), folder)
            if not folder.is_dir():
                raise ValueError(f"no folder {target.name}/ in it")
        folder.rename(target)
    except BROKEN as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{archive}: {reason}, expected an archive of {target.name}/; "
            "remove it to fetch it again"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _unpack_zip(archive: Path, folder: Path) -> None:
    room = _Room(archive, folder)
    with zipfile.ZipFile(archive) as packed:
        members = packed.infolist()
        for member in members:
            mode = member.external_attr >> 16
            kind = stat.S_IFMT(mode)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise ValueError(f"{member.filename!r} is no file")
            if member.flag_bits & ENCRYPTED:
                raise ValueError(f"{member.filename!r} is encrypted")
            if member.compress_type not in METHODS:
                raise ValueError(f"{member.filename!r} has an unknown compression")
            room.take(member.filename, member.file_size)
        # The reader stops at the stated size of a member, and compares its checksum.
        packed.extractall(folder)


def _unpack_tar(archive: Path, folder: Path) -> None:
    room = _Room(archive, folder)
    # The filter refuses links that lead outside; Python 3.11.2 has none, so there links are
    # refused.
    link_filter = getattr(tarfile, "data_filter", None)
    with tarfile.open(archive, "r:gz") as packed:
        packed.extraction_filter = link_filter
        for member in packed:
            is_link = (member.issym() or member.islnk()) and link_filter is not None
            if not (member.isreg() or member.isdir() or is_link):
                raise ValueError(f"{member.name!r} is no file")
            room.take(member.name, member.size)
            # No bit but that of a program, and no owner: as root, those of the archive would hold.
            is_executable = member.isdir() or member.mode & stat.S_IXUSR
            member.mode = 0o755 if is_executable else 0o644
            member.uid = os.geteuid()
            member.gid = os.getegid()
            member.uname = member.gname = ""
            packed.extract(member, folder)
        # The checksum comes behind the last member, where the reader of archives doesn't look.
        while packed.fileobj.read(BLOCK):
            pass


class _Room:
    """Room for what an archive says that it holds.

    Args:
        archive: the archive.
        folder: folder to unpack into.
    """

    def __init__(self, archive: Path, folder: Path):
        self.free = shutil.disk_usage(folder).free
        self.most = archive.stat().st_size * LARGEST_RATIO
        self.members = 0
        self.size = 0
        self.names: set[str] = set()

    def take(self, name: str, size: int) -> None:
        """Count a member.

        Raises:
            ValueError: it lies outside, is there twice, has a name that can't be printed, or is one
                too many or too large.
        """
        if not name.isprintable():
            raise ValueError(f"{name!r}: control characters in a name")
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"{name!r} lies outside of it")
        self.members += 1
        self.size += size
        if str(path) in self.names and size:
            raise ValueError(f"{name!r} is there twice")
        self.names.add(str(path))
        if self.members > MOST_MEMBERS:
            raise ValueError(f"more than {MOST_MEMBERS} files")
        if size < 0 or self.size > self.most:
            raise ValueError(f"{self.size} bytes in it, more than an archive of its size can hold")
        if self.size > self.free:
            raise ValueError(f"{self.size} bytes in it, but {self.free} are free on the disk")
