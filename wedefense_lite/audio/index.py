"""The index of a data list: one row an utterance, so that raw files and shards are read alike."""

import json
import re
from collections import Counter
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Literal

from wedefense_lite.audio.reading import measure_lengths
from wedefense_lite.audio.shards import read_shard
from wedefense_lite.audio.stream import Stream
from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.files import (
    InputError,
    abbreviate,
    read_labels,
    read_table,
    read_text,
    write_lines,
)
from wedefense_lite.labels import LABELS

RAW_ROW = '{"key": ..., "wav": ..., "lab": "bonafide" or "spoof", "samples": ...}'


def read_index(
    data_list: str, data_type: Literal["shard", "raw"], labels: dict[str, str] | None = None
) -> list[Utterance] | Stream:
    """Rows of a ``shard.list`` or ``raw.list``, in list order.

    Args:
        data_list: the list. A shard list that names a URL, ``file:`` or a command, ``pipe:``, gives
            a ``Stream``, which both loaders take as well.
        data_type: format of the list.
        labels: ``utt2lab``; must hold exactly the utterances of the list, with the same labels.

    Raises:
        InputError: a malformed list, a missing or damaged shard, an utterance that is listed twice,
            or a disagreement with ``labels``.
    """
    lines = [line.strip() for line in read_text(data_list).splitlines() if line.strip()]
    if data_type == "raw":
        index = [_raw_row(data_list, line) for line in lines]
        if not all(row.samples for row in index):
            index = measure_lengths(index)
    elif any(re.match(r"pipe:|file:|\w+://", line) for line in lines):
        if labels is None:
            raise InputError(
                f"{data_list}: streamed shards need utt2lab, which says what is in them"
            )
        return Stream(lines, labels)
    else:
        index = []
        with ThreadPoolExecutor() as pool:
            for rows in pool.map(read_shard, lines):
                index.extend(rows)
    if not index:
        raise InputError(f"{data_list}: no utterances in the list")
    check_keys(data_list, [row.key for row in index], labels)
    if labels is None:
        return index
    index = [row if row.label else replace(row, label=labels[row.key]) for row in index]
    differing = [row.key for row in index if row.label != labels[row.key]]
    if differing:
        names = abbreviate(differing)
        raise InputError(
            f"{data_list}: {len(differing)} utterances labelled otherwise in the list: {names}"
        )
    return index


def _raw_row(raw_list: str, line: str) -> Utterance:
    try:
        row = {"samples": 0, "lab": None} | json.loads(line)
        if row["lab"] not in (None, *LABELS):
            raise ValueError(row["lab"])
        return Utterance(row["key"], row["wav"], samples=row["samples"], label=row["lab"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{raw_list}: {line!r}, expected {RAW_ROW}") from error


def read_corpus(wav_scp: str, utt2lab: str, sample_rate: int, num_threads: int) -> list[Utterance]:
    """Rows of a data directory with labels and lengths, in ``wav.scp``'s order.

    Args:
        wav_scp: table of audio files.
        utt2lab: table of labels.
        sample_rate: rate in Hz that all files must have.
        num_threads: threads that read headers.

    Raises:
        InputError: ids that differ between the two files or can't be packed, or audio that can't be
            read; says how many and names the first.
    """
    wavs = read_table(wav_scp)
    labels = read_labels(utt2lab)
    check_keys(wav_scp, wavs, labels)
    rows = [Utterance(key, wav, label=labels[key]) for key, wav in wavs.items()]
    return measure_lengths(rows, sample_rate, num_threads)


def write_raw_list(path: str | Path, rows: list[Utterance]) -> None:
    """Write a ``raw.list``: JSON lines ``{"key", "wav", "lab", "samples"}``."""
    lines = []
    for row in rows:
        cells = {"key": row.key, "wav": row.path, "lab": row.label, "samples": row.samples}
        lines.append(json.dumps(cells))
    write_lines(path, lines)


def check_keys(
    source: str | Path, keys: Collection[str], others: Collection[str] | None = None
) -> None:
    """Refuse ids that can't be members of a shard, ids listed twice, and other ids than ``others``.

    Args:
        source: file or folder of the ids, for errors.
        keys: ids in the order of their list.
        others: ids of another list that must hold the same ones, if any.

    Raises:
        InputError: names ``source`` and the first utterances.
    """
    malformed = [key for key in keys if not key or re.search(r"[./\s]", key)]
    if malformed:
        raise InputError(
            f"{source}: {len(malformed)} ids hold '.', '/' or white space: {abbreviate(malformed)}"
        )
    counts = Counter(list(keys))  # of a list: Counter would take a table's values for its counts
    repeated = [key for key in counts if counts[key] > 1]
    if repeated:
        raise InputError(
            f"{source}: {len(repeated)} utterances are there more than once: {abbreviate(repeated)}"
        )
    if others is None:
        return
    unmatched = sorted(set(keys) ^ set(others))
    if unmatched:
        raise InputError(
            f"{source}: {len(unmatched)} utterances are not in both lists: {abbreviate(unmatched)}"
        )
