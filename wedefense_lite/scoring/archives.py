"""Kaldi archives of embeddings and logits, written whole or not at all."""

import os
import struct
from collections.abc import Iterable, Iterator, Mapping
from math import prod
from pathlib import Path
from typing import BinaryIO, NamedTuple

import kaldiio
import numpy as np

from wedefense_lite.files import InputError, atomic_path, read_table, write_table

# Types of arrays that are read: name in the file, type of a number, number of dimensions.
ARRAY_TYPES = {
    b"FV ": ("<f4", 1),
    b"DV ": ("<f8", 1),
    b"FM ": ("<f4", 2),
    b"DM ": ("<f8", 2),
}


def write_archive(ark: str | Path, arrays: Iterable[tuple[str, np.ndarray]]) -> list[str]:
    """Write ``X.ark`` in the order of ``arrays`` and ``X.scp`` sorted by key.

    Args:
        ark: path of the archive; the ``.scp`` beside it holds this path as it is typed here.
        arrays: keys and float32 vectors or matrices.

    Returns:
        The keys in the order written.

    Raises:
        InputError: a key that comes twice, or a value that is not finite, by name.
    """
    ark = Path(ark)
    scp = ark.with_suffix(".scp")
    table = {}
    with atomic_path(ark) as temporary:
        with open(temporary, "wb") as file:
            for key, array in arrays:
                if key in table:
                    raise InputError(f"{ark}: {key} comes twice")
                if not np.isfinite(array).all():
                    raise InputError(f"{ark}: {key} has a value that is not finite")
                # An entry starts with its key and a space; Kaldi's offset is that of the array.
                offset = file.tell() + len(key.encode()) + 1
                table[key] = f"{ark}:{offset}"
                kaldiio.save_ark(file, {key: array})
        # An old .scp must never point into a new archive.
        scp.unlink(missing_ok=True)
    write_table(scp, table)
    return list(table)


def read_archive(scp: str | Path) -> "Archive":
    """A lazy mapping from key to array, in the order of the file; see ``Archive``."""
    return Archive(scp)


class Entry(NamedTuple):
    """Place of an array in an archive."""

    ark: str
    offset: int


class Archive(Mapping[str, np.ndarray]):
    """Float32 arrays of a Kaldi ``.scp``, each read when it is asked for.

    Only binary vectors and matrices of floats are read. Other readers of Kaldi's formats run the
    commands of an ``.scp`` and the pickles of an ``.ark``, so whoever wrote the file could run
    code here.

    Args:
        scp: lines ``key archive:offset``.

    Raises:
        InputError: no such file, lines of another form, a key that comes twice, an archive that is
            missing, an entry that is another key's, of another type or cut short. Reading an array
            raises it for values that are not finite.
    """

    def __init__(self, scp: str | Path):
        self.scp = scp
        self._entries = {}
        keys_by_ark: dict[str, list[str]] = {}
        # Archives are few and keys are many: each is asked for its size once.
        sizes: dict[str, int] = {}
        for key, address in read_table(scp).items():
            entry = self._parse(key, address, sizes)
            self._entries[key] = entry
            keys_by_ark.setdefault(entry.ark, []).append(key)
        # Damage is to be found before the work, not in the middle of it.
        for ark, keys in keys_by_ark.items():
            with self._open(ark) as file:
                for key in keys:
                    self._seek_values(file, key)

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __getitem__(self, key: str) -> np.ndarray:
        with self._open(self._entries[key].ark) as file:
            number_type, shape = self._seek_values(file, key)
            content = file.read(prod(shape) * np.dtype(number_type).itemsize)
        # A double beyond the range of float32 becomes infinite, and is refused as such.
        with np.errstate(over="ignore"):
            array = np.frombuffer(content, number_type).reshape(shape).astype(np.float32)
        is_finite = np.isfinite(array)
        if not is_finite.all():
            value = array[~is_finite][0]
            raise self._error(key, f"has the value {value}, expected finite numbers")
        return array

    def _parse(self, key: str, address: str, sizes: dict[str, int]) -> Entry:
        """Place in an archive, from the second column of a line.

        Args:
            key: name of the array.
            address: the column.
            sizes: bytes of the archives that were met before; one that is new is added.
        """
        if "|" in address:
            raise self._error(key, f"is the output of a command, {address!r}: it is not run")
        ark, _, offset = address.rpartition(":")
        if not (ark and offset.isascii() and offset.isdigit()):
            raise self._error(key, f"is at {address!r}, expected archive:offset")
        if ark not in sizes:
            sizes[ark] = self._size_of(ark, key)
        size = sizes[ark]
        # Compared as text first: a number of thousands of digits is none to Python.
        if len(offset) > len(str(size)) or int(offset) >= size:
            raise self._error(key, f"is at {offset} of {ark}, which has {size} bytes")
        return Entry(ark, int(offset))

    def _size_of(self, ark: str, key: str) -> int:
        if not os.path.exists(ark):
            raise self._error(key, f"is in {ark}, which does not exist")
        if not os.path.isfile(ark):
            raise self._error(key, f"is in {ark}, which is no file")
        return os.path.getsize(ark)

    def _open(self, ark: str) -> BinaryIO:
        try:
            return open(ark, "rb")
        except OSError as error:
            raise InputError(f"{self.scp}: {ark}: {error.strerror}") from error

    def _seek_values(self, file: BinaryIO, key: str) -> tuple[str, tuple[int, ...]]:
        """Type of numbers and shape of an array; the file is then at its first number."""
        entry = self._entries[key]
        name = f"{key} ".encode()
        start = entry.offset - len(name)
        file.seek(max(start, 0))
        if start < 0 or file.read(len(name)) != name:
            raise self._error(key, f"is not the entry at {entry.offset} of {entry.ark}")
        mark = file.read(2)
        kind = file.read(3)
        if mark != b"\0B" or kind not in ARRAY_TYPES:
            raise self._error(
                key, f"is {mark + kind!r} in {entry.ark}, expected a binary vector or matrix"
            )
        number_type, dimensions = ARRAY_TYPES[kind]
        sizes = file.read(5 * dimensions)
        shape = []
        # A size is four bytes long, and a byte before it says so.
        for length, size in struct.iter_unpack("<bi", sizes[: len(sizes) // 5 * 5]):
            if length == 4 and size > 0:
                shape.append(size)
        if len(shape) != dimensions:
            raise self._error(key, f"has no valid size in {entry.ark}, expected one number or more")
        end = file.tell() + prod(shape) * np.dtype(number_type).itemsize
        file_size = os.fstat(file.fileno()).st_size
        if end > file_size:
            raise self._error(key, f"ends at {end} of {entry.ark}, which has {file_size} bytes")
        return number_type, tuple(shape)

    def _error(self, key: str, message: str) -> InputError:
        return InputError(f"{self.scp}: {key} {message}")
