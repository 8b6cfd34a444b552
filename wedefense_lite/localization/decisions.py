"""What segments that were decided on get right, in time: as a whole, and by what the utterances are like."""

from collections.abc import Mapping, Sequence

import numpy as np

from wedefense_lite.audio.segments import Segments
from wedefense_lite.labels import BONAFIDE, SPOOF
from wedefense_lite.localization.frames import Frames
from wedefense_lite.localization.metrics import (
    confusion,
    decision_rates,
    found_seconds,
    segment_scores,
)

Pairs = Sequence[tuple[Segments, Segments]]
FRACTIONS = ("none", "up to 25 %", "25 to 50 %", "50 to 75 %", "over 75 %")
LENGTHS = {
    "up to 0.1 s": 0.1,
    "0.1 to 0.2 s": 0.2,
    "0.2 to 0.5 s": 0.5,
    "0.5 to 1 s": 1.0,
    "over 1 s": np.inf,
}
AROUND = 0.1  # seconds to either side of a splice


def time_metrics(seconds: np.ndarray) -> dict:
    """:func:`decision_rates` of ``(2, 2)`` seconds, and the seconds that an hour of audio has of either error."""
    hours = seconds.sum() / 3600
    errors = {
        "missed_seconds_an_hour": seconds[0, 1] / hours,
        "false_seconds_an_hour": seconds[1, 0] / hours,
    }
    return decision_rates(seconds) | {"hours": hours} | errors


def by_fraction(pairs: Pairs) -> dict[str, dict]:
    """:func:`time_metrics` of utterances by the share of their time that is spoofed."""
    seconds = np.array([confusion(*pair) for pair in pairs])
    kinds = np.ceil(4 * seconds[:, 0].sum(1) / seconds.sum((1, 2)) - 1e-9).astype(int)
    return {
        FRACTIONS[kind]: time_metrics(seconds[kinds == kind].sum(0)) for kind in np.unique(kinds)
    }


def by_length(pairs: Pairs) -> dict[str, dict]:
    """Number of spoofed segments by length, the share of their time that was found, and of those found half or more."""
    spoofed = [
        Segments(*(column[reference.label == SPOOF] for column in reference))
        for _, reference in pairs
    ]
    found = [
        found_seconds(decided, parts)
        for (decided, _), parts in zip(pairs, spoofed)
        if len(parts.start)
    ]
    found_N, length_N = (
        np.concatenate(found),
        np.concatenate([parts.end - parts.start for parts in spoofed]),
    )
    kinds = np.searchsorted(list(LENGTHS.values()), length_N)
    return {
        name: {
            "segments": int(chosen.sum()),
            "recall": float(found_N[chosen].sum() / length_N[chosen].sum()),
            "half_found": float((found_N >= length_N / 2)[chosen].mean()),
        }
        for kind, name in enumerate(LENGTHS)
        if (chosen := kinds == kind).any()
    }


def at_resolution(pairs: Pairs, hop: float, resolution: float) -> dict[str, float | None]:
    """:func:`decision_rates` of segments of ``resolution`` seconds by PartialSpoof's rule."""
    counts = np.zeros((2, 2))
    for decided, reference in pairs:
        edges = np.arange(round(decided.end[-1] / hop) + 1) * hop
        places = np.searchsorted(decided.end, edges[:-1] + hop / 2).clip(max=len(decided.end) - 1)
        is_bonafide, label = segment_scores(
            Frames(edges, decided.label[places]), reference, hop, resolution
        )
        np.add.at(counts, (label, is_bonafide), 1)
    return decision_rates(counts)


def at_splices(
    decided: Mapping[str, Segments], splices: Mapping[str, list[float]]
) -> dict[str, float]:
    """False alarms around joints of bona fide parts: a system that finds these has not learned what is spoofed.

    Args:
        decided: segments by utterance.
        splices: seconds of the joints, by utterance.

    Returns:
        ``at_splices``, the share of joints with something spoofed within 0.1 s, by decision, and for comparison
        ``between``, that of the places halfway between joints.
    """

    def is_alarm(name: str, place: float) -> bool:
        near = Segments(*np.array([[place - AROUND], [place + AROUND], [BONAFIDE]]))
        return found_seconds(decided[name], near)[0] > 0

    ends = {
        name: np.array([0.0, *sorted(times), decided[name].end[-1]])
        for name, times in splices.items()
    }
    places = {
        "at_splices": splices,
        "between": {name: (edge[1:] + edge[:-1]) / 2 for name, edge in ends.items()},
    }
    return {
        what: float(
            np.mean([is_alarm(name, place) for name, times in by_name.items() for place in times])
        )
        for what, by_name in places.items()
    }
