"""Shards on a server: fetched whole into a cache of a limited size, checked, and read from there.

The cache is a folder of this machine, ``$WEDEFENSE_CACHE``, for all runs of a user. It holds a file
for each shard, whose name is the hash of the URL. A file that is read or fetched is locked
(``flock``); of the others, those that nobody has read for longest go where there is no room.
"""

import fcntl
import hashlib
import logging
import math
import os
import random
import re
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from wedefense_lite.audio.shards import read_shard
from wedefense_lite.downloads import Unfinished, check, fetch, is_busy
from wedefense_lite.files import InputError, iter_rows, read_text, write_lines

HTTP = ("http://", "https://")
# Object stores, each with the package by which fsspec reads it (extra "remote").
STORES = ("s3://", "gs://")
CACHE_FOLDER = "WEDEFENSE_CACHE"
CACHE_GIGABYTES = "WEDEFENSE_CACHE_GB"
DEFAULT_GIGABYTES = 50.0
GIGABYTE = 10**9
# What a later attempt doesn't change.
REFUSALS = (urllib.error.HTTPError, FileNotFoundError, PermissionError)
ATTEMPTS = 6
FIRST_DELAY = 1.0  # seconds before the second attempt; each later delay is twice as long
TIMEOUT = 60.0  # seconds without a byte
ROOM_TIMEOUT = 120.0  # seconds in which other readers may give room back
POLL_SECONDS = 0.05
BLOCK = 2**20  # bytes
# Names in the cache: of a shard, and of one that is being fetched.
CACHED = re.compile(r"[0-9a-f]{64}\.((?P<reserved>[0-9]+)\.part|tar)")
_jitter = random.Random()  # of its own: the other one belongs to the training


@dataclass(frozen=True)
class ShardFacts:
    """Line of a manifest.

    Attributes:
        size: bytes of the shard.
        sha256: its checksum in hexadecimal.
        utterances: number of utterances in it.
    """

    size: int
    sha256: str
    utterances: int


def is_remote(url: str) -> bool:
    """Whether a line of a shard list is fetched into the cache."""
    return url.startswith((*HTTP, *STORES))


def manifest_path(shard_list: str | Path) -> Path:
    """Manifest of a shard list: lines "name bytes sha256 utterances"."""
    return Path(f"{shard_list}.manifest")


def write_manifest(shard_list: str | Path) -> Path:
    """Write the manifest of a list of local shards.

    Returns:
        Its path.
    """
    lines = []
    for path in read_text(shard_list).split("\n"):
        if not path:
            continue
        with open(path, "rb") as file:
            checksum = hashlib.file_digest(file, "sha256").hexdigest()
        count = len(read_shard(path))
        lines.append(f"{Path(path).name} {os.path.getsize(path)} {checksum} {count}")
    manifest = manifest_path(shard_list)
    write_lines(manifest, lines)
    return manifest


def read_manifest(shard_list: str | Path, urls: list[str]) -> dict[str, ShardFacts]:
    """Facts of the shards of a list by their URLs; empty where there is no manifest.

    Raises:
        InputError: a malformed line, a name on two lines, or a shard that no line names.
    """
    path = manifest_path(shard_list)
    if not path.exists():
        return {}
    by_name = {}
    for line, (name, size, checksum, count) in iter_rows(path, columns=4):
        is_checksum = len(checksum) == 64 and set(checksum) <= set("0123456789abcdef")
        numbers = [size, count]
        if not is_checksum or not all(text.isascii() and text.isdigit() for text in numbers):
            raise InputError(f'{path}:{line}: expected "name bytes sha256 utterances"')
        if name in by_name:
            raise InputError(f"{path}:{line}: {name} is there twice")
        by_name[name] = ShardFacts(int(size), checksum, int(count))
    facts = {}
    for url in urls:
        name = _name(url)
        if name not in by_name:
            raise InputError(f"{path}: {name} is not in it, but {shard_list} has {url}")
        facts[url] = by_name[name]
    return facts


def _name(url: str) -> str:
    path = urllib.parse.urlsplit(url).path
    return urllib.parse.unquote(path.rpartition("/")[2])


class ShardCache:
    """Folder of fetched shards, which many processes share.

    Args:
        folder: by default ``$WEDEFENSE_CACHE``, or a folder of the user's cache.
        limit: bytes that all files together have at most, those that are being fetched included;
            by default ``$WEDEFENSE_CACHE_GB`` times 10^9, or 50 GB.

    Raises:
        InputError: ``$WEDEFENSE_CACHE_GB`` is no positive number, or the folder can't be made.
    """

    def __init__(self, folder: str | Path | None = None, limit: int | None = None):
        self.folder = Path(folder or _default_folder())
        self.limit = _default_limit() if limit is None else limit
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{self.folder}: {error.strerror}; {CACHE_FOLDER} names it") from error

    def hold(self, url: str, facts: ShardFacts | None = None, waits: bool = True) -> BinaryIO:
        """File of a shard, which stays in the cache until it is closed.

        Args:
            url: its URL.
            facts: what the manifest says of it; None where there is none.
            waits: wait for room, and for another process that fetches it.

        Raises:
            BlockingIOError: it would have to wait, and ``waits`` is false.
            InputError: the shard can't be fetched, is another one than the manifest's, or there
                is no room for it; names the URL.
        """
        # A shard that was packed anew is another one.
        identity = f"{url} {facts.sha256 if facts else ''}"
        path = self.folder / f"{hashlib.sha256(identity.encode()).hexdigest()}.tar"
        size = 0
        end_of_waiting = None
        while True:
            file = _held(path)
            if file is not None:
                return file
            # Asked for once, and only where it has to be fetched.
            size = size or (facts.size if facts else _remote_size(url))
            if size > self.limit:
                raise InputError(
                    f"{url}: {size} bytes, the cache has {self.limit}: raise {CACHE_GIGABYTES}"
                )
            part = self._reserve(path, size)
            if part is not None:
                with part:
                    self._fetch(url, Path(part.name), facts, size)
                    os.replace(part.name, path)
                continue
            if not waits:
                raise BlockingIOError(url)
            if self._is_fetched_elsewhere(path):
                end_of_waiting = None
            elif end_of_waiting is None:
                end_of_waiting = time.monotonic() + ROOM_TIMEOUT
            elif time.monotonic() > end_of_waiting:
                raise InputError(
                    f"{url}: no room for {size} bytes in {self.folder}, as other readers hold its "
                    f"{self.limit}: raise {CACHE_GIGABYTES}, or take fewer workers"
                )
            time.sleep(POLL_SECONDS)

    def _is_fetched_elsewhere(self, path: Path) -> bool:
        for part in self.folder.glob(f"{path.stem}.*.part"):
            file = _locked(part, fcntl.LOCK_EX)
            if file is None:
                return True
            file.close()
        return False

    def _reserve(self, path: Path, size: int) -> BinaryIO | None:
        """Locked file into which a shard is to be fetched.

        Returns:
            None where another process fetches it, or where there is no room.
        """
        # The name says how much room is reserved.
        part = path.with_suffix(f".{size}.part")
        with self._alone():
            part.touch()
            file = _locked(part, fcntl.LOCK_EX)
            if file is None:
                return None
            # Looked at behind the lock: before it, another process may have come to its end.
            if not path.exists() and self._make_room():
                return file
            if os.fstat(file.fileno()).st_size == 0:
                part.unlink()
            file.close()
            return None

    def _make_room(self) -> bool:
        """Remove the shards unread for longest until all of the rest are within the limit."""
        files = []
        total = 0
        for path in self.folder.iterdir():
            match = CACHED.fullmatch(path.name)
            if match is None:
                continue
            with suppress(FileNotFoundError):
                state = path.stat()
                size = int(match["reserved"] or state.st_size)
                total += size
                files.append((state.st_mtime, size, path))
        for _, size, path in sorted(files):
            if total <= self.limit:
                break
            # That of the caller is locked as well.
            file = _locked(path, fcntl.LOCK_EX)
            if file is None:
                continue
            path.unlink()
            file.close()
            total -= size
        return total <= self.limit

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Context in which no other process reserves room."""
        with open(self.folder / "lock", "ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _fetch(self, url: str, part: Path, facts: ShardFacts | None, size: int) -> None:
        """Fetch a shard, several times if need be.

        Raises:
            InputError: names the URL, and what the last attempt failed by.
        """
        for attempt in range(1, ATTEMPTS + 1):
            try:
                if url.startswith(HTTP):
                    fetch(url, part, size, TIMEOUT, is_shown=False)
                else:
                    _fetch_from_store(url, part)
                check(part, size, sha256=facts.sha256 if facts else None)
                return
            except InputError as error:
                if not isinstance(error, Unfinished):
                    # Not to be gone on from.
                    os.truncate(part, 0)
                is_unfinished = isinstance(error, Unfinished)
                is_refused = not is_unfinished and isinstance(error.__cause__, REFUSALS)
                if is_refused or attempt == ATTEMPTS:
                    raise InputError(f"{url}: attempt {attempt}: {error}") from error
                delay = _delay(attempt)
                logging.warning(
                    "%s: attempt %d of %d in %.1f s: %s", url, attempt + 1, ATTEMPTS, delay, error
                )
                time.sleep(delay)


def _delay(attempt: int) -> float:
    """Seconds after an attempt, from 1 on; readers that failed together don't come back so."""
    return FIRST_DELAY * 2 ** (attempt - 1) * _jitter.uniform(0.5, 1.5)


def _default_folder() -> Path:
    folder = os.environ.get(CACHE_FOLDER)
    if folder:
        return Path(folder)
    user_cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(user_cache) / "wedefense_lite/shards"


def _default_limit() -> int:
    text = os.environ.get(CACHE_GIGABYTES, "")
    if not text:
        return round(DEFAULT_GIGABYTES * GIGABYTE)
    try:
        gigabytes = float(text)
    except ValueError:
        gigabytes = math.nan
    if not 0 < gigabytes < math.inf:
        raise InputError(f"{CACHE_GIGABYTES}={text!r}: expected a positive number")
    return round(gigabytes * GIGABYTE)


def _held(path: Path) -> BinaryIO | None:
    """File of the cache, locked for reading; None where it isn't there or is about to go."""
    file = _locked(path, fcntl.LOCK_SH)
    if file is not None:
        with suppress(OSError):
            os.utime(path)  # the time of the last reading
    return file


def _locked(path: Path, lock: int) -> BinaryIO | None:
    """Open file with a lock that ends as it is closed; None where another process holds one."""
    try:
        file = open(path, "rb")  # noqa: SIM115 (the caller closes it, and so gives up the lock)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(file, lock | fcntl.LOCK_NB)
        # It may have been removed or renamed before the lock was there.
        if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
            return file
    except (BlockingIOError, FileNotFoundError):
        pass
    file.close()
    return None


def _remote_size(url: str) -> int:
    """Size of a shard that no manifest names, as the server says.

    Raises:
        InputError: it can't be asked, or doesn't say.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            if not url.startswith(HTTP):
                files, path = _store(url)
                return int(files.size(path))
            request = urllib.request.Request(url, method="HEAD")
            with urllib.request.urlopen(request, timeout=TIMEOUT) as reply:
                return int(reply.headers["Content-Length"])
        except TypeError as error:
            reason = "the server doesn't say its size, which a manifest does"
            raise InputError(f"{url}: {reason} (make_shard_list.py --manifest true)") from error
        except (OSError, ValueError) as error:
            is_refusal = isinstance(error, FileNotFoundError | PermissionError)
            if isinstance(error, urllib.error.HTTPError):
                is_refusal = not is_busy(error.code)
            if is_refusal or attempt == ATTEMPTS:
                raise InputError(f"{url}: {error}") from error
            time.sleep(_delay(attempt))
    raise AssertionError("the last attempt returns or raises")


def _store(url: str):
    """File system of an object store, and the path in it.

    Raises:
        InputError: its package isn't installed, or there are no credentials.
    """
    import fsspec

    try:
        return fsspec.core.url_to_fs(url)
    except (ImportError, ValueError, OSError) as error:
        scheme = url.partition(":")[0]
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{url}: {scheme} can't be opened ({reason}): pip install 'wedefense_lite[remote]'"
        ) from error


def _fetch_from_store(url: str, part: Path) -> None:
    """Fetch a file of an object store, from the byte where an earlier try stopped.

    Raises:
        Unfinished: the store can't be reached, or stops.
        InputError: there is no such file, or it may not be read.
    """
    files, path = _store(url)
    try:
        with files.open(path, "rb") as source, open(part, "ab") as target:
            source.seek(target.tell())
            while block := source.read(BLOCK):
                target.write(block)
    except (FileNotFoundError, PermissionError) as error:
        raise InputError(f"{url}: {error}") from error
    # What goes wrong on the way is up to each store's own package.
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise Unfinished(f"{url}: {reason}") from error


class Ahead:
    """Shard that is fetched while another one is read, if there is room for both.

    Args:
        cache: the cache.
        url: URL of the shard.
        facts: what the manifest says of it.
    """

    def __init__(self, cache: ShardCache, url: str, facts: ShardFacts | None):
        self._file: BinaryIO | None = None
        self._is_wanted = True
        self._lock = threading.Lock()
        # A daemon: a reader that ends early doesn't wait for the rest of a shard.
        arguments = (cache, url, facts)
        self._thread = threading.Thread(target=self._fetch, args=arguments, daemon=True)
        self._thread.start()

    def _fetch(self, cache: ShardCache, url: str, facts: ShardFacts | None) -> None:
        # Whoever reads the shard meets the error again, and tells it.
        with suppress(InputError, OSError):
            file = cache.hold(url, facts, waits=False)
            with self._lock:
                if self._is_wanted:
                    self._file = file
                else:
                    file.close()

    def take(self) -> BinaryIO | None:
        """The file, once it is there; None where it has to be held by the reader itself."""
        self._thread.join()
        return self._file

    def drop(self) -> None:
        """Give the file back unread."""
        with self._lock:
            self._is_wanted = False
            if self._file is not None:
                self._file.close()
