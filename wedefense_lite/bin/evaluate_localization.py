"""Frame scores, and decided segments, against reference segments."""

from collections import Counter

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
from wedefense_lite.localization.frame_scores import match_frames, read_frames
from wedefense_lite.localization.frames import FrameScores
from wedefense_lite.localization.metrics import confusion, range_eer, segment_eer
from wedefense_lite.metrics.bootstrap import Resampler, intervals
from wedefense_lite.report.tables import publish, table, tabulated
from wedefense_lite.scoring.scores import align, read_condition

Pairs = list[tuple[FrameScores, Segments]]  # frame scores and reference of each utterance
Resolutions = dict[str, float]  # seconds by their spelling on the command line


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
    """Print equal error rates of frame scores by segment and by duration, and metrics of decisions.

    Args:
        frame_scores: lines ``utt start duration llr``, seconds, higher is more bona fide.
        rttm: reference segments, the label in field 8.
        resolutions: segment lengths in seconds, separated by commas.
        segments: decided segments, the segments.rttm of bin/segments.py.
        splices: lines ``utt seconds``, joints of bona fide parts; false alarms there are counted.
        meta: table, or utt2attack, with the column that ``by`` names. The error rates are printed
            for each of its values too, over the utterances with this value and all utterances
            that are bona fide as a whole.
        by: column of the table ``meta``.
        bootstrap: number of bootstrap samples of utterances for 95 % intervals.
        json: file for the results, rates as fractions.
        txt: file for the printed tables.
    """
    if splices and not segments:
        raise InputError("--splices needs --segments: decisions, which false alarms are counted in")
    frames, hop = read_frames(frame_scores)
    reference = read_rttm(rttm)
    pairs = match_frames(frames, reference, hop, frame_scores, rttm)
    seconds = cli.checked(_parse_resolutions, resolutions)
    rates = {}
    ends = {}
    try:
        order, sizes = _strata(pairs)
        rates["all"] = error_rates([pairs[index] for index in order], hop, seconds)
        if bootstrap:

            def resampled(*counts: np.ndarray) -> dict[str, float]:
                """Error rates of a bootstrap sample, from how often each utterance is in it."""
                sample = np.repeat(order, np.concatenate(counts))
                return error_rates([pairs[index] for index in sample], hop, seconds)

            ends = intervals(resampled, Resampler(sizes), bootstrap)
        if meta:
            values = read_condition(meta, by, reference)
            is_bonafide = np.array([(truth.label == BONAFIDE).all() for _, truth in pairs])
            for value in np.unique(values[~is_bonafide]):
                subset = np.flatnonzero(is_bonafide | (values == value))
                rates[value] = error_rates([pairs[index] for index in subset], hop, seconds)
    except ValueError as error:
        raise InputError(f"{rttm}: {error}") from error
    results = _by_metric(rates["all"], seconds)
    results["n_utterances"] = len(pairs)
    if ends:
        results["ci"] = _by_metric(ends, seconds)
    results["by"] = {
        value: _by_metric(row, seconds) for value, row in rates.items() if value != "all"
    }
    decisions = {}
    if segments:
        decisions = evaluate_decisions(segments, reference, rttm, hop, seconds, splices)
        results["decisions"] = decisions
    publish(_lines(rates, seconds, decisions), results, json, txt)


def _parse_resolutions(text: str) -> Resolutions:
    """Seconds by their spelling; ValueError where one is no number."""
    return {spelling: float(spelling) for spelling in text.split(",")}


def _strata(pairs: Pairs) -> tuple[list[int], list[int]]:
    """Strata of utterances for the bootstrap, so that no sample lacks a class.

    Utterances of one stratum have the same classes in them and begin with the same class.

    Returns:
        Positions of the utterances, stratum after stratum, and the sizes of the strata.
    """
    strata = []
    for _, truth in pairs:
        has_both_classes = len(set(truth.label)) == 2
        strata.append((truth.label[0], has_both_classes))
    order = sorted(range(len(pairs)), key=strata.__getitem__)
    counts = Counter(strata)
    return order, [counts[stratum] for stratum in sorted(counts)]


def error_rates(pairs: Pairs, hop: float, seconds: Resolutions) -> dict[str, float]:
    """Range EER, and segment EER at each resolution, by its spelling.

    Raises:
        ValueError: a class is missing, or a resolution is not a whole number of frames.
    """
    rates = {"range_eer": range_eer(pairs).value}
    for spelling, resolution in seconds.items():
        rates[spelling] = segment_eer(pairs, hop, resolution).value
    return rates


def _by_metric(values: dict, seconds: Resolutions) -> dict:
    """Values of ``error_rates``, or their intervals, as the results file has them."""
    return {
        "segment_eer": {spelling: values[spelling] for spelling in seconds},
        "range_eer": values["range_eer"],
    }


def evaluate_decisions(
    path: str,
    reference: dict[str, Segments],
    rttm: str,
    hop: float,
    seconds: Resolutions,
    splices: str | None,
) -> dict:
    """Metrics of decided segments, by table and row.

    Args:
        path: RTTM of the decided segments.
        reference: segments by utterance.
        rttm: file of the reference, for errors.
        hop: seconds a frame.
        seconds: resolutions at which segments are counted.
        splices: file of the joints of bona fide parts, or None.

    Raises:
        InputError: an utterance is in one file only.
    """
    decided = read_rttm(path)
    pairs = list(zip(align(decided, path, reference, rttm), reference.values()))
    seconds_CC = sum(confusion(decisions, truth) for decisions, truth in pairs)
    by_resolution = {}
    for spelling, resolution in seconds.items():
        by_resolution[f"{spelling} s"] = at_resolution(pairs, hop, resolution)
    metrics = {
        "time": {"all": time_metrics(seconds_CC)},
        "segments": by_resolution,
        "spoofed share": by_fraction(pairs),
        "spoofed part": by_length(pairs),
    }
    if splices:
        times = _read_splices(splices, decided, path)
        metrics["false alarms"] = {"bona fide joints": at_splices(decided, times)}
    return metrics


def _read_splices(
    path: str, decided: dict[str, Segments], decided_path: str
) -> dict[str, list[float]]:
    """Seconds of joints by utterance; InputError where an utterance has no decided segments."""
    times: dict[str, list[float]] = {}
    for line, (name, cell) in iter_rows(path, columns=2):
        second = converted(path, line, name, cell, number)
        if name not in decided:
            raise InputError(f"{path}:{line}: {name} is not in {decided_path}")
        times.setdefault(name, []).append(second)
    return times


def _lines(rates: dict[str, dict], seconds: Resolutions, decisions: dict) -> list[str]:
    """The printed tables, a blank line after each."""
    rows = [["percent", "range EER", *(f"EER {spelling} s" for spelling in seconds)]]
    for value, eers in rates.items():
        rows.append([value, *(f"{100 * eer:.2f}" for eer in eers.values())])
    lines = [*table(rows), ""]
    for title, groups in decisions.items():
        lines += [*tabulated(title, groups), ""]
    return lines


if __name__ == "__main__":
    cli.run(evaluate_localization)
