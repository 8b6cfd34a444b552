"""Rows of an index in arrays, which processes share without copies.

A list of objects is copied to every process that reads it, page by page, as each look at an object
changes its count of references. Arrays are only read.
"""

from collections.abc import Sequence

import numpy as np

from wedefense_lite.audio.utterance import Utterance

NUMBERS = ("offset", "size", "samples", "rate")
# Attributes that few tasks have; where a row has one, its object is kept.
OBJECTS = ("data", "segments", "source", "stems", "corpus", "part", "first")


class PackedTexts(Sequence[str]):
    """Texts in one array of bytes.

    Args:
        texts: texts; names of files may hold bytes that are no text.
    """

    def __init__(self, texts: Sequence[str]):
        encoded = [text.encode("utf-8", "surrogateescape") for text in texts]
        lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
        self._ends = np.cumsum(lengths)
        self._bytes = np.frombuffer(b"".join(encoded), np.uint8)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, number: int) -> str:
        begin = self._ends[number - 1] if number else 0
        return self._bytes[begin : self._ends[number]].tobytes().decode("utf-8", "surrogateescape")


class PackedNames(Sequence[str | None]):
    """Few different names, each as the number of one of them.

    Args:
        names: names, some None perhaps.
    """

    def __init__(self, names: Sequence[str | None]):
        self._names = list(dict.fromkeys(names))
        number_of_name = {name: number for number, name in enumerate(self._names)}
        self._numbers = np.fromiter(map(number_of_name.get, names), np.int32, len(names))

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, number: int) -> str | None:
        return self._names[self._numbers[number]]


class PackedRows(Sequence[Utterance]):
    """Utterances, of which each is made when it is asked for.

    Segments, stems, sources, corpora and audio in memory stay objects.

    Args:
        rows: rows of an index.
    """

    def __init__(self, rows: Sequence[Utterance]):
        self._keys = PackedTexts([row.key for row in rows])
        self._paths = _pack_paths([row.path for row in rows])
        self._labels = PackedNames([row.label for row in rows])
        self._formats = PackedNames([row.format for row in rows])
        self._numbers = {}
        for name in NUMBERS:
            values = [getattr(row, name) for row in rows]
            self._numbers[name] = np.array(values, dtype=np.int64)
        self._objects = {}
        plain = Utterance("", "")
        for name in OBJECTS:
            values = [getattr(row, name) for row in rows]
            default = getattr(plain, name)
            if any(value != default for value in values):
                self._objects[name] = values

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, number: int) -> Utterance:
        if not 0 <= number < len(self):
            raise IndexError(number)
        numbers = {name: int(values[number]) for name, values in self._numbers.items()}
        objects = {name: values[number] for name, values in self._objects.items()}
        return Utterance(
            self._keys[number],
            self._paths[number],
            label=self._labels[number],
            format=self._formats[number],
            **numbers,
            **objects,
        )


def _pack_paths(paths: list[str]) -> PackedTexts | PackedNames:
    """Paths: of shards, which are few, or of a file each."""
    is_of_shards = len(set(paths)) <= len(paths) // 2
    return PackedNames(paths) if is_of_shards else PackedTexts(paths)
