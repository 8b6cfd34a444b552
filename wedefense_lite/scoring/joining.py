"""Parts of an extraction: of the processes of a job, and of the jobs of an array, joined to one."""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.files import InputError, abbreviate
from wedefense_lite.scoring.archives import read_archive, write_archive


def parse_part(text: str) -> tuple[int, int]:
    """Number of a part, from 1, and of all parts; of a text such as ``3/8``.

    Raises:
        InputError: another text.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", text, re.ASCII)
    if match is not None:
        number = int(match[1])
        parts = int(match[2])
        if 1 <= number <= parts:
            return number, parts
    raise InputError(f"--part {text!r}: expected the number of a part and of all, such as 3/8")


def part_path(archive: Path, number: int, parts: int) -> Path:
    """Archive of a part, in a folder beside that of the whole."""
    return archive.parent / f"part_{number}_of_{parts}" / archive.name


def block(index: list[Utterance], number: int, parts: int) -> list[Utterance]:
    """Rows of a part: all parts together are the list, in its order.

    Raises:
        InputError: more parts than utterances.
    """
    if parts > len(index):
        raise InputError(f"{parts} parts of {len(index)} utterances: take fewer")
    first = (number - 1) * len(index) // parts
    end = number * len(index) // parts
    return index[first:end]


def join(keys: list[str], shares: list[Path], archive: Path) -> None:
    """Join archives in list order, if they hold every row of the list exactly once.

    Args:
        keys: ids of the rows, in list order.
        shares: archives to join.
        archive: archive to write.

    Raises:
        InputError: a row that is missing, that two archives have, or that the list doesn't have.
    """
    rows: dict[str, Mapping[str, np.ndarray]] = {}  # by key, the archive that holds it
    for share in shares:
        table = share.with_suffix(".scp")
        if not table.exists():
            raise InputError(
                f"{table}: removed while the processes ran, expected all of their archives"
            )
        if table.stat().st_size == 0:  # a rank without utterances
            continue
        rows_of_share = read_archive(table)
        for key in rows_of_share:
            if key in rows:
                raise InputError(f"{archive}: {key} was written by two processes, expected one")
            rows[key] = rows_of_share
    missing = sorted(set(keys) - rows.keys())
    if missing:
        raise InputError(
            f"{archive}: {len(missing)} of {len(keys)} utterances missing: {abbreviate(missing)}"
        )
    strangers = sorted(rows.keys() - set(keys))
    if strangers:
        raise InputError(
            f"{archive}: {len(strangers)} written that the list lacks: {abbreviate(strangers)}"
        )
    if len(keys) != len(rows):
        raise InputError(
            f"{archive}: the list has {len(keys)} rows of {len(rows)} utterances, "
            "expected each once"
        )
    write_archive(archive, ((key, rows[key][key]) for key in keys))
