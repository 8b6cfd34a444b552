"""Fetch and unpack the archive of a corpus: resumed where it stopped, checked, whole or not at all."""

import hashlib
import logging
import shutil
import tarfile
import urllib.error
import urllib.request
import zipfile
import zlib
from pathlib import Path

from wedefense_lite import cli
from wedefense_lite.files import InputError
from wedefense_lite.progress import progress

BLOCK = 1 << 20


def fetch(url: str, part: Path) -> None:
    """Fetch ``url`` into ``part``, from where an earlier try stopped if the server can do that.

    Raises:
        InputError: the server can't be reached, refuses, or stops before the end; ``part`` stays.
    """
    have = part.stat().st_size if part.exists() else 0
    try:
        request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
        with urllib.request.urlopen(request, timeout=60) as reply:
            # A server that doesn't know ranges answers 200, and sends the file from its beginning.
            start = have if reply.status == 206 else 0
            end = start + int(reply.headers.get("Content-Length", 0))
            logging.info("%s: bytes %d to %d", url, start, end)
            with open(part, "r+b" if start else "wb") as file:
                file.seek(start)
                blocks = iter(lambda: reply.read(BLOCK), b"")
                for block in progress(blocks, -(-(end - start) // BLOCK), part.stem, "MiB"):
                    file.write(block)
                have = file.tell()
    except urllib.error.HTTPError as error:
        if error.code != 416 or error.headers.get("Content-Range") != f"bytes */{have}":
            raise InputError(f"{url}: {error}") from error
        end = have  # nothing is left to fetch
    except (OSError, ValueError) as error:
        raise InputError(f"{url!r}: {error}; the same command goes on from there") from error
    if have < end:
        raise InputError(
            f"{url}: ended after {have} of {end} bytes; the same command goes on from there"
        )


def check(path: Path, size: int, **sums: str | None) -> None:
    """Compare size and checksums (hexadecimal, by algorithm) with what is expected, and log them.

    Raises:
        InputError: another size or checksum.
    """
    if size not in (0, path.stat().st_size):
        raise InputError(
            f"{path}: {path.stat().st_size} bytes, expected {size}; remove it to begin again"
        )
    for algorithm, expected in sums.items():
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, algorithm).hexdigest()
        if expected and found != expected.lower():
            raise InputError(
                f"{path}: {algorithm} {found}, expected {expected}; remove it to begin again"
            )
        logging.info(
            "%s: %s %s, %s",
            path.name,
            algorithm,
            found,
            "as expected" if expected else "nothing to compare",
        )


def unpack(archive: Path, target: Path) -> None:
    """Unpack the folder ``target.name`` of an archive; ``target`` appears when it is complete.

    Args:
        archive: ``.zip`` or ``.tar.gz``; the folder is at its top, or in the one folder that is there.

    Raises:
        InputError: no such archive, a damaged one, or one without that folder.
    """
    partial = target.with_name(f".{target.name}.unpacking")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        if archive.suffix == ".gz":
            with tarfile.open(archive) as packed:
                packed.extraction_filter = getattr(
                    tarfile, "data_filter", None
                )  # Python 3.11.2 has none
                packed.extractall(partial)
        else:
            with zipfile.ZipFile(archive) as packed:
                packed.extractall(partial)
        found = (
            path
            for path in (partial / target.name, *partial.glob(f"*/{target.name}"))
            if path.exists()
        )
        next(found, partial / target.name).rename(target)
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
    """Fetch an archive, and unpack from it the folder of its name; nothing is done where that is there.

    Args:
        url: of the archive, a .zip or a .tar.gz.
        folder: the folder to make, and in the archive: DB/LA makes DB/LA from LA/. The archive stays
            beside it, as DB/LA.zip.
        licence: under which the publisher gives the corpus; it is printed.
        size: of the archive in bytes, as published; 0 for any.
        md5: of the archive, as published.
        sha256: of the archive, as published.
    """
    target = Path(folder)
    logging.info("%s: licence %s", target, licence)
    if target.exists():
        logging.info("%s is there already", target)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    archive = target.with_name(target.name + (".tar.gz" if ".tar.gz" in url else ".zip"))
    if not archive.exists():
        part = archive.with_name(f"{archive.name}.part")
        fetch(url, part)
        part.rename(archive)
    check(archive, size, md5=md5, sha256=sha256)
    unpack(archive, target)
    logging.info("unpacked %s; %s is not needed any more", target, archive)


if __name__ == "__main__":
    cli.run(download)
