"""Data directories ``data/<set>/``: written by the preparation of a corpus, checked before use.

All files are sorted as ``LC_ALL=C`` sorts. ``wav.scp utt2lab utt2dur utt2spk utt2attack`` have a
line an utterance; ``lab2utt spk2utt lab2num_utts cm_key_file.txt`` follow from these. Further
columns of a corpus are in ``meta.tsv``, a table with a header; ``f`` or ``m`` of a speaker is in
``spk2gender``; names of which ids were made (``ids.make_id``) are in ``utt2orig``; a set of several
corpora has ``utt2corpus``. Where audio is in shards only, there is a ``shard.list`` instead of
``wav.scp``.
"""

import logging
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from wedefense_lite.audio.duplicates import find_duplicates
from wedefense_lite.audio.index import check_keys, read_index, read_wavs
from wedefense_lite.audio.reading import is_command, measure_lengths
from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.files import (
    NO_VALUE,
    InputError,
    abbreviate,
    check_writable,
    read_labels,
    read_table,
    write_lines,
    write_table,
)
from wedefense_lite.labels import BONAFIDE, LABELS

COLUMNS = {"wav.scp": "wav", "utt2lab": "label", "utt2spk": "speaker", "utt2attack": "attack"}
UTT2LAB = "utt2lab"
KEY_FILE = "cm_key_file.txt"
META_FILE = "meta.tsv"
NAME_FILE = "utt2orig"
CORPUS_FILE = "utt2corpus"  # of a set of several corpora
SHARD_LIST = "shard.list"
DURATION = re.compile(r"(?=.*[1-9])\d*\.?\d+")  # a decimal number above 0


class Trial(NamedTuple):
    """One line of a corpus's protocol; all trials of a set have the same columns.

    Attributes:
        key: id of the utterance.
        wav: its audio file.
        label: ``spoof`` or ``bonafide``.
        speaker: id of the speaker.
        attack: id of the attack; ``-`` for bona fide utterances.
        meta: further columns by name.
        name: name that the corpus has for the utterance, of which the id was made
            (``ids.make_id``); empty where it is the id.
    """

    key: str
    wav: str
    label: str
    speaker: str
    attack: str = NO_VALUE
    meta: Mapping[str, str] = MappingProxyType({})
    name: str = ""


class Counts(NamedTuple):
    """Numbers of utterances that a corpus's publishers state for a set."""

    bonafide: int
    spoof: int


def durations(wavs: dict[str, str], sample_rate: int, num_threads: int) -> dict[str, str]:
    """``utt2dur`` of a ``wav.scp``: seconds, to a tenth of a millisecond.

    Args:
        wavs: utterance to its audio file.
        sample_rate: rate in Hz at which the files will be read.
        num_threads: threads that read headers, and count where those can lie.
    """
    rows = [Utterance(key, wav) for key, wav in wavs.items()]
    rows = measure_lengths(rows, sample_rate, num_threads)
    return {row.key: f"{row.samples / row.rate:.4f}" for row in rows}


def check_file_names(source: str | Path, wavs: Mapping[str, str]) -> None:
    """Refuse names of files that would be something else in a ``wav.scp``: a command, or two lines.

    Args:
        source: corpus or folder of the files, for errors.
        wavs: utterance to its audio file.

    Raises:
        InputError: a name ends in ``|`` or white space, or holds characters that can't be printed.
    """
    refused = []
    for key, wav in wavs.items():
        if is_command(wav) or wav != wav.strip() or not wav.isprintable():
            refused.append(f"{key}: {ascii(wav)}")
    if refused:
        raise InputError(
            f"{source}: {len(refused)} names of files end in '|' or white space, or hold what "
            f"can't be printed; rename them: {abbreviate(refused)}"
        )


def _derive_files(labels: dict[str, str], speakers: dict[str, str]) -> dict[str, dict[str, str]]:
    """Tables that follow from labels and speakers, both sorted; the key file with its header."""
    counts = Counter(labels.values())
    return {
        "lab2utt": _invert(labels),
        "spk2utt": _invert(speakers),
        "lab2num_utts": {label: str(count) for label, count in counts.items()},
        KEY_FILE: {"filename": "cm-label"} | labels,
    }


def _invert(table: dict[str, str]) -> dict[str, str]:
    """Each value of a table with its keys, separated by spaces."""
    groups: dict[str, list[str]] = {}
    for key, value in table.items():
        groups.setdefault(value, []).append(key)
    return {value: " ".join(keys) for value, keys in groups.items()}


def _sort_table(table: dict[str, str]) -> dict[str, str]:
    return {key: table[key] for key in sorted(table, key=str.encode)}


def write_data_dirs(
    data_dir: str | Path,
    sets: dict[str, list[Trial]],
    counts: Mapping[str, Counts | int] | None = None,
    sample_rate: int = 16000,
    num_threads: int = 8,
    more_files: Mapping[str, Mapping[str, Sequence[str] | None]] = MappingProxyType({}),
    relative: bool = False,
) -> None:
    """Write ``data_dir/<set>/`` for all sets of a corpus, after everything about it is checked.

    Args:
        data_dir: folder of the data directories.
        sets: name of a set to its trials.
        counts: published numbers of utterances of some or all sets, by class or together.
        sample_rate: rate in Hz at which the files will be read.
        num_threads: threads that read headers.
        more_files: lines of further files by set and file name, written before ``utt2lab``, so that
            no set has those of an earlier run; None where an earlier file is to be removed.
        relative: write paths from the data directory to the audio, which stay right where both are
            moved together; otherwise absolute ones, which are right from everywhere.

    Raises:
        InputError: no utterance, other counts, an utterance that is listed twice, an unknown label,
            or audio that is missing or can't be read; says how many and names the first. Nothing is
            written.
    """
    for name, trials in sets.items():
        check_labels(name, trials, counts.get(name) if counts else None)
    all_trials = [trial for trials in sets.values() for trial in trials]
    check_keys(data_dir, [trial.key for trial in all_trials])
    wavs = {trial.key: trial.wav for trial in all_trials}
    check_file_names(data_dir, wavs)
    for name in sets:
        check_writable(Path(data_dir, name, UTT2LAB))
    seconds = durations(wavs, sample_rate, num_threads)
    # All at once: a run that is killed leaves no set of this corpus beside one of another.
    for name in sets:
        Path(data_dir, name, UTT2LAB).unlink(missing_ok=True)
    for name, trials in sets.items():
        for file, lines in more_files.get(name, {}).items():
            path = Path(data_dir, name, file)
            if lines is None:
                path.unlink(missing_ok=True)
            else:
                write_lines(path, lines)
        _write_data_dir(Path(data_dir, name), trials, seconds, relative)


def check_labels(name: str, trials: list[Trial], published: Counts | int | None) -> None:
    """Refuse an empty set, unknown labels, and other numbers than the published ones.

    Args:
        name: of the set, for errors.
        trials: its trials.
        published: numbers of utterances; None where they are not compared.

    Raises:
        InputError: says what is listed.
    """
    listed = Counter(trial.label for trial in trials)
    if not trials:
        raise InputError(f"{name}: no utterance is listed, expected a line each")
    unknown = listed.keys() - set(LABELS)
    if unknown:
        raise InputError(f"{name}: labels {sorted(unknown)}, expected {LABELS}")
    hint = "--expect_counts false accepts a part of the corpus"
    if isinstance(published, int):
        if len(trials) != published:
            raise InputError(f"{name}: {len(trials)} listed, {published} published; {hint}")
    elif published is not None:
        # A class without utterances is not in what is listed.
        expected = published._asdict()
        if listed != Counter(expected):
            raise InputError(f"{name}: {dict(listed)} listed, {expected} published; {hint}")


def _write_data_dir(
    folder: Path, trials: list[Trial], seconds: dict[str, str], relative: bool
) -> None:
    rows = sorted(trials, key=lambda trial: trial.key.encode())
    tables = {}
    for file, column in COLUMNS.items():
        tables[file] = {row.key: getattr(row, column) for row in rows}
    tables["wav.scp"] = {row.key: os.path.abspath(row.wav) for row in rows}
    if relative:
        start = os.path.realpath(folder)
        for key, wav in tables["wav.scp"].items():
            tables["wav.scp"][key] = os.path.relpath(wav, start)
    tables["utt2dur"] = {row.key: seconds[row.key] for row in rows}
    if rows and rows[0].meta:
        lines = ["\t".join(["filename", *rows[0].meta])]
        for row in rows:
            lines.append("\t".join([row.key, *row.meta.values()]))
        write_lines(folder / META_FILE, lines)
    else:
        (folder / META_FILE).unlink(missing_ok=True)
    names = {row.key: row.name or row.key for row in rows}
    if any(key != name for key, name in names.items()):
        tables[NAME_FILE] = names
    write_tables(folder, tables)
    logging.info("wrote %s: %s", folder, dict(Counter(tables["utt2lab"].values())))


def write_tables(folder: Path, tables: dict[str, dict[str, str]]) -> None:
    """Write the tables of a data directory, and the files that follow from them.

    Earlier tables of speakers and attacks that the new ones lack are removed. ``utt2lab``, without
    which no stage goes on, is gone meanwhile and comes last: tables of two runs are never mixed.

    Args:
        folder: the data directory.
        tables: tables with a line an utterance by file name, ``utt2lab`` among them.
    """
    (folder / UTT2LAB).unlink(missing_ok=True)
    files = {file: _sort_table(table) for file, table in tables.items()}
    labels = files.pop(UTT2LAB)
    files |= _derive_files(labels, files.get("utt2spk", {}))
    key_lines = ["\t".join(cells) for cells in files.pop(KEY_FILE).items()]
    write_lines(folder / KEY_FILE, key_lines)
    for file in ("utt2spk", "spk2utt", "utt2attack", NAME_FILE, CORPUS_FILE):
        if not files.get(file):
            (folder / file).unlink(missing_ok=True)
    for file, table in files.items():
        if table:
            write_table(folder / file, table)
    write_table(folder / UTT2LAB, labels)


def remove_tables(folder: Path) -> None:
    """Remove the tables of an earlier data directory, where the new audio has no labels."""
    for name in (UTT2LAB, "utt2dur", "utt2spk", "utt2attack", NAME_FILE, CORPUS_FILE):
        (folder / name).unlink(missing_ok=True)
    for name in ("lab2utt", "spk2utt", "lab2num_utts", KEY_FILE):
        (folder / name).unlink(missing_ok=True)


def check_data_dir(folder: str | Path, has_labels: bool = True) -> dict[str, dict[str, str]]:
    """Check a data directory; only ``utt2lab`` and ``wav.scp``, or ``shard.list``, have to be
    there. Audio files are not looked at.

    Args:
        folder: the data directory.
        has_labels: whether there has to be an ``utt2lab``, or there must be none.

    Returns:
        the tables with a line an utterance, by file name.

    Raises:
        InputError: the first thing that is wrong; names the file.
    """
    folder = Path(folder)
    tables = {}
    for name in ("wav.scp", "utt2dur", "utt2spk", "utt2attack", NAME_FILE, CORPUS_FILE):
        # A link that leads nowhere is a table that is lost, and none that was never there.
        if os.path.lexists(folder / name):
            tables[name] = read_table(folder / name)
    if "wav.scp" in tables:
        tables["wav.scp"] = read_wavs(folder / "wav.scp")
    if not has_labels:
        return _check_unlabelled(folder, tables)
    labels = read_labels(folder / "utt2lab")
    tables["utt2lab"] = labels
    if "wav.scp" not in tables:
        if not (folder / SHARD_LIST).exists():
            raise InputError(f"{folder}: neither wav.scp nor {SHARD_LIST} is there")
        read_index(str(folder / SHARD_LIST), "shard", labels)
    _check_tables(folder, tables, labels)
    for label in LABELS:
        if label not in labels.values():
            logging.info("%s: no utterance is %s: a set to score, whose EER is n/a", folder, label)
    for key, attack in tables.get("utt2attack", {}).items():
        has_attack = attack != NO_VALUE
        is_bonafide = labels[key] == LABELS[BONAFIDE]
        if has_attack == is_bonafide:
            raise InputError(
                f"{folder / 'utt2attack'}: {key} is {labels[key]}, its attack {attack}"
            )
    _check_derived_files(folder, labels, tables.get("utt2spk", {}))
    return tables


def _check_unlabelled(folder: Path, tables: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    """Check a data directory without labels, see ``check_data_dir``."""
    if (folder / UTT2LAB).exists():
        raise InputError(f"{folder / UTT2LAB}: expected none, as --labels none says")
    if "wav.scp" in tables:
        _check_tables(folder, tables, tables["wav.scp"])
        return tables
    if not (folder / SHARD_LIST).exists():
        raise InputError(f"{folder}: neither wav.scp nor {SHARD_LIST} is there")
    index = read_index(str(folder / SHARD_LIST), "shard", lists_streams=True)
    shards = {row.key: row.path for row in index}
    _check_tables(folder, tables, shards)
    return tables | {"wav.scp": _sort_table(shards)}


def _check_tables(
    folder: Path, tables: dict[str, dict[str, str]], utterances: Mapping[str, str]
) -> None:
    """Check that tables are sorted and have a line for each of the utterances."""
    for name, table in tables.items():
        check_keys(folder / name, table, utterances)
        if list(table) != sorted(table, key=str.encode):
            raise InputError(f"{folder / name}: not sorted; sort it with LC_ALL=C")
    for key, seconds in tables.get("utt2dur", {}).items():
        if not DURATION.fullmatch(seconds):
            raise InputError(
                f"{folder / 'utt2dur'}: {key} lasts {seconds!r} s, expected more than 0"
            )


def _check_derived_files(folder: Path, labels: dict[str, str], speakers: dict[str, str]) -> None:
    for name, expected in _derive_files(labels, speakers).items():
        if not (folder / name).exists():
            continue
        table = read_table(folder / name)
        if table != expected:
            differing = sorted(key for key, _ in table.items() ^ expected.items())
            raise InputError(
                f"{folder / name}: does not follow from the other files at {differing[0]}"
            )


def check_data_dirs(
    folders: Sequence[str | Path], has_labels: bool = True, compares_audio: bool = False
) -> None:
    """Check data directories, each and against each other.

    Speakers in two sets and recordings in two sets under two ids are reported only.

    Args:
        folders: data directories.
        has_labels: as in ``check_data_dir``.
        compares_audio: look for the same recording in two sets, which reads all audio.

    Raises:
        InputError: as ``check_data_dir``, a folder twice, or an utterance that is in two sets.
    """
    sets = {}
    for folder in folders:
        if str(folder) in sets:
            raise InputError(f"{folder}: given twice, expected data directories of different sets")
        sets[str(folder)] = check_data_dir(folder, has_labels)
    # One of the tables that have a line an utterance.
    utterances = {
        name: tables[UTT2LAB if has_labels else "wav.scp"] for name, tables in sets.items()
    }
    for name, table in utterances.items():
        classes = Counter(table.values()) if has_labels else "no labels"
        logging.info("%s: %d utterances, %s", name, len(table), classes)
    for first, second in combinations(sets, 2):
        shared = sorted(utterances[first].keys() & utterances[second].keys())
        if shared:
            raise InputError(
                f"{first} and {second}: {len(shared)} utterances in both: {abbreviate(shared)}"
            )
        first_speakers = set(sets[first].get("utt2spk", {}).values())
        second_speakers = set(sets[second].get("utt2spk", {}).values())
        shared = sorted(first_speakers & second_speakers)
        if shared:
            names = abbreviate(shared)
            logging.warning("%s and %s: %d speakers in both: %s", first, second, len(shared), names)
    if compares_audio and len(sets) > 1:
        _report_duplicates(sets)


def _report_duplicates(sets: Mapping[str, dict[str, dict[str, str]]]) -> None:
    """Warn of recordings that are in two sets, by the tables of each."""
    rows: dict[str, list[Utterance]] = {}
    for name, tables in sets.items():
        if Path(name, "wav.scp").exists():
            rows[name] = [Utterance(key, wav) for key, wav in tables["wav.scp"].items()]
            continue
        index = read_index(str(Path(name, SHARD_LIST)), "shard", tables.get(UTT2LAB), True)
        if isinstance(index, list):
            rows[name] = index
        else:
            logging.info("%s: its stream is not compared with other sets", name)
    duplicates = find_duplicates(rows)
    for (first, second), pairs in duplicates.pairs.items():
        names = abbreviate([f"{key} is {other}" for key, other in pairs])
        logging.warning("%s and %s: %d recordings in both: %s", first, second, len(pairs), names)
    if duplicates.unread:
        logging.info(
            "%d utterances can't be read and are not compared: %s",
            len(duplicates.unread),
            abbreviate(duplicates.unread),
        )
