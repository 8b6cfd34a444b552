"""Mixtures of a list, joined with the stems of their talkers."""

from collections import defaultdict
from dataclasses import replace

from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.files import InputError, abbreviate
from wedefense_lite.mixtures.ids import split_talker_id


def with_talkers(
    index: list[Utterance], stems: list[Utterance], stem_list: str, audio: bool
) -> list[Utterance]:
    """The mixtures with their reference stems, in the order of their talkers.

    Args:
        index: the mixtures.
        stems: of these, and of no others; ``<mixture>-<k>`` is that of talker k, from 1.
        stem_list: path of the list of the stems, for messages.
        audio: whether the stems themselves are needed, or only their labels.

    Raises:
        InputError: stems that are missing, not numbered from 1, of no mixture, without label or,
            where they are needed, of another length than their mixture; by name.
    """
    stems_by_mixture: dict[str, dict[str, Utterance]] = defaultdict(dict)
    for stem in stems:
        mixture, number = split_talker_id(stem.key)
        stems_by_mixture[mixture][number] = stem
        if stem.label is None:
            raise InputError(f"{stem_list}: {stem.key} has no label")
    strangers = sorted(stems_by_mixture.keys() - {row.key for row in index})
    if strangers:
        raise InputError(
            f"{stem_list}: stems of {len(strangers)} mixtures that are not in the list: "
            f"{abbreviate(strangers)}"
        )
    rows = []
    for row in index:
        ordered = _ordered_stems(row.key, stems_by_mixture.get(row.key, {}), stem_list)
        for stem in ordered:
            if audio and stem.samples_at(row.rate or stem.rate) != row.samples:
                raise InputError(
                    f"{stem_list}: {stem.key} has {stem.samples} samples, its mixture {row.samples}"
                )
        if not audio:
            # Without a path a stem is a label, and nothing tries to read it.
            ordered = [replace(stem, path="") for stem in ordered]
        rows.append(replace(row, stems=tuple(ordered)))
    return rows


def _ordered_stems(mixture: str, stems: dict[str, Utterance], stem_list: str) -> list[Utterance]:
    """Stems by number from 1, two or more; anything else is an ``InputError``."""
    # Two at least: a mixture without any stem is told by the numbers that it lacks.
    numbers = [str(number) for number in range(1, max(2, len(stems)) + 1)]
    if set(stems) != set(numbers):
        raise InputError(
            f"{stem_list}: stems {sorted(stems)} of mixture {mixture}, expected {sorted(numbers)}"
        )
    return [stems[number] for number in numbers]
