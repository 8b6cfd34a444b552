"""Classes of sources: the attack, vocoder or model that made an utterance."""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.files import InputError, abbreviate
from wedefense_lite.scoring.scores import read_condition


def with_sources(
    index: Iterable[Utterance],
    path: str,
    column: str,
    classes: Sequence[str],
    trains: bool = True,
) -> list[Utterance]:
    """Rows whose source is one of the classes, with its number.

    Others are left out: bona fide speech, whose source is ``-`` unless that is a class, and sources
    that the system doesn't know. One line of the log counts them.

    Args:
        index: rows of a list.
        path: utt2attack, or meta.tsv.
        column: column of the classes.
        classes: names of the classes, in the order of the logits.
        trains: whether each class has to occur, as in training; otherwise one of them does.

    Raises:
        InputError: no row of a class.
    """
    rows = list(index)
    names = read_condition(path, column, [row.key for row in rows])
    numbers = {name: number for number, name in enumerate(classes)}
    kept = []
    others = Counter()
    for row, name in zip(rows, names):
        if name in numbers:
            kept.append(replace(row, source=numbers[name]))
        else:
            others[str(name)] += 1
    counts = Counter(row.source for row in kept)
    empty = [name for name, number in numbers.items() if not counts[number]]
    if empty and (trains or not kept):
        raise InputError(f"{path}: no utterance of the sources {abbreviate(empty)}")
    if others:
        listed = ", ".join(f"{name} ({count})" for name, count in sorted(others.items()))
        logging.info("%s: left out, of no class of the system: %s", path, listed)
    return kept
