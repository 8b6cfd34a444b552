"""The plan of mixtures: a table with one line a mixture."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from itertools import zip_longest
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from wedefense_lite.audio.index import check_keys
from wedefense_lite.files import NO_VALUE, InputError, iter_rows, number, read_columns, write_lines
from wedefense_lite.labels import LABELS

METADATA = "mixture file1 label1 file2 label2 mixed_label"
OPTIONAL = ("level", "rir", "noise", "snr", "noise_offset")


class Talker(NamedTuple):
    """One talker of a mixture; columns of a plan."""

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
    """One line of a plan."""

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
    def any_spoof(self) -> str:
        """``bonafide`` only if every talker is."""
        return LABELS["S" not in self.label]


def write_plan(path: str | Path, plan: list[Mixture]) -> None:
    """Write a plan; one of two talkers also as ``<plan>.metadata.tsv``, in the published columns: a file is the
    id of its utterance."""
    most = max(len(mixture.talkers) for mixture in plan)
    rows = [{name: _text(cell) for name, cell in _cells(mixture, most)} for mixture in plan]
    used = [
        name
        for name in rows[0]
        if _field(name) not in OPTIONAL or any(row[name] != NO_VALUE for row in rows)
    ]
    write_lines(path, ["\t".join(used), *("\t".join([row[name] for name in used]) for row in rows)])
    if most == 2:
        files = (
            [one.mixture, *(cell for talker in one.talkers for cell in talker[:2]), one.label]
            for one in plan
        )
        write_lines(
            Path(path).with_suffix(".metadata.tsv"), map("\t".join, [METADATA.split(), *files])
        )


def as_written(plan: list[Mixture]) -> list[Mixture]:
    """A plan with the numbers that it has as a file, so that what is made of either is the same."""
    with TemporaryDirectory() as folder:
        write_plan(Path(folder, "plan.tsv"), plan)
        return read_plan(Path(folder, "plan.tsv"))


def _cells(mixture: Mixture, talkers: int) -> Iterable[tuple[str, str | float | None]]:
    """Columns and cells of a line for so many talkers."""
    for name, value in vars(mixture).items():
        people = [*value, *[()] * (talkers - len(value))] if name == "talkers" else []
        yield from [] if people else [(name, value)]
        for place, one in enumerate(people, 1):
            yield from (
                (f"{field}_{place}", cell) for field, cell in zip_longest(Talker._fields, one)
            )


def _text(value: str | float | None) -> str:
    return NO_VALUE if value is None else f"{value:.4f}" if isinstance(value, float) else value


def _field(column: str) -> str:
    return re.sub(r"_\d+$", "", column)


def read_plan(path: str | Path) -> list[Mixture]:
    """Read a plan.

    Raises:
        InputError: a column is missing, a cell is no number where one is expected, an id can't be that of an
            utterance, or a mixture's label or length is not that of its talkers.
    """
    kinds = Talker.__annotations__ | Mixture.__annotations__
    header = next(iter_rows(path, columns=None))[1]
    places = range(1, 1 + sum(_field(name) == "source" for name in header))
    own = [field.name for field in fields(Mixture) if field.name not in ("mixture", "talkers")]
    names = [*own, *(f"{field}_{place}" for place in places for field in Talker._fields)]

    def convert(name: str):
        to = number if kinds[_field(name)] in (float, float | None) else str
        return lambda text: None if text == NO_VALUE else to(text)

    wanted = {
        name: convert(name) for name in names if name in header or _field(name) not in OPTIONAL
    }
    table = read_columns(path, wanted, ["mixture"])
    check_keys(path, table)
    plan = []
    for key, cells in table.items():
        row = dict.fromkeys(names) | dict(zip(wanted, cells))
        people = [
            Talker(*(row[f"{field}_{place}"] for field in Talker._fields)) for place in places
        ]
        mixture = Mixture(
            key, talkers=[one for one in people if one.source], **{name: row[name] for name in own}
        )
        plan.append(_consistent(path, mixture))
    return plan


def _consistent(path: str | Path, mixture: Mixture) -> Mixture:
    """The mixture, if its label, times and gains are those of talkers."""
    labels = sorted((one.label or "" for one in mixture.talkers), reverse=True)
    name = "".join("SB"[LABELS.index(label)] if label in LABELS else "?" for label in labels)
    numbers = [
        mixture.seconds,
        *(cell for one in mixture.talkers for cell in (one.offset, one.gain)),
    ]
    numbers += [mixture.snr, mixture.noise_offset] if mixture.noise else []
    where = f"{path}: {mixture.mixture}"
    if len(name) < 2 or name != mixture.label or None in numbers:
        raise InputError(
            f"{where}: {mixture.label} of talkers that are {labels}, or numbers are missing"
        )
    if not all(0 <= one.offset < mixture.seconds < inf for one in mixture.talkers):
        raise InputError(f"{where}: talkers must begin in the {mixture.seconds} s that it lasts")
    return mixture
