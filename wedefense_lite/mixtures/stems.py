"""Mixtures and what is known of their talkers."""

from collections import defaultdict
from dataclasses import replace

from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.files import InputError, abbreviate


def with_talkers(
    index: list[Utterance], stems: list[Utterance], listed: str, audio: bool
) -> list[Utterance]:
    """The mixtures with their reference stems, of which ``<mixture>-<k>`` is the one of talker k, from 1 on.

    Args:
        index: the mixtures.
        stems: of these, and of no others.
        listed: the list of the stems, for messages.
        audio: whether the stems themselves are needed, or only their labels.

    Raises:
        InputError: stems that are missing, not numbered from 1, of no mixture, without label or, where they are
            needed, of another length than their mixture; by name.
    """
    found: dict[str, dict[str, Utterance]] = defaultdict(dict)
    for stem in stems:
        mixture, _, number = stem.key.rpartition("-")
        found[mixture][number] = stem
        if stem.label is None:
            raise InputError(f"{listed}: {stem.key} has no label")
    if strange := sorted(found.keys() - {row.key for row in index}):
        raise InputError(
            f"{listed}: stems of {len(strange)} mixtures that are not in the list: {abbreviate(strange)}"
        )
    rows = []
    for row in index:
        talkers = found.get(row.key, {})
        if set(talkers) != (expected := {str(k) for k in range(1, max(2, len(talkers)) + 1)}):
            raise InputError(
                f"{listed}: stems {sorted(talkers)} of mixture {row.key}, expected {sorted(expected)}"
            )
        if odd := [one for one in talkers.values() if audio and one.samples != row.samples]:
            raise InputError(
                f"{listed}: {odd[0].key} has {odd[0].samples} samples, its mixture {row.samples}"
            )
        ordered = (talkers[str(k)] for k in range(1, len(talkers) + 1))
        rows.append(
            replace(row, stems=tuple(one if audio else replace(one, path="") for one in ordered))
        )
    return rows
