"""The index of a data list: one row an utterance, so that raw files and shards are read alike."""

import gc
import json
import logging
import os
import re
import string
from collections import Counter
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal

from wedefense_lite.audio.decoders import UNKNOWN_LENGTH
from wedefense_lite.audio.reading import (
    HIGHEST_RATE,
    check_pipes_allowed,
    is_command,
    measure_lengths,
)
from wedefense_lite.audio.remote import is_remote, manifest_path, read_manifest
from wedefense_lite.audio.shards import read_shard
from wedefense_lite.audio.stream import Stream, list_stream
from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.files import (
    InputError,
    abbreviate,
    note_input,
    read_labels,
    read_table,
    read_text,
    write_lines,
)
from wedefense_lite.labels import LABELS, NO_LABELS

RAW_ROW = '{"key": ..., "wav": ..., "lab": "bonafide" or "spoof", "samples": ..., "rate": ...}'
# Rows as ``write_raw_list`` writes them, but for ids and names with escapes: their fields are found
# at once, where a parser of JSON would make an object that has to be looked at. The numbers are
# below ``UNKNOWN_LENGTH`` and ``HIGHEST_RATE``.
REGULAR_ROW = re.compile(
    r'\{"key": "([^"\\\x00-\x1f]*)", "wav": "([^"\\\x00-\x1f]*)", '
    r'"lab": (?:"(spoof|bonafide)"|null), '
    r'"samples": (0|[1-9][0-9]{0,13}), "rate": (0|[1-9][0-9]{0,4})\}'
)
# Lists that are streamed: a scheme and a colon, as in pipe: and https://.
STREAMED = re.compile(r"pipe:|file:|\w+://")
# Characters of URLs (RFC 3986); programs that fetch get no others.
URL_CHARACTERS = frozenset(string.ascii_letters + string.digits + "-._~:/?#[]@!$&()*+,;=%")
NO_PART_OF_ID = re.compile(r"[./\s]")
HEADER_ID = "filename"  # the first cell of score and key files, which no utterance can be named


def read_index(
    data_list: str,
    data_type: Literal["shard", "raw"],
    labels: dict[str, str] | None = None,
    lists_streams: bool = False,
) -> list[Utterance] | Stream:
    """Rows of a ``shard.list`` or ``raw.list``, in list order.

    Args:
        data_list: the list. A shard list that names a URL, ``file:`` or a command, ``pipe:``, gives
            a ``Stream``, which both loaders take as well.
        data_type: format of the list.
        labels: ``utt2lab``; must hold exactly the utterances of the list, with the same labels.
        lists_streams: read a streamed list without ``labels`` once, to know what is in it.

    Raises:
        InputError: a malformed list, a missing or damaged shard, an utterance that is listed twice,
            or a disagreement with ``labels``.
    """
    if data_type == "raw":
        with _collector_paused():
            index = _read_raw_list(data_list)
        if not all(row.samples for row in index):
            index = measure_lengths(index)
    else:
        lines = _read_lines(data_list)
        if any(STREAMED.match(line) for _, line in lines):
            return _stream(data_list, lines, labels, lists_streams)
        index = []
        with _collector_paused(), ThreadPoolExecutor() as pool:
            for rows in pool.map(read_shard, [line for _, line in lines]):
                index.extend(rows)
    if not index:
        raise InputError(f"{data_list}: no utterances in the list")
    check_keys(data_list, [row.key for row in index], labels)
    if labels is None:
        return index
    differing = []
    for number, row in enumerate(index):
        label = labels[row.key]
        if row.label is None:
            index[number] = replace(row, label=label)
        elif row.label != label:
            differing.append(row.key)
    if differing:
        names = abbreviate(differing)
        raise InputError(
            f"{data_list}: {len(differing)} utterances labelled otherwise in the list: {names}"
        )
    return index


def _stream(
    data_list: str,
    lines: list[tuple[str, str]],
    labels: dict[str, str] | None,
    lists_streams: bool,
) -> Stream:
    """The stream of a list, see ``read_index``."""
    if labels is None and not lists_streams:
        raise InputError(f"{data_list}: streamed shards need utt2lab, which says what is in them")
    urls = []
    for place, line in lines:
        _check_url(place, line)
        urls.append(line)
    manifest = read_manifest(data_list, [url for url in urls if is_remote(url)])
    if not manifest and any(map(is_remote, urls)):
        logging.warning(
            "%s: no %s, so that the content of its shards can't be checked: "
            "make_shard_list.py --manifest true makes it",
            data_list,
            manifest_path(data_list).name,
        )
    if labels is None:
        logging.info("%s: read once to know its utterances, as there is no utt2lab", data_list)
        rows = list_stream(urls, manifest)
        keys = [key for key, _ in rows]
        if not keys:
            raise InputError(f"{data_list}: no utterances in the list")
        check_keys(data_list, keys)
        return Stream(urls, dict(rows), manifest)
    return Stream(urls, labels, manifest)


def _read_lines(data_list: str) -> list[tuple[str, str]]:
    """Lines of a list that aren't blank, each with its place, ``file:number``."""
    note_input(data_list)
    lines = []
    # Only at the ends of lines: splitlines() knows more, which may be parts of names.
    for number, line in enumerate(read_text(data_list).split("\n"), 1):
        if line.strip():
            lines.append((f"{data_list}:{number}", line.strip()))
    return lines


def _check_url(place: str, line: str) -> None:
    """Refuse commands that nobody allowed, and texts that are no URL."""
    if line.startswith("pipe:"):
        try:
            check_pipes_allowed()
        except InputError as error:
            raise InputError(f"{place}: {line!r}: {error}") from error
    elif STREAMED.match(line) and not URL_CHARACTERS.issuperset(line):
        raise InputError(f"{place}: {line!r} is no URL: some characters have to be written as %XX")


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Context in which Python looks for no garbage.

    It would look at all rows again and again while they are made, which takes as long as making
    them where there are a million, and there is no garbage among them.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _read_raw_list(data_list: str) -> list[Utterance]:
    """Rows of a ``raw.list``; the lines of other programs take ten times as long as ours."""
    note_input(data_list)
    rows = []
    for number, line in enumerate(read_text(data_list).split("\n"), 1):
        regular = REGULAR_ROW.fullmatch(line)
        if regular:
            key, wav, label, samples, rate = regular.groups()
            rows.append(Utterance(key, wav, samples=int(samples), label=label, rate=int(rate)))
        elif line.strip():
            rows.append(_raw_row(f"{data_list}:{number}", line.strip()))
    return rows


def _raw_row(place: str, line: str) -> Utterance:
    try:
        row = json.loads(line, object_pairs_hook=_unique_fields)
        if not isinstance(row, dict):
            raise ValueError("no object")
        row = {"samples": 0, "rate": 0, "lab": None} | row
        for name in ("key", "wav"):
            if not isinstance(row[name], str):
                raise ValueError(f"{name} is no text")
        samples = row["samples"]
        if type(samples) is not int or not 0 <= samples < UNKNOWN_LENGTH:
            raise ValueError(f"samples is no number of samples: {samples!r}")
        rate = row["rate"]
        if type(rate) is not int or not 0 <= rate <= HIGHEST_RATE:
            raise ValueError(f"rate is no sample rate in Hz: {rate!r}")
        if row["lab"] not in (None, *LABELS):
            raise ValueError(f"lab is {row['lab']!r}")
    except KeyError as error:
        raise InputError(f"{place}: no {error} in {line!r}, expected {RAW_ROW}") from error
    # Brackets in brackets beyond Python's limit raise a RecursionError.
    except (ValueError, RecursionError) as error:
        text = line if len(line) < 200 else f"{line[:200]} ..."
        raise InputError(f"{place}: {error} in {text!r}, expected {RAW_ROW}") from error
    return Utterance(row["key"], row["wav"], samples=samples, label=row["lab"], rate=rate)


def _unique_fields(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a field is there twice")
    return fields


def read_wavs(wav_scp: str | Path) -> dict[str, str]:
    """A ``wav.scp``: utterance to audio file or command.

    A relative path is one from the folder of the table where a file is there, as in a data
    directory that was prepared with ``--relative true``, and else one from the current folder.

    Raises:
        InputError: as ``read_table``.
    """
    # Not the name of a link to the folder: ".." leads out of the folder that is meant.
    folder = os.path.dirname(os.path.realpath(wav_scp))
    wavs = {}
    for key, wav in read_table(wav_scp).items():
        if not (os.path.isabs(wav) or is_command(wav)):
            path = os.path.normpath(os.path.join(folder, wav))
            if os.path.exists(path):
                wav = path
        wavs[key] = wav
    return wavs


def read_corpus(
    wav_scp: str, utt2lab: str | None, sample_rate: int, num_threads: int
) -> list[Utterance]:
    """Rows of a data directory with labels and lengths, in ``wav.scp``'s order.

    All audio is decoded, here and only here: what a decoder gives has to be what headers state, or
    is counted where those can lie.

    Args:
        wav_scp: table of audio files.
        utt2lab: table of labels; None or ``none`` where nobody knows them.
        sample_rate: rate in Hz at which the files will be read; 0 for each its own.
        num_threads: threads that decode.

    Raises:
        InputError: ids that differ between the two files or can't be packed, or audio that can't be
            read or has another length than its header states; says how many and names the first.
    """
    wavs = read_wavs(wav_scp)
    labels = None
    if utt2lab not in (None, NO_LABELS):
        labels = read_labels(utt2lab)
    check_keys(wav_scp, wavs, labels)
    rows = []
    for key, wav in wavs.items():
        rows.append(Utterance(key, wav, label=labels[key] if labels else None))
    return measure_lengths(rows, sample_rate, num_threads, decodes=True)


def write_raw_list(path: str | Path, rows: list[Utterance]) -> None:
    """Write a ``raw.list``: JSON lines ``{"key", "wav", "lab", "samples", "rate"}``.

    ``samples`` are those of the file, at its own ``rate``.
    """
    lines = []
    for row in rows:
        cells = {"key": row.key, "wav": row.path, "lab": row.label}
        cells |= {"samples": row.samples, "rate": row.rate}
        lines.append(json.dumps(cells))
    write_lines(path, lines)


def check_keys(
    source: str | Path, keys: Collection[str], others: Collection[str] | None = None
) -> None:
    """Refuse ids that can't be members of a shard, ids listed twice, and other ids than ``others``.

    The one place that says what an id is: text without white space, dots, slashes and characters
    that can't be printed.

    Args:
        source: file or folder of the ids, for errors.
        keys: ids in the order of their list.
        others: ids of another list that must hold the same ones, if any.

    Raises:
        InputError: names ``source`` and the first utterances.
    """
    # Most lists are in order, and one look at all ids together takes a fifth of a look at each.
    together = "".join(keys)
    is_regular = together.isprintable() and not NO_PART_OF_ID.search(together) and all(keys)
    if not is_regular:
        _refuse_malformed(source, keys)
    if HEADER_ID in keys:
        raise InputError(
            f"{source}: an utterance named {HEADER_ID!r}, which begins the header of score files; "
            "give it another name"
        )
    if len(set(keys)) < len(keys):
        counts = Counter(keys)
        repeated = [key for key in counts if counts[key] > 1]
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


def _refuse_malformed(source: str | Path, keys: Collection[str]) -> None:
    """Refuse ids that can't be members of a shard or can't be printed.

    Raises:
        InputError: names ``source`` and the first utterances.
    """
    malformed = [key for key in keys if not key or NO_PART_OF_ID.search(key)]
    if malformed:
        raise InputError(
            f"{source}: {len(malformed)} ids hold '.', '/' or white space: "
            f"{abbreviate(malformed)}; make_id of wedefense_lite.audio.ids makes ids of names"
        )
    unprintable = [ascii(key) for key in keys if not key.isprintable()]
    if unprintable:
        raise InputError(
            f"{source}: {len(unprintable)} ids hold characters that can't be printed: "
            f"{abbreviate(unprintable)}"
        )
