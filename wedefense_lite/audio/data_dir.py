"""Data directories ``data/<set>/``: written by the preparation of a corpus, checked before use.

All files are sorted as ``LC_ALL=C`` sorts. ``wav.scp utt2lab utt2dur utt2spk utt2attack`` have a line
an utterance; ``lab2utt spk2utt lab2num_utts cm_key_file.txt`` follow from these. Where a corpus says
more of its utterances, ``meta.tsv`` has it, a table with a header; of its speakers, ``spk2gender``, ``f`` or
``m``. Audio that is in shards only has a ``shard.list`` in the place of ``wav.scp``.
"""

import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from wedefense_lite.audio.index import check_keys, read_index
from wedefense_lite.audio.reading import measured
from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.files import (
    NO_VALUE,
    InputError,
    abbreviate,
    read_labels,
    read_table,
    write_lines,
    write_table,
)
from wedefense_lite.labels import BONAFIDE, LABELS

COLUMNS = {"wav.scp": "wav", "utt2lab": "label", "utt2spk": "speaker", "utt2attack": "attack"}
KEY_FILE, META_FILE, SHARD_LIST = "cm_key_file.txt", "meta.tsv", "shard.list"


class Trial(NamedTuple):
    """One line of a corpus's protocol: an utterance, its audio file, label, speaker and attack, and what
    else is known of it, by column; all trials of a set have the same columns."""

    key: str
    wav: str
    label: str
    speaker: str
    attack: str = NO_VALUE
    meta: Mapping[str, str] = MappingProxyType({})


class Counts(NamedTuple):
    """Numbers of utterances that a corpus's publishers state for a set."""

    bonafide: int
    spoof: int


def durations(wavs: dict[str, str], sample_rate: int, num_threads: int) -> dict[str, str]:
    """``utt2dur`` of a ``wav.scp``, from the headers: seconds, to a tenth of a millisecond."""
    rows = measured([Utterance(key, wav) for key, wav in wavs.items()], sample_rate, num_threads)
    return {row.key: f"{row.samples / sample_rate:.4f}" for row in rows}


def _derived(labels: dict[str, str], speakers: dict[str, str]) -> dict[str, dict[str, str]]:
    """The files that follow from sorted tables of labels and speakers, the key file with its header."""
    files: dict[str, dict[str, str]] = {}
    for file, table in {"lab2utt": labels, "spk2utt": speakers}.items():
        groups: dict[str, list[str]] = {}
        for key, value in table.items():
            groups.setdefault(value, []).append(key)
        files[file] = {value: " ".join(keys) for value, keys in groups.items()}
    files["lab2num_utts"] = {label: str(count) for label, count in Counter(labels.values()).items()}
    files[KEY_FILE] = {"filename": "cm-label"} | labels
    return files


def write_data_dirs(
    data_dir: str | Path,
    sets: dict[str, list[Trial]],
    counts: dict[str, Counts] | None = None,
    sample_rate: int = 16000,
    num_threads: int = 8,
) -> None:
    """Write ``data_dir/<set>/`` for all sets of a corpus, after everything about it is checked.

    Args:
        sets: name of a set to its trials.
        counts: what some or all of the sets must have.
        sample_rate: the rate in Hz that all files must have.

    Raises:
        InputError: other counts, an utterance that is there twice, an unknown label, or audio that
            is missing or can't be read; says how many and names the first. Nothing is written.
    """
    for name, trials in sets.items():
        have = Counter(trial.label for trial in trials)
        if unknown := have.keys() - set(LABELS):
            raise InputError(f"{name}: labels {sorted(unknown)}, expected {LABELS}")
        if counts and name in counts and have != (published := counts[name]._asdict()):
            hint = "--expect_counts false accepts a part of the corpus"
            raise InputError(f"{name}: {dict(have)} listed, {published} published; {hint}")
    check_keys(data_dir, [trial.key for trials in sets.values() for trial in trials])
    wavs = {trial.key: trial.wav for trials in sets.values() for trial in trials}
    seconds = durations(wavs, sample_rate, num_threads)
    for name, trials in sets.items():
        rows = sorted(trials, key=lambda trial: trial.key.encode())
        tables = {
            file: {row.key: getattr(row, column) for row in rows}
            for file, column in COLUMNS.items()
        }
        tables["utt2dur"] = {row.key: seconds[row.key] for row in rows}
        write_tables(Path(data_dir, name), tables)
        if rows and rows[0].meta:
            header = "\t".join(["filename", *rows[0].meta])
            lines = ("\t".join([row.key, *row.meta.values()]) for row in rows)
            write_lines(Path(data_dir, name, META_FILE), [header, *lines])
        logging.info(
            "wrote %s: %s", Path(data_dir, name), dict(Counter(tables["utt2lab"].values()))
        )


def write_tables(folder: Path, tables: dict[str, dict[str, str]]) -> None:
    """Write tables with a line an utterance, ``utt2lab`` among them, and the files that follow from these; no earlier
    ones of speakers and attacks stay."""
    ordered = {
        file: {key: table[key] for key in sorted(table, key=str.encode)}
        for file, table in tables.items()
    }
    ordered |= _derived(ordered["utt2lab"], ordered.get("utt2spk", {}))
    write_lines(folder / KEY_FILE, map("\t".join, ordered.pop(KEY_FILE).items()))
    for earlier in {"utt2spk", "spk2utt", "utt2attack"} - {
        file for file in ordered if ordered[file]
    }:
        (folder / earlier).unlink(missing_ok=True)
    for file, table in ordered.items():
        if table:
            write_table(folder / file, table)


def check_data_dir(folder: str | Path) -> dict[str, dict[str, str]]:
    """Check a data directory; only ``utt2lab`` and ``wav.scp``, or ``shard.list``, have to be there.

    Returns:
        the tables with a line an utterance, by file name.

    Raises:
        InputError: the first thing that is wrong; names the file.
    """
    folder = Path(folder)
    there = [
        name for name in ("wav.scp", "utt2dur", "utt2spk", "utt2attack") if (folder / name).exists()
    ]
    tables = {name: read_table(folder / name) for name in there}
    tables["utt2lab"] = labels = read_labels(folder / "utt2lab")
    if "wav.scp" not in there:
        if not (folder / SHARD_LIST).exists():
            raise InputError(f"{folder}: neither wav.scp nor {SHARD_LIST} is there")
        read_index(str(folder / SHARD_LIST), "shard", labels)
    for name, table in tables.items():
        check_keys(folder / name, table, labels)
        if list(table) != sorted(table, key=str.encode):
            raise InputError(f"{folder / name}: not sorted; sort it with LC_ALL=C")
    if missing := set(LABELS) - set(labels.values()):
        raise InputError(f"{folder / 'utt2lab'}: no utterance is {missing.pop()}")
    for key, seconds in tables.get("utt2dur", {}).items():
        if not re.fullmatch(r"(?=.*[1-9])\d*\.?\d+", seconds):
            raise InputError(
                f"{folder / 'utt2dur'}: {key} lasts {seconds!r} s, expected more than 0"
            )
    for key, attack in tables.get("utt2attack", {}).items():
        if (attack == NO_VALUE) != (labels[key] == LABELS[BONAFIDE]):
            raise InputError(
                f"{folder / 'utt2attack'}: {key} is {labels[key]}, its attack {attack}"
            )
    for name, expected in _derived(labels, tables.get("utt2spk", {})).items():
        if (folder / name).exists() and (found := read_table(folder / name)) != expected:
            differing = sorted(key for key, _ in found.items() ^ expected.items())
            raise InputError(
                f"{folder / name}: does not follow from the other files at {differing[0]}"
            )
    return tables


def check_data_dirs(folders: Sequence[str | Path]) -> None:
    """Check data directories, each and against each other. Speakers in two sets are reported only.

    Raises:
        InputError: as :func:`check_data_dir`, or an utterance that is in two sets.
    """
    sets = {str(folder): check_data_dir(folder) for folder in folders}
    for name, tables in sets.items():
        logging.info(
            "%s: %d utterances, %s",
            name,
            len(tables["utt2lab"]),
            Counter(tables["utt2lab"].values()),
        )
    for (one, tables), (other, others) in combinations(sets.items(), 2):
        if shared := sorted(tables["utt2lab"].keys() & others["utt2lab"].keys()):
            raise InputError(
                f"{one} and {other}: {len(shared)} utterances in both: {abbreviate(shared)}"
            )
        speakers, others = (set(both.get("utt2spk", {}).values()) for both in (tables, others))
        if shared := sorted(speakers & others):
            logging.warning(
                "%s and %s: %d speakers in both: %s", one, other, len(shared), abbreviate(shared)
            )
