"""Data directories ``data/<set>/``: written by the preparation of a corpus, checked before use.

All files are sorted as ``LC_ALL=C`` sorts. ``wav.scp utt2lab utt2dur utt2spk utt2attack`` have a line
an utterance; ``lab2utt spk2utt lab2num_utts cm_key_file.txt`` follow from these.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from wedefense_lite.dataset.audio import Header, few, read_headers
from wedefense_lite.dataset.index import check_keys
from wedefense_lite.files import InputError, atomic_path, read_labels, read_table, write_lines, write_table
from wedefense_lite.labels import BONAFIDE, LABELS

NO_ATTACK = "-"
COLUMNS = {"wav.scp": "wav", "utt2lab": "label", "utt2spk": "speaker", "utt2attack": "attack"}
KEY_FILE, KEY_HEADER = "cm_key_file.txt", {"filename": "cm-label"}


@dataclass(frozen=True, slots=True)
class Trial:
    """One line of a corpus's protocol: an utterance, its audio file, label, speaker and attack."""

    key: str
    wav: str
    label: str
    speaker: str
    attack: str = NO_ATTACK


def durations(headers: dict[str, Header]) -> dict[str, str]:
    """``utt2dur``: seconds, to a tenth of a millisecond."""
    return {key: f"{header.samples / header.sample_rate:.4f}" for key, header in headers.items()}


def _inverse(table: dict[str, str]) -> dict[str, str]:
    groups: dict[str, list[str]] = {}
    for key in sorted(table, key=str.encode):
        groups.setdefault(table[key], []).append(key)
    return {value: " ".join(keys) for value, keys in groups.items()}


def _derived(labels: dict[str, str], speakers: dict[str, str]) -> dict[str, dict[str, str]]:
    return {
        "lab2utt": _inverse(labels),
        "spk2utt": _inverse(speakers),
        "lab2num_utts": {label: str(count) for label, count in Counter(labels.values()).items()},
    }


def write_data_dirs(
    data_dir: str | Path,
    sets: dict[str, list[Trial]],
    counts: dict[str, dict[str, int]] | None = None,
    sample_rate: int = 16000,
    num_threads: int = 8,
) -> None:
    """Write ``data_dir/<set>/`` for all sets of a corpus, or nothing.

    Args:
        sets: name of a set to its trials.
        counts: set to label to the number of utterances that the corpus's publishers state.
        sample_rate: the rate in Hz that all files must have.

    Raises:
        InputError: other counts, an utterance that is there twice, an unknown label, or audio that
            is missing or can't be read; says how many and names the first.
    """
    for name, trials in sets.items():
        have = Counter(trial.label for trial in trials)
        if unknown := have.keys() - set(LABELS):
            raise InputError(f"{name}: labels {sorted(unknown)}, expected {LABELS}")
        if counts and have != counts[name]:
            hint = "--expect_counts false accepts a part of the corpus"
            raise InputError(f"{name}: {dict(have)} listed, {counts[name]} published; {hint}")
    trials = [trial for trials in sets.values() for trial in trials]
    wavs = {trial.key: trial.wav for trial in trials}
    check_keys(data_dir, wavs)
    if twice := [key for key, count in Counter(trial.key for trial in trials).items() if count > 1]:
        raise InputError(f"{len(twice)} utterances are in the protocols more than once: {few(twice)}")
    seconds = durations(read_headers(wavs, sample_rate, num_threads))
    with ExitStack() as complete:
        for name, trials in sets.items():
            columns = {file: {row.key: getattr(row, name) for row in trials} for file, name in COLUMNS.items()}
            tables = columns | {"utt2dur": {trial.key: seconds[trial.key] for trial in trials}}
            for file, table in (tables | _derived(tables["utt2lab"], tables["utt2spk"])).items():
                write_table(complete.enter_context(atomic_path(Path(data_dir, name, file))), table)
            answers = sorted(tables["utt2lab"].items(), key=lambda row: row[0].encode())
            key_file = complete.enter_context(atomic_path(Path(data_dir, name, KEY_FILE)))
            write_lines(key_file, map("\t".join, [*KEY_HEADER.items(), *answers]))


def check_data_dir(folder: str | Path) -> dict[str, dict[str, str]]:
    """Check a data directory; only ``wav.scp`` and ``utt2lab`` have to be there.

    Returns:
        the tables with a line an utterance, by file name.

    Raises:
        InputError: the first thing that is wrong; names the file.
    """
    folder = Path(folder)
    there = [name for name in ("utt2dur", "utt2spk", "utt2attack") if (folder / name).exists()]
    tables = {name: read_table(folder / name) for name in ["wav.scp", *there]}
    tables["utt2lab"] = labels = read_labels(folder / "utt2lab")
    for name, table in tables.items():
        check_keys(folder / name, table, labels)
        if list(table) != sorted(table, key=str.encode):
            raise InputError(f"{folder / name}: not sorted; sort it with LC_ALL=C")
    if missing := set(LABELS) - set(labels.values()):
        raise InputError(f"{folder / 'utt2lab'}: no utterance is {missing.pop()}")
    for key, seconds in tables.get("utt2dur", {}).items():
        if not _positive(seconds):
            raise InputError(f"{folder / 'utt2dur'}: {key} lasts {seconds!r} s, expected more than 0")
    for key, attack in tables.get("utt2attack", {}).items():
        if (attack == NO_ATTACK) != (labels[key] == LABELS[BONAFIDE]):
            raise InputError(f"{folder / 'utt2attack'}: {key} is {labels[key]}, its attack {attack}")
    derived = _derived(labels, tables.get("utt2spk", {})) | {KEY_FILE: KEY_HEADER | labels}
    for name, expected in derived.items():
        if (folder / name).exists() and (found := read_table(folder / name)) != expected:
            differing = sorted(key for key, _ in found.items() ^ expected.items())
            raise InputError(f"{folder / name}: does not follow from the other files at {differing[0]}")
    return tables


def _positive(number: str) -> bool:
    try:
        return 0 < float(number) < float("inf")
    except ValueError:
        return False


def check_data_dirs(folders: Sequence[str | Path]) -> None:
    """Check data directories, each and against each other. Speakers in two sets are reported only.

    Raises:
        InputError: as :func:`check_data_dir`, or an utterance that is in two sets.
    """
    sets = {str(folder): check_data_dir(folder) for folder in folders}
    for number, (name, tables) in enumerate(sets.items()):
        logging.info("%s: %d utterances, %s", name, len(tables["utt2lab"]), Counter(tables["utt2lab"].values()))
        for other in list(sets)[:number]:
            if shared := sorted(tables["wav.scp"].keys() & sets[other]["wav.scp"].keys()):
                raise InputError(f"{name} and {other}: {len(shared)} utterances in both: {few(shared)}")
            speakers = [set(sets[folder].get("utt2spk", {}).values()) for folder in (name, other)]
            if shared := sorted(speakers[0] & speakers[1]):
                logging.warning("%s and %s: %d speakers in both: %s", name, other, len(shared), few(shared))
