"""Data directories made of others: a part of one, or several in one.

A data directory is read into its files with a line an utterance; what follows from these, and lists
of audio, is made anew. Sets without ``utt2lab`` stay sets without labels.
"""

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from wedefense_lite.audio.data_dir import (
    CORPUS_FILE,
    META_FILE,
    NAME_FILE,
    SHARD_LIST,
    UTT2LAB,
    check_data_dir,
    remove_tables,
    write_tables,
)
from wedefense_lite.audio.index import check_keys
from wedefense_lite.files import (
    NO_VALUE,
    InputError,
    abbreviate,
    check_writable,
    first_fields,
    iter_rows,
    read_table,
    read_text,
    refuse_input,
    write_lines,
    write_table,
)

Order = Literal["random", "first", "last", "shortest"]
WAVS = "wav.scp"
GENDER_FILE = "spk2gender"
SEGMENT_FILE = "segments.rttm"
# Files of several lines an utterance, and the field that names it.
LINE_FILES = {SEGMENT_FILE: 1, "splices.txt": 0, "label_differences.txt": 0}
# What a set has in place of a value that only other sets of a combination have.
FILLERS = {"utt2spk": "unknown", "utt2attack": "unknown"}
SET_COLUMN = "set"  # column of meta.tsv with the set that an utterance of a combination is from


@dataclass
class DataDir:
    """Files of a data directory.

    Attributes:
        folder: the data directory.
        tables: tables with a line an utterance, by file name.
        meta: columns of ``meta.tsv``: name to the values of the utterances.
        genders: ``spk2gender``.
        lines: files of several lines an utterance: name to lines by utterance.
    """

    folder: Path
    tables: dict[str, dict[str, str]]
    meta: dict[str, dict[str, str]] = field(default_factory=dict)
    genders: dict[str, str] = field(default_factory=dict)
    lines: dict[str, dict[str, list[str]]] = field(default_factory=dict)

    @property
    def utterances(self) -> list[str]:
        """Ids, in the order of ``wav.scp``."""
        return list(self.tables[WAVS])

    def condition(self, column: str) -> dict[str, str]:
        """Value of a condition of each utterance: ``attack``, ``speaker``, or of ``meta.tsv``.

        Raises:
            InputError: no such column.
        """
        names = {"attack": "utt2attack", "speaker": "utt2spk", "label": UTT2LAB}
        if column in self.meta:
            return self.meta[column]
        table = self.tables.get(names.get(column, ""))
        if table is None:
            columns = [name for name, file in names.items() if file in self.tables]
            columns += self.meta
            raise InputError(f"{self.folder}: no column {column!r}, expected {', '.join(columns)}")
        return table


def read_data_dir(folder: str | Path) -> DataDir:
    """A checked data directory with ``wav.scp``.

    Raises:
        InputError: as ``check_data_dir``, or audio that is in shards only.
    """
    folder = Path(folder)
    if not (folder / WAVS).exists() and (folder / SHARD_LIST).exists():
        raise InputError(f"{folder}: its audio is in shards only, expected a {WAVS}")
    tables = check_data_dir(folder, has_labels=(folder / UTT2LAB).exists())
    data = DataDir(folder, tables)
    if (folder / META_FILE).exists():
        data.meta = _read_meta(folder / META_FILE, data.utterances)
    if (folder / GENDER_FILE).exists():
        data.genders = read_table(folder / GENDER_FILE)
    for name, column in LINE_FILES.items():
        if (folder / name).exists():
            data.lines[name] = _lines_by_utterance(folder / name, column)
    return data


def _read_meta(path: Path, utterances: list[str]) -> dict[str, dict[str, str]]:
    """Columns of a ``meta.tsv``: name to the values of the utterances.

    Raises:
        InputError: no header, a column or an utterance that is there twice, a row of another length
            than the header, or an utterance without a row.
    """
    rows = iter_rows(path, columns=None)
    _, (_, *names) = next(rows)
    columns: dict[str, dict[str, str]] = {name: {} for name in names}
    if len(columns) < len(names):
        raise InputError(f"{path}:1: a column is named twice: {' '.join(names)}")
    keys = set()
    for number, (key, *cells) in rows:
        if key in keys:
            raise InputError(f"{path}:{number}: {key} is there twice")
        keys.add(key)
        for name, cell in zip(names, cells):
            columns[name][key] = cell
    for key in utterances:
        if key not in keys:
            raise InputError(f"{path} has no row of utterance {key}")
    return columns


def _lines_by_utterance(path: Path, column: int) -> dict[str, list[str]]:
    lines: dict[str, list[str]] = {}
    for line in read_text(path).splitlines():
        if line.strip():
            lines.setdefault(line.split()[column], []).append(line)
    return lines


def write_data_dir(folder: str | Path, data: DataDir) -> None:
    """Write a data directory; lists of audio that were made of an earlier one are removed.

    Raises:
        InputError: the folder can't be written, or its tables are inputs of this command.
    """
    folder = Path(folder)
    # Before anything is removed.
    refuse_input(folder / WAVS)
    check_writable(folder / WAVS)
    utterances = set(data.tables[WAVS])
    for name in ("raw.list", SHARD_LIST, META_FILE, GENDER_FILE, *LINE_FILES):
        (folder / name).unlink(missing_ok=True)
    if UTT2LAB not in data.tables:
        remove_tables(folder)
    if data.meta:
        lines = ["\t".join(["filename", *data.meta])]
        for key in sorted(utterances, key=str.encode):
            lines.append("\t".join([key, *(column[key] for column in data.meta.values())]))
        write_lines(folder / META_FILE, lines)
    if data.genders:
        write_table(folder / GENDER_FILE, data.genders)
    for name, lines_by_utterance in data.lines.items():
        lines = []
        for key in sorted(lines_by_utterance, key=str.encode):
            lines += lines_by_utterance[key]
        write_lines(folder / name, lines)
    if UTT2LAB in data.tables:
        write_tables(folder, data.tables)
    else:
        for name, table in data.tables.items():
            write_table(folder / name, table)
    classes = Counter(data.tables.get(UTT2LAB, {}).values())
    logging.info("wrote %s: %d utterances, %s", folder, len(utterances), dict(classes))


def select(data: DataDir, utterances: Collection[str]) -> DataDir:
    """The part of a data directory with certain utterances.

    Raises:
        InputError: no utterance.
    """
    if not utterances:
        raise InputError(f"{data.folder}: no utterance is left")
    kept = set(utterances)

    def part(table: Mapping) -> dict:
        return {key: value for key, value in table.items() if key in kept}

    tables = {name: part(table) for name, table in data.tables.items()}
    speakers = set(tables.get("utt2spk", {}).values())
    return DataDir(
        data.folder,
        tables,
        {name: part(column) for name, column in data.meta.items()},
        {speaker: gender for speaker, gender in data.genders.items() if speaker in speakers},
        {name: part(lines) for name, lines in data.lines.items()},
    )


def listed(data: DataDir, path: str | Path) -> list[str]:
    """Utterances of a list: the first field of each line of a file, such as another ``utt2lab``.

    Raises:
        InputError: an utterance that the data directory lacks.
    """
    names = first_fields(path)
    check_keys(path, names)
    missing = [name for name in names if name not in data.tables[WAVS]]
    if missing:
        raise InputError(
            f"{path}: {len(missing)} utterances are not in {data.folder}: {abbreviate(missing)}"
        )
    return names


def with_values(data: DataDir, column: str, values: Collection[str]) -> list[str]:
    """Utterances whose condition has one of some values.

    Raises:
        InputError: no such column, or a value that no utterance has.
    """
    condition = data.condition(column)
    present = set(condition.values())
    missing = [value for value in values if value not in present]
    if missing:
        raise InputError(
            f"{data.folder}: no {column} is {missing[0]!r}, expected some of "
            f"{', '.join(sorted(present)[:20])}"
        )
    return [key for key in data.utterances if condition[key] in values]


def some(data: DataDir, count: int, order: Order, seed: int, column: str | None) -> list[str]:
    """So many utterances of a data directory, or of each value of a condition.

    Args:
        data: the data directory.
        count: number of utterances.
        order: whether these are random ones, the first, the last, or the shortest by ``utt2dur``.
        seed: of the random choice.
        column: condition of which each value gets ``count`` utterances; None for all together.

    Raises:
        InputError: there are fewer, or no durations.
    """
    if column is None:
        return _pick(data, data.utterances, count, order, seed)
    groups: dict[str, list[str]] = {}
    condition = data.condition(column)
    for key in data.utterances:
        groups.setdefault(condition[key], []).append(key)
    picked = []
    for utterances in groups.values():
        picked += _pick(data, utterances, count, order, seed)
    return picked


def _pick(data: DataDir, utterances: list[str], count: int, order: Order, seed: int) -> list[str]:
    if count > len(utterances):
        raise InputError(
            f"{data.folder}: {len(utterances)} utterances to take from, such as {utterances[0]}, "
            f"but {count} are asked for"
        )
    if order == "first":
        return utterances[:count]
    if order == "last":
        return utterances[-count:]
    if order == "shortest":
        seconds = data.tables.get("utt2dur")
        if seconds is None:
            raise InputError(f"{data.folder}: no utt2dur, which --order shortest needs")
        return sorted(utterances, key=lambda key: float(seconds[key]))[:count]
    chosen = np.random.default_rng(seed).permutation(len(utterances))[:count]
    return [utterances[position] for position in chosen.tolist()]


def of_corpus(data: DataDir, name: str) -> DataDir:
    """A data directory as a part of a set of several corpora.

    Ids, speakers and attacks begin with the name of the corpus, since two corpora may have the
    same; ``utt2orig`` keeps the ids as they were, ``utt2corpus`` and the column ``corpus`` of
    ``meta.tsv`` have the name.

    Args:
        data: the data directory.
        name: name of its corpus.
    """
    keys = {key: f"{name}-{key}" for key in data.utterances}
    tables = {}
    for file, table in data.tables.items():
        tables[file] = {keys[key]: value for key, value in table.items()}
    names = data.tables.get(NAME_FILE, {key: key for key in keys})
    tables[NAME_FILE] = {keys[key]: original for key, original in names.items()}
    tables[CORPUS_FILE] = dict.fromkeys(keys.values(), name)
    for file in ("utt2spk", "utt2attack"):
        for key, value in tables.get(file, {}).items():
            if value != NO_VALUE:
                tables[file][key] = f"{name}-{value}"
    meta = {"corpus": tables[CORPUS_FILE]}
    for column, values in data.meta.items():
        meta[column] = {keys[key]: value for key, value in values.items()}
    genders = {f"{name}-{speaker}": gender for speaker, gender in data.genders.items()}
    lines: dict[str, dict[str, list[str]]] = {}
    for file, lines_by_utterance in data.lines.items():
        lines[file] = {}
        for key, old_lines in lines_by_utterance.items():
            new_lines = []
            for line in old_lines:
                cells = line.split()
                cells[LINE_FILES[file]] = keys[key]
                new_lines.append(" ".join(cells))
            lines[file][keys[key]] = new_lines
    return DataDir(data.folder, tables, meta, genders, lines)


def combine(parts: Sequence[DataDir]) -> DataDir:
    """Several data directories as one; ``meta.tsv`` says in its column ``set`` where each is from.

    Tables that some parts lack are filled by "unknown" (speakers, attacks of spoofs) or ``-``
    (columns of ``meta.tsv``). Durations, segments and joints are left out, with a line, unless all
    have them.

    Raises:
        InputError: an utterance in two parts, or labels in some parts only.
    """
    utterances = [key for part in parts for key in part.utterances]
    check_keys(" and ".join(str(part.folder) for part in parts), utterances)
    labelled = [part for part in parts if UTT2LAB in part.tables]
    if labelled and len(labelled) < len(parts):
        without = next(part for part in parts if UTT2LAB not in part.tables)
        raise InputError(
            f"{without.folder}: no {UTT2LAB}, but {labelled[0].folder} has one, expected it in all "
            "or in none"
        )
    combined = DataDir(Path(), {WAVS: {}})
    for name in _names(part.tables for part in parts):
        combined.tables[name] = {}
        for part in parts:
            combined.tables[name] |= _filled(part, name)
    for name in ("utt2dur", CORPUS_FILE):
        _drop_unless_all(name, [part.tables for part in parts], combined.tables)
    columns = _names(part.meta for part in parts)
    for column in dict.fromkeys([*columns, SET_COLUMN]):
        combined.meta[column] = {}
        for part in parts:
            value = part.folder.resolve().name if column == SET_COLUMN else NO_VALUE
            filler = dict.fromkeys(part.utterances, value)
            combined.meta[column] |= part.meta.get(column, filler)
    for part in parts:
        combined.genders |= part.genders
    for name in _names(part.lines for part in parts):
        combined.lines[name] = {}
        for part in parts:
            combined.lines[name] |= part.lines.get(name, {})
        _drop_unless_all(name, [part.lines for part in parts], combined.lines)
    return combined


def _names(mappings: Iterable[Mapping[str, object]]) -> list[str]:
    """Keys of several mappings, each once, in the order in which they first occur."""
    names: dict[str, None] = {}
    for mapping in mappings:
        names.update(dict.fromkeys(mapping))
    return list(names)


def _filled(part: DataDir, name: str) -> dict[str, str]:
    """A table of a part of a combination, made up where the part lacks it."""
    if name in part.tables:
        return part.tables[name]
    if name == NAME_FILE:
        return {key: key for key in part.utterances}
    if name not in FILLERS:
        return {}
    table = dict.fromkeys(part.utterances, FILLERS[name])
    if name == "utt2attack":
        for key, label in part.tables.get(UTT2LAB, {}).items():
            if label == "bonafide":
                table[key] = NO_VALUE
    return table


def _drop_unless_all(name: str, parts: Sequence[Mapping], combined: dict) -> None:
    """Leave out a file that some of the parts lack, with a line."""
    if name in combined and not all(name in part for part in parts):
        del combined[name]
        logging.warning("%s is left out: not all of the data directories have it", name)
