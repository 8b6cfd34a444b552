"""The same recording in two sets, under whatever ids: found by a hash of the decoded samples.

A recording that a system was trained on tells nothing when it is scored. Containers and headers
don't count, so a WAV and a FLAC of the same samples are the same recording.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from wedefense_lite.audio.reading import is_command, read
from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.files import InputError
from wedefense_lite.progress import progress

# Samples that are compared first; only where these are equal is all of a recording decoded.
HEAD = 16000
NUM_THREADS = 8


class SetRow(NamedTuple):
    """An utterance and its set."""

    set_name: str
    row: Utterance


class Duplicates(NamedTuple):
    """Result of a comparison of sets.

    Attributes:
        pairs: of two sets, the utterances of the first and the second that are one recording.
        unread: utterances that couldn't be compared, such as commands and missing files.
    """

    pairs: dict[tuple[str, str], list[tuple[str, str]]]
    unread: list[str]


def find_duplicates(sets: Mapping[str, Sequence[Utterance]]) -> Duplicates:
    """Recordings that are in more than one set.

    Args:
        sets: rows of each set.
    """
    rows = []
    unread = []
    for name, utterances in sets.items():
        for row in utterances:
            if is_command(row.path):
                unread.append(row.key)
            else:
                rows.append(SetRow(name, row))
    heads, missing = _by_hash(rows, HEAD, "comparing audio")
    candidates = [entry for group in _shared(heads) for entry in group]
    recordings, damaged = _by_hash(candidates, 0, "comparing whole recordings")
    pairs = defaultdict(list)
    for group in _shared(recordings):
        for number, first in enumerate(group):
            for second in group[number + 1 :]:
                if first.set_name != second.set_name:
                    names = (first.set_name, second.set_name)
                    pairs[names].append((first.row.key, second.row.key))
    return Duplicates(dict(pairs), unread + missing + damaged)


def _by_hash(
    rows: Sequence[SetRow], count: int, title: str
) -> tuple[dict[bytes, list[SetRow]], list[str]]:
    """Utterances by the hash of their first samples, in order; and those that can't be read.

    Args:
        rows: utterances.
        count: number of samples; 0 for all.
        title: of the progress.
    """

    def hash_of(entry: SetRow) -> bytes | None:
        try:
            wav = read(entry.row, 0, count, floats=True)
        except InputError:
            return None
        return hashlib.sha256(wav.tobytes()).digest()

    groups: dict[bytes, list[SetRow]] = defaultdict(list)
    unread = []
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        digests = progress(pool.map(hash_of, rows), len(rows), title)
        for entry, digest in zip(rows, digests):
            if digest is None:
                unread.append(entry.row.key)
            else:
                groups[digest].append(entry)
    return groups, unread


def _shared(groups: Mapping[bytes, list[SetRow]]) -> Iterable[list[SetRow]]:
    """Groups with utterances of more than one set."""
    for group in groups.values():
        if len({entry.set_name for entry in group}) > 1:
            yield group
