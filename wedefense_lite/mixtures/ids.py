"""Ids of talkers: talker k of a mixture is the utterance ``<mixture>-<k>``.

Talkers, their stems and the streams of a separator count from 1. Number 0 is the mixture as a
whole, where a system scores it beside its talkers.
"""

WHOLE_MIXTURE = 0


def talker_id(mixture: str, number: int) -> str:
    """Id of a talker, a stem or a stream.

    Args:
        mixture: id of the mixture.
        number: of the talker from 1, or ``WHOLE_MIXTURE``.
    """
    return f"{mixture}-{number}"


def split_talker_id(key: str) -> tuple[str, str]:
    """Mixture and number of an id of ``talker_id``, both as text.

    The number is not converted: a reader compares it with the numbers that it expects, so that
    ``m-01`` and ``m-x`` are refused as what they are.
    """
    mixture, _, number = key.rpartition("-")
    return mixture, number
