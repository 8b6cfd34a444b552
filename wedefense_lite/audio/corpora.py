"""Corpora of a list that was made of several: ``utt2corpus`` of its data directory."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from wedefense_lite.audio.index import check_keys
from wedefense_lite.audio.stream import Stream
from wedefense_lite.audio.utterance import Corpus, Utterance
from wedefense_lite.files import InputError, read_table


def with_corpora(index: list[Utterance] | Stream, utt2corpus: str | Path) -> list[Utterance]:
    """The rows with their corpora, which are numbered in the order of their names.

    Args:
        index: rows of a list.
        utt2corpus: table with the name of the corpus of each of these utterances.

    Raises:
        InputError: a stream, which has no rows to sample from, or other utterances than the list.
    """
    if isinstance(index, Stream):
        raise InputError(f"{utt2corpus}: corpora go with lists that have an index, not streams")
    names = read_table(utt2corpus)
    check_keys(utt2corpus, [row.key for row in index], names)
    numbers = {name: number for number, name in enumerate(sorted(set(names.values())))}
    rows = []
    for row in index:
        name = names[row.key]
        rows.append(replace(row, corpus=Corpus(name, numbers[name])))
    return rows


def corpus_of_utterance(index: Iterable[Utterance] | Stream) -> dict[str, str]:
    """Name of the corpus of each utterance; empty where the list doesn't say."""
    if isinstance(index, Stream):
        return {}
    return {row.key: row.corpus.name for row in index if row.corpus is not None}
