"""The plan of mixtures: a table with one line a mixture, from which the audio follows.

A plan has a header and tabs. Its columns are ``mixture label seconds``, then ``source_k label_k
speaker_k attack_k offset_k gain_k`` for each talker k from 1, all ``-`` where a mixture has fewer
talkers, then ``overlap level_difference sex``. Where they are used, ``level_k rir_k`` and ``noise
snr noise_offset`` follow their groups. ``-`` is an unknown or absent value. Times are in seconds,
gains are factors, levels and ratios are in dB; ``level_difference`` is known once a plan is
rendered.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from wedefense_lite.audio.index import check_keys
from wedefense_lite.audio.segments import parse_seconds
from wedefense_lite.files import (
    NO_VALUE,
    InputError,
    file_path,
    iter_rows,
    number,
    one_of,
    read_columns,
    write_lines,
)
from wedefense_lite.labels import BONAFIDE, LABELS, SPOOF

DECIMALS = 4  # of the numbers in a plan: a tenth of a millisecond, a ten-thousandth of a dB
MAX_NUMBER = 1000  # of gains and levels; powers of larger ones are no numbers of samples
# Of the table that the published study of mixed speakers comes with.
METADATA_COLUMNS = ("mixture", "file1", "label1", "file2", "label2", "mixed_label")


class Talker(NamedTuple):
    """One talker of a mixture; columns of a plan.

    Attributes:
        source: id of the utterance that it says.
        label: ``spoof`` or ``bonafide``.
        speaker: id, if known.
        attack: id of the attack, if known.
        offset: where it begins, seconds.
        gain: factor.
        level: dB against full scale while it talks, before its gain; None leaves it as loud as it
            is.
        rir: id of its room response, if any.
    """

    source: str
    label: str
    speaker: str | None
    attack: str | None
    offset: float
    gain: float
    level: float | None = None
    rir: str | None = None


@dataclass(frozen=True)
class Mixture:
    """One line of a plan.

    Attributes:
        mixture: id.
        label: class: an S for each spoofed talker, then a B for each bona fide one.
        seconds: length.
        talkers: two or more, in the order of their numbers.
        overlap: share of the length in which two or more talk.
        level_difference: loudest minus softest talker, dB, measured when the plan is rendered.
        sex: ``same`` or ``different``, if known.
        noise: id of its noise, if any.
        snr: power of all talkers over that of the noise, dB.
        noise_offset: seconds of the noise that are skipped.
    """

    mixture: str
    label: str
    seconds: float
    talkers: list[Talker]
    overlap: float
    level_difference: float | None = None
    sex: str | None = None
    noise: str | None = None
    snr: float | None = None
    noise_offset: float | None = None

    @property
    def utterance_label(self) -> str:
        """``bonafide`` only if every talker is."""
        return LABELS[SPOOF] if "S" in self.label else LABELS[BONAFIDE]


class Column(NamedTuple):
    """A column of a plan, or, with ``_k`` behind its name, of each of its talkers.

    Attributes:
        name: in the header.
        convert: text of a cell to its value; raises ValueError. ``-`` becomes None without it.
        optional: the header may lack it; it is written only where a mixture has a value.
    """

    name: str
    convert: Callable[[str], object] = str
    optional: bool = False


def parse_bounded(text: str) -> float:
    """Factor, share or level in dB in a text.

    Raises:
        ValueError: no number, or one that no audio has, such as "inf".
    """
    value = number(text)
    if not abs(value) <= MAX_NUMBER:
        raise ValueError(f"{text!r}, expected a number from {-MAX_NUMBER} to {MAX_NUMBER}")
    return value


# In the order of a file, in which the columns of the talkers stand between the two others.
LEADING_COLUMNS = (Column("label"), Column("seconds", parse_seconds))
TALKER_COLUMNS = (
    Column("source"),
    Column("label", one_of(LABELS)),
    Column("speaker"),
    Column("attack"),
    Column("offset", parse_seconds),
    Column("gain", parse_bounded),
    Column("level", parse_bounded, optional=True),
    Column("rir", optional=True),
)
TRAILING_COLUMNS = (
    Column("overlap", parse_bounded),
    Column("level_difference", parse_bounded),
    Column("sex"),
    Column("noise", optional=True),
    Column("snr", parse_bounded, optional=True),
    Column("noise_offset", parse_seconds, optional=True),
)


def write_plan(path: str | Path, plan: list[Mixture]) -> None:
    """Write a plan; if all mixtures are of two talkers, also ``<plan>.metadata.tsv``.

    That table has the published columns; a file is the id of its utterance.
    """
    most_talkers = max(len(mixture.talkers) for mixture in plan)
    columns = [Column("mixture"), *LEADING_COLUMNS]
    for talker_number in range(1, most_talkers + 1):
        columns.extend(_numbered(TALKER_COLUMNS, talker_number))
    columns.extend(TRAILING_COLUMNS)

    # Columns of absent talkers are not in the row of their mixture: get() gives None for these.
    rows = [_cells(mixture) for mixture in plan]
    names = []
    for column in columns:
        if not column.optional or any(row.get(column.name) is not None for row in rows):
            names.append(column.name)
    lines = ["\t".join(names)]
    for row in rows:
        lines.append("\t".join([_text(row.get(name)) for name in names]))
    # A plan that exists is complete, and so is the table beside it.
    metadata = file_path(path).with_suffix(".metadata.tsv")
    if most_talkers == 2:
        _write_metadata(metadata, plan)
    else:
        metadata.unlink(missing_ok=True)  # of an earlier plan
    write_lines(path, lines)


def _write_metadata(path: Path, plan: list[Mixture]) -> None:
    lines = ["\t".join(METADATA_COLUMNS)]
    for mixture in plan:
        first, second = mixture.talkers
        cells = [first.source, first.label, second.source, second.label]
        lines.append("\t".join([mixture.mixture, *cells, mixture.label]))
    write_lines(path, lines)


def _cells(mixture: Mixture) -> dict[str, str | float | None]:
    """Values of a line by the names of its columns."""
    cells = {"mixture": mixture.mixture}
    for column in (*LEADING_COLUMNS, *TRAILING_COLUMNS):
        cells[column.name] = getattr(mixture, column.name)
    for talker_number, talker in enumerate(mixture.talkers, 1):
        for column in TALKER_COLUMNS:
            cells[_numbered_name(column, talker_number)] = getattr(talker, column.name)
    return cells


def _text(value: str | float | None) -> str:
    if value is None:
        return NO_VALUE
    if isinstance(value, float):
        return f"{value:.{DECIMALS}f}"
    return value


def _numbered_name(column: Column, talker_number: int) -> str:
    return f"{column.name}_{talker_number}"


def _numbered(columns: Sequence[Column], talker_number: int) -> list[Column]:
    return [column._replace(name=_numbered_name(column, talker_number)) for column in columns]


class MixtureRow(NamedTuple):
    """One line of a table of mixtures.

    Attributes:
        mixture: id.
        cells: values by the names of columns, without columns that the header lacks.
        talkers: the same of each talker that the mixture has, in order.
    """

    mixture: str
    cells: dict[str, object]
    talkers: list[dict[str, object]]


def read_mixture_table(
    path: str | Path, columns: Sequence[Column], talker_columns: Sequence[Column]
) -> list[MixtureRow]:
    """Some columns of a plan, or of any table ``mixture label_1 label_2 ...``.

    Args:
        path: of the table.
        columns: of mixtures.
        talker_columns: of talkers, without their numbers; ``label`` among them.

    Raises:
        InputError: a column is missing, labels are not numbered from 1 to 2 or more, a cell can't
            be converted, a mixture is there twice, or has a talker after an absent one.
    """
    _, header = next(iter_rows(path, columns=None))
    numbers = range(1, 1 + _count_talkers(path, header))
    declared = list(columns)
    for talker_number in numbers:
        declared.extend(_numbered(talker_columns, talker_number))
    conversions = {}
    for column in declared:
        if column.name in header or not column.optional:
            conversions[column.name] = partial(_convert_cell, column.convert)

    rows = []
    for mixture, values in read_columns(path, conversions, ["mixture"]).items():
        cells = dict(zip(conversions, values))
        talkers = []
        for talker_number in numbers:
            # Cells of talkers are taken out; those of the mixture remain.
            talker = {}
            for column in talker_columns:
                name = _numbered_name(column, talker_number)
                if name in cells:
                    talker[column.name] = cells.pop(name)
            talkers.append(talker)
        rows.append(MixtureRow(mixture, cells, _present_talkers(path, mixture, talkers)))
    return rows


def _count_talkers(path: str | Path, header: Sequence[str]) -> int:
    labels = [name for name in header if name.startswith("label_")]
    expected = [f"label_{talker_number}" for talker_number in range(1, len(labels) + 1)]
    if len(labels) < 2 or labels != expected:
        columns = " ".join(labels) or "without label_1"
        raise InputError(f"{path}: columns {columns}, expected label_1, label_2 and so on")
    return len(labels)


def _convert_cell(convert: Callable[[str], object], text: str) -> object:
    return None if text == NO_VALUE else convert(text)


def _present_talkers(path: str | Path, mixture: str, talkers: list[dict]) -> list[dict]:
    """Talkers up to the first absent one, which has no label; a later one is refused."""
    present = [talker for talker in talkers if talker["label"] is not None]
    if not present or present != talkers[: len(present)]:
        raise InputError(
            f"{path}: {mixture} has talkers after an absent one, "
            f"expected {NO_VALUE} in the last columns only"
        )
    return present


def read_plan(path: str | Path) -> list[Mixture]:
    """Read a plan.

    Raises:
        InputError: as ``read_mixture_table``; an id that can't be that of an utterance; a
            mixture whose label or length is not that of its talkers.
    """
    rows = read_mixture_table(path, (*LEADING_COLUMNS, *TRAILING_COLUMNS), TALKER_COLUMNS)
    check_keys(path, [row.mixture for row in rows])
    plan = []
    for row in rows:
        talkers = [Talker(**cells) for cells in row.talkers]
        mixture = Mixture(row.mixture, talkers=talkers, **row.cells)
        _check_mixture(path, mixture)
        plan.append(mixture)
    return plan


def _check_mixture(path: str | Path, mixture: Mixture) -> None:
    """Refuse a mixture with a label, times or gains that its talkers contradict."""
    where = f"{path}: {mixture.mixture}"
    needed = {"seconds": mixture.seconds}
    for talker_number, talker in enumerate(mixture.talkers, 1):
        needed[f"source_{talker_number}"] = talker.source
        needed[f"offset_{talker_number}"] = talker.offset
        needed[f"gain_{talker_number}"] = talker.gain
    if mixture.noise:
        needed["snr"] = mixture.snr
        needed["noise_offset"] = mixture.noise_offset
    for name, value in needed.items():
        if value is None:
            raise InputError(f"{where}: {name} is {NO_VALUE}, expected a value")

    labels = [talker.label for talker in mixture.talkers]
    spoofs = labels.count(LABELS[SPOOF])
    expected = "S" * spoofs + "B" * (len(labels) - spoofs)
    if len(labels) < 2 or mixture.label != expected:
        raise InputError(
            f"{where}: label {mixture.label} of talkers {' '.join(labels)}, "
            "expected an S for each spoof, then a B for each bonafide, of two talkers or more"
        )
    for talker in mixture.talkers:
        if not 0 <= talker.offset < mixture.seconds:
            raise InputError(
                f"{where}: a talker begins at {talker.offset:g} s, "
                f"expected within the {mixture.seconds:g} s of the mixture"
            )
