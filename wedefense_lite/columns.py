"""Columns of a text table, read at once: for tables in which nothing is wrong.

A loop over the lines of a table of a million trials takes longer than all of its metrics. Here the
fields of a whole file are found by a few passes over its bytes, and a column is an array. A table
that is anything but regular (a line of another length, a control character, a number that is none)
has no such columns. Its readers then go line by line, which takes longer and tells the line.
"""

from functools import cached_property

import numpy as np

BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # editors on Windows begin a file with it
TAB, NEWLINE, SPACE = b"\t\n "
# An array has the width of its longest field; one of a megabyte would make terabytes of a column.
MOST_PADDING = 8  # times the bytes of the table
# Pieces of work, so that what a step needs beside its result stays small.
ROWS_AT_A_TIME = 1 << 16
BYTES_AT_A_TIME = 1 << 20
PRINTABLE_ASCII = bytes([*range(SPACE, 127), TAB, NEWLINE])
NUMBER_CHARACTERS = b"0123456789+-.eE"
WORD = 8  # bytes of an integer
ODD_CONSTANT = np.uint64(0x9E3779B97F4A7C15)  # of multiplicative hashing, 2**64 / golden ratio
HIGH_BITS = np.uint64(32)


class Table:
    """Fields of a table whose lines have equally many of them.

    Args:
        content: the text, UTF-8.
        starts: ``(N, columns)`` place of the first byte of each field.
        ends: ``(N, columns)`` place behind its last byte.
    """

    def __init__(self, content: bytes, starts: np.ndarray, ends: np.ndarray):
        self.content = content
        self.starts = starts
        self.ends = ends

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def width(self) -> int:
        """Number of columns."""
        return self.starts.shape[1]

    def row(self, number: int) -> list[str]:
        """Fields of a row."""
        fields = []
        for start, end in zip(self.starts[number], self.ends[number]):
            fields.append(self.content[start:end].decode())
        return fields

    def rows(self, selected: slice | np.ndarray) -> "Table":
        """Table of some of the rows.

        Args:
            selected: as numpy takes it: a slice, or ``(N,)`` booleans.
        """
        return Table(self.content, self.starts[selected], self.ends[selected])

    @cached_property
    def _is_ascii(self) -> bool:
        return self.content.isascii()

    def texts(self, position: int) -> list[str]:
        """Fields of a column as strings."""
        starts = self.starts[:, position].tolist()
        ends = self.ends[:, position].tolist()
        if self._is_ascii:
            # A byte is a character, so that places in the bytes are those in the text.
            text = self.content.decode("ascii")
            return [text[start:end] for start, end in zip(starts, ends)]
        return [self.content[start:end].decode() for start, end in zip(starts, ends)]

    def column(self, position: int) -> np.ndarray | None:
        """Fields of a column as UTF-8.

        Returns:
            ``(N,)`` bytes of fixed width; None where a field is far longer than the others.
        """
        starts = self.starts[:, position]
        lengths = self.ends[:, position] - starts
        width = int(lengths.max(initial=1))
        if len(self) * width > MOST_PADDING * len(self.content):
            return None
        # Behind the last field there is nothing to read, so that the widest read is kept inside.
        characters = np.frombuffer(self.content, np.uint8)
        offsets = np.arange(width, dtype=starts.dtype)
        cells = np.empty((len(self), width), np.uint8)
        for first in range(0, len(self), ROWS_AT_A_TIME):
            rows = slice(first, first + ROWS_AT_A_TIME)
            places = starts[rows, None] + offsets
            np.minimum(places, len(characters) - 1, out=places)
            is_inside = offsets < lengths[rows, None]
            cells[rows] = characters[places] * is_inside
        return cells.view(f"S{width}").ravel()


def table_of(content: bytes, minimum: int = 1, rest: bool = False) -> Table | None:
    """Fields of a text that spaces and tabs separate, if its lines are regular.

    Blank lines are left out. Lines may end as on Windows.

    Args:
        content: the whole file.
        minimum: least number of fields of a line.
        rest: whether the last of ``minimum`` fields is all the rest of a line, with its spaces;
            else each line must have as many fields as the first one.

    Returns:
        the table; None for an empty one, lines of different numbers of fields, no UTF-8, and
        characters that are neither printable nor spaces, tabs and ends of lines.
    """
    content = content.removeprefix(BYTE_ORDER_MARK).replace(b"\r\n", b"\n")
    if not _is_printable(content):
        return None
    if not content.endswith(b"\n"):
        content += b"\n"
    characters = np.frombuffer(content, np.uint8)
    edges = _edges(characters)
    if len(edges) == 0:
        return None
    starts = edges[0::2]
    ends = edges[1::2]
    counts = _fields_by_line(characters, starts)
    if rest:
        if counts.min() < minimum:
            return None
        firsts = np.cumsum(counts) - counts
        fields = firsts[:, None] + np.arange(minimum)
        lasts = fields.copy()
        lasts[:, -1] = firsts + counts - 1
        return Table(content, starts[fields], ends[lasts])
    width = counts[0]
    if width < minimum or (counts != width).any():
        return None
    return Table(content, starts.reshape(-1, width), ends.reshape(-1, width))


def _edges(characters: np.ndarray) -> np.ndarray:
    """Places where fields begin and end, by turns, in a text that ends in white space."""
    whole = np.int32 if len(characters) < np.iinfo(np.int32).max else np.int64
    pieces = []
    was_space = True
    for first in range(0, len(characters), BYTES_AT_A_TIME):
        # In UTF-8 these bytes are never a part of another character.
        is_space = characters[first : first + BYTES_AT_A_TIME] <= SPACE
        is_edge = np.diff(is_space, prepend=was_space)
        pieces.append((np.flatnonzero(is_edge) + first).astype(whole))
        was_space = is_space[-1]
    return np.concatenate(pieces)


def _fields_by_line(characters: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Number of fields of each line that isn't blank."""
    line_ends = np.flatnonzero(characters == NEWLINE).astype(starts.dtype)
    counts = np.diff(np.searchsorted(starts, line_ends), prepend=0)
    return counts[counts > 0]


def _is_printable(content: bytes) -> bool:
    """Whether a text is UTF-8 of printable characters, spaces, tabs and ends of lines."""
    if content.isascii():
        return not content.translate(None, PRINTABLE_ASCII)
    try:
        text = content.replace(b"\t", b" ").replace(b"\n", b" ").decode()
    except UnicodeDecodeError:
        return False
    return text.isprintable()


def encoded(texts: list[str]) -> np.ndarray | None:
    """Strings as a column.

    Returns:
        ``(N,)`` bytes of fixed width; None where one is far longer than the others.
    """
    longest = max(map(len, texts), default=1)
    if longest * len(texts) > MOST_PADDING * sum(map(len, texts)):
        return None
    try:
        return np.array(texts, dtype=f"S{max(longest, 1)}")
    except UnicodeEncodeError:
        return np.array([text.encode() for text in texts])


def decoded(column: np.ndarray) -> np.ndarray:
    """A column of bytes as one of strings."""
    characters = column.view(np.uint8).reshape(len(column), -1)
    if characters.max(initial=0) < 128:
        return characters.astype(np.uint32).view(f"U{characters.shape[1]}").ravel()
    return np.char.decode(column, "utf-8")


def strings(column: np.ndarray) -> list[str]:
    """A column of bytes as a list of strings."""
    texts = []
    for first in range(0, len(column), ROWS_AT_A_TIME):
        texts += decoded(column[first : first + ROWS_AT_A_TIME]).tolist()
    return texts


def numbers(column: np.ndarray) -> np.ndarray | None:
    """Numbers of a column in decimal digits, as ``float`` reads them.

    Returns:
        ``(N,)`` numbers, infinite where one has too large an exponent; None where a field is no
        such number, or is one in words (``inf``, ``nan``).
    """
    is_known = np.zeros(256, dtype=bool)
    is_known[list(NUMBER_CHARACTERS)] = True
    is_known[0] = True  # behind the end of a shorter field
    if not is_known[column.view(np.uint8)].all():
        return None
    try:
        return column.astype(np.float64)
    except ValueError:
        return None


def _hashes(column: np.ndarray, width: int) -> np.ndarray:
    """An integer for each field that differs where fields do, but for chance.

    Args:
        column: ``(N,)`` bytes.
        width: number of bytes that fields are padded to, a multiple of ``WORD``.
    """
    words = column.astype(f"S{width}").view(np.uint64).reshape(len(column), -1)
    hashes = np.zeros(len(column), np.uint64)
    for word in words.T:
        hashes ^= word
        hashes *= ODD_CONSTANT
        hashes ^= hashes >> HIGH_BITS
    return hashes


def _padded_width(*columns: np.ndarray) -> int:
    longest = max(column.dtype.itemsize for column in columns)
    return -(-longest // WORD) * WORD


def is_unique(column: np.ndarray) -> bool:
    """Whether no field is there twice; by rare chance False where none is."""
    hashes = np.sort(_hashes(column, _padded_width(column)))
    return bool((hashes[1:] != hashes[:-1]).all())


def distinct(column: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct fields of a column, sorted, and the place of each field among them."""
    hashes = _hashes(column, _padded_width(column))
    _, firsts, places = np.unique(hashes, return_index=True, return_inverse=True)
    values, order = np.unique(column[firsts], return_inverse=True)
    places = order[places]
    if (values[places] != column).any():  # two fields of one hash
        return np.unique(column, return_inverse=True)
    return values, places


def find(fields: np.ndarray, column: np.ndarray) -> np.ndarray | None:
    """Places of fields in a column in which each is once.

    Args:
        fields: ``(N,)`` bytes.
        column: ``(M,)`` bytes.

    Returns:
        ``(N,)`` row of each field; None where one isn't there.
    """
    width = _padded_width(fields, column)
    hashes = _hashes(column, width)
    order = np.argsort(hashes)
    field_hashes = _hashes(fields, width)
    # A search in rising order finds its places in the cache of the processor.
    field_order = np.argsort(field_hashes)
    places = np.searchsorted(hashes[order], field_hashes[field_order])
    rows = np.empty(len(fields), dtype=np.intp)
    rows[field_order] = order[np.minimum(places, len(column) - 1)]
    if (column[rows] != fields).any():
        return None
    return rows
