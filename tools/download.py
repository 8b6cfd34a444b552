"""Download of the archive of a corpus: continued where it stopped, checked, and unpacked whole."""

import hashlib
import logging
import math
import shutil
import tarfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from wedefense_lite import cli
from wedefense_lite.files import InputError
from wedefense_lite.progress import progress

BLOCK = 1 << 20  # bytes of a read; one unit of the progress


def fetch(url: str, part: Path) -> None:
    """Fetch a file, from the byte where an earlier try stopped if the server knows ranges.

    Args:
        url: address of the file.
        part: the file as far as it was fetched; it stays after an error.

    Raises:
        InputError: the server can't be reached, refuses, or stops before the end.
    """
    size = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={size}-"} if size else {}
    try:
        request = urllib.request.Request(url, headers=headers)
        with urllib.request.urlopen(request, timeout=60) as reply:
            # A server that doesn't know ranges answers 200, and sends the file from its beginning.
            start = size if reply.status == 206 else 0
            end = start + int(reply.headers.get("Content-Length", 0))
            logging.info("%s: bytes %d to %d", url, start, end)
            blocks = math.ceil((end - start) / BLOCK)
            with open(part, "r+b" if start else "wb") as file:
                file.seek(start)
                for block in progress(read_blocks(reply), blocks, part.stem, "MiB"):
                    file.write(block)
                size = file.tell()
    except urllib.error.HTTPError as error:
        # 416: no byte is left after those of an earlier try, if the file is as long as they are.
        if error.code != 416 or error.headers.get("Content-Range") != f"bytes */{size}":
            raise InputError(f"{url}: {error}") from error
        end = size
    except (OSError, ValueError) as error:
        raise InputError(f"{url!r}: {error}; the same command goes on from there") from error
    # The reply of a server that stops early ends without an error.
    if size < end:
        raise InputError(
            f"{url}: ended after {size} of {end} bytes; the same command goes on from there"
        )


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


def unpack(archive: Path, target: Path) -> None:
    """Unpack one folder of an archive; it gets its name when it is complete.

    Args:
        archive: ``.zip`` or ``.tar.gz`` with a folder ``target.name`` at its top or one level
            below.
        target: the folder to make.

    Raises:
        InputError: no archive, a damaged one, or one without that folder.
    """
    partial = target.with_name(f".{target.name}.unpacking")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        if archive.suffix == ".gz":
            with tarfile.open(archive) as packed:
                # The filter refuses members that lie outside of the folder; Python 3.11.2 has none.
                packed.extraction_filter = getattr(tarfile, "data_filter", None)
                packed.extractall(partial)
        else:
            with zipfile.ZipFile(archive) as packed:
                packed.extractall(partial)
        folder = partial / target.name
        if not folder.exists():
            # Some archives hold everything in one folder more.
            folder = next(partial.glob(f"*/{target.name}"), folder)
        folder.rename(target)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, FileNotFoundError) as error:
        raise InputError(f"{archive}: {error}, expected an archive of {target.name}/") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def download(
    url: str,
    folder: str,
    licence: str,
    size: int = 0,
    md5: str | None = None,
    sha256: str | None = None,
):
    """Fetch an archive and unpack one folder of it; a folder that exists is left as it is.

    Args:
        url: address of a .zip or a .tar.gz.
        folder: the folder to make. DB/LA is made from LA/ in the archive, which stays as DB/LA.zip.
        licence: licence of the corpus, for the log.
        size: published size of the archive in bytes; 0 for any.
        md5: published MD5 sum of the archive, in hexadecimal.
        sha256: published SHA-256 sum of the archive, in hexadecimal.
    """
    target = Path(folder)
    logging.info("%s: licence %s", target, licence)
    if target.exists():
        logging.info("%s is there already", target)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    # The address may go on behind the name, as in x.tar.gz?download=1.
    ending = ".tar.gz" if ".tar.gz" in url else ".zip"
    archive = target.with_name(target.name + ending)
    if not archive.exists():
        part = archive.with_name(f"{archive.name}.part")
        fetch(url, part)
        part.rename(archive)
    check(archive, size, md5=md5, sha256=sha256)
    unpack(archive, target)
    logging.info("unpacked %s; %s is not needed any more", target, archive)


if __name__ == "__main__":
    cli.run(download)
