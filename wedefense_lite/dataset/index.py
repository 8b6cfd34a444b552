"""The index of a data list: one row an utterance, so that raw files and shards are read alike."""

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from wedefense_lite.dataset.audio import Header, Utterance, few, read_headers
from wedefense_lite.dataset.shards import read_shards
from wedefense_lite.dataset.stream import Stream, is_streamed
from wedefense_lite.files import InputError, read_labels, read_table, read_text, write_lines
from wedefense_lite.labels import LABELS


def read_index(
    data_list: str, data_type: Literal["shard", "raw"], labels: dict[str, str] | None = None
) -> list[Utterance]:
    """Rows of a ``shard.list`` or ``raw.list``, in list order.

    A shard list with URLs or pipes gives a :class:`Stream`, which both loaders take as well.

    Args:
        labels: ``utt2lab``; must hold exactly the utterances of the list, with the same labels.

    Raises:
        InputError: a malformed list, a missing or damaged shard, an utterance that stands there
            twice, or a disagreement with ``labels``.
    """
    if data_type == "shard" and is_streamed(data_list):
        if labels is None:
            raise InputError(f"{data_list}: streamed shards need utt2lab, which says what is in them")
        return Stream(data_list, labels)
    index = read_shards(data_list) if data_type == "shard" else _read_raw(data_list)
    keys = [utterance.key for utterance in index]
    if len(set(keys)) < len(keys):
        twice = [key for key, count in Counter(keys).items() if count > 1]
        raise InputError(f"{data_list}: {len(twice)} utterances are there more than once: {few(twice)}")
    return index if labels is None else _with_labels(data_list, index, labels)


def _with_labels(data_list: str, index: list[Utterance], labels: dict[str, str]) -> list[Utterance]:
    listed = {row.key: row.label for row in index}
    disagreements = {
        "in the list without a label": [key for key in listed if key not in labels],
        "with a label but not in the list": [key for key in labels if key not in listed],
        "labelled otherwise in the list": [row.key for row in index if row.label not in (None, labels.get(row.key))],
    }
    for what, keys in disagreements.items():
        if keys:
            raise InputError(f"{data_list}: {len(keys)} utterances {what}: {few(keys)}")
    return [row if row.label else replace(row, label=labels[row.key]) for row in index]


def _read_raw(path: str) -> list[Utterance]:
    rows = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            rows.append(Utterance(row["key"], row["wav"], 0, 0, row.get("samples", 0), row.get("lab")))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            expected = '{"key": ..., "wav": ..., "lab": ..., "samples": ...}'
            raise InputError(f"{path}:{number}: {line!r}, expected {expected}") from error
        if rows[-1].label not in (None, *LABELS):
            raise InputError(f"{path}:{number}: label {rows[-1].label!r}, expected one of {LABELS}")
    if not rows:
        raise InputError(f"{path}: empty list")
    unknown = {row.key: row.path for row in rows if not row.samples}
    headers = read_headers(unknown) if unknown else {}
    return [row if row.samples else replace(row, samples=headers[row.key].samples) for row in rows]


def read_corpus(
    wav_scp: str, utt2lab: str, sample_rate: int, num_threads: int
) -> tuple[dict[str, str], dict[str, str], dict[str, Header]]:
    """Paths, labels and headers of a data directory's audio, all of it checked.

    Raises:
        InputError: ids that differ between the two files or can't be packed, or audio that can't be
            read; says how many and names the first.
    """
    wavs, labels = read_table(wav_scp), read_labels(utt2lab)
    check_keys(wav_scp, wavs, labels)
    return wavs, labels, read_headers(wavs, sample_rate, num_threads)


def write_raw_list(path: str | Path, wavs: dict[str, str], labels: dict[str, str], headers: dict[str, Header]) -> None:
    """Write a ``raw.list``: JSON lines ``{"key", "wav", "lab", "samples"}`` in ``wavs``'s order."""
    rows = ({"key": key, "wav": wav, "lab": labels[key], "samples": headers[key].samples} for key, wav in wavs.items())
    write_lines(path, map(json.dumps, rows))


def check_keys(where: str | Path, keys: Iterable[str], labels: dict[str, str] | None = None) -> None:
    """Refuse ids that can't be members of a shard, and other ids than those of ``labels``.

    Raises:
        InputError: naming ``where`` and the first utterances.
    """
    keys = list(keys)
    bad = [key for key in keys if not key or re.search(r"[./\s]", key)]
    if bad:
        raise InputError(f"{where}: {len(bad)} ids hold '.', '/' or white space: {few(bad)}")
    if labels is not None and set(keys) != set(labels):
        differing = sorted(set(keys) ^ set(labels))
        raise InputError(f"{where}: {len(differing)} utterances not in both lists: {few(differing)}")
