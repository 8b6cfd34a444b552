"""Frame scores, and segments that were decided on, against reference segments."""

from collections.abc import Sequence

import numpy as np

from wedefense_lite import cli
from wedefense_lite.audio.segments import Segments, read_rttm
from wedefense_lite.files import InputError, converted, iter_rows, number
from wedefense_lite.labels import BONAFIDE
from wedefense_lite.localization.decisions import (
    at_resolution,
    at_splices,
    by_fraction,
    by_length,
    time_metrics,
)
from wedefense_lite.localization.frame_scores import matched, read_frames
from wedefense_lite.localization.metrics import confusion, range_eer, segment_eer
from wedefense_lite.metrics.bootstrap import Resampler, intervals
from wedefense_lite.report.tables import publish, table, tabulated
from wedefense_lite.scoring.scores import align, read_condition


def evaluate_localization(
    frame_scores: str,
    rttm: str,
    resolutions: str = "0.02,0.04,0.08,0.16,0.32,0.64",
    segments: str | None = None,
    splices: str | None = None,
    meta: str | None = None,
    by: str = "attack",
    bootstrap: int = 0,
    json: str | None = None,
    txt: str | None = None,
) -> None:
    """Print equal error rates by segments of several lengths, and by duration, and what decisions get right.

    Args:
        frame_scores: lines ``utt start duration llr``, seconds, higher is more bona fide.
        rttm: reference segments, the label in field 8.
        resolutions: segment lengths in seconds, separated by commas.
        segments: segments.rttm of bin/segments.py, decided in the way that was best on dev.
        splices: lines ``utt seconds``, joints of bona fide parts, at which false alarms are counted.
        meta: table, or utt2attack, by a column of which the error rates are printed too; each value with
            all utterances that are bona fide as a whole.
        by: that column.
        bootstrap: number of bootstrap samples of utterances for 95 % intervals.
        json: file for the results, rates as fractions.
        txt: file for what is printed.
    """
    if splices and not segments:
        raise InputError("--splices needs --segments: decisions, which false alarms are counted in")
    (frames, hop), reference = read_frames(frame_scores), read_rttm(rttm)
    utterances = matched(frames, reference, hop, frame_scores, rttm)
    # Utterances with the same classes in them are drawn among themselves, so that no sample lacks one.
    kinds = [len(set(parts.label)) + 2 * parts.label[0] for _, parts in utterances]
    order, sizes = np.argsort(kinds, kind="stable"), np.unique(kinds, return_counts=True)[1]
    seconds = cli.checked(lambda: {typed: float(typed) for typed in resolutions.split(",")})

    def eers(chosen: Sequence[int]) -> dict[str, float]:
        pairs = [utterances[index] for index in chosen]
        by_range = {"range_eer": range_eer(pairs).value}
        return by_range | {
            typed: segment_eer(pairs, hop, length).value for typed, length in seconds.items()
        }

    def by_name(values: dict) -> dict:
        return {
            "segment_eer": {typed: values[typed] for typed in seconds},
            "range_eer": values["range_eer"],
        }

    try:
        found, ends = {"all": eers(order)}, {}
        if bootstrap:
            ends = intervals(
                lambda *n: eers(np.repeat(order, np.concatenate(n))), Resampler(sizes), bootstrap
            )
        if meta:
            values = read_condition(meta, by, reference)
            is_bonafide = np.array([(parts.label == BONAFIDE).all() for _, parts in utterances])
            for value in np.unique(values[~is_bonafide]):
                found[value] = eers(np.flatnonzero(is_bonafide | (values == value)))
    except ValueError as error:
        raise InputError(f"{rttm}: {error}") from error
    results = (
        by_name(found["all"])
        | {"n_utterances": len(utterances)}
        | ({"ci": by_name(ends)} if ends else {})
    )
    results["by"] = {value: by_name(one) for value, one in found.items() if value != "all"}
    if segments:
        results["decisions"] = decided_on(segments, reference, rttm, hop, seconds, splices)
    publish(_lines(found, seconds, results.get("decisions", {})), results, json, txt)


def _lines(found: dict[str, dict], seconds: dict[str, float], decisions: dict) -> list[str]:
    rows = [["percent", "range EER", *(f"EER {typed} s" for typed in seconds)]]
    rows += [[value, *(f"{100 * eer:.2f}" for eer in one.values())] for value, one in found.items()]
    tables = [table(rows), *(tabulated(title, groups) for title, groups in decisions.items())]
    return [line for one in tables for line in (*one, "")]


def decided_on(
    path: str,
    reference: dict[str, Segments],
    rttm: str,
    hop: float,
    seconds: dict[str, float],
    splices: str | None,
) -> dict:
    """Everything that is counted in decisions; seconds by the name of the resolution."""
    decided = read_rttm(path)
    pairs = list(zip(align(decided, path, reference, rttm), reference.values()))
    found = {
        "time": {"all": time_metrics(sum(confusion(*pair) for pair in pairs))},
        "segments": {
            f"{typed} s": at_resolution(pairs, hop, length) for typed, length in seconds.items()
        },
        "spoofed share": by_fraction(pairs),
        "spoofed part": by_length(pairs),
    }
    if splices:
        times: dict[str, list[float]] = {}
        for line, (name, place) in iter_rows(splices, columns=2):
            times.setdefault(name, []).append(converted(splices, line, name, place, number))
            if name not in decided:
                raise InputError(f"{splices}:{line}: {name} is not in {path}")
        found["false alarms"] = {"bona fide joints": at_splices(decided, times)}
    return found


if __name__ == "__main__":
    cli.run(evaluate_localization)
