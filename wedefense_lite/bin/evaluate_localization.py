"""Frame scores, and decided segments, against reference segments."""

from wedefense_lite import cli

import logging
import math
from typing import NamedTuple

import numpy as np
from jsonargparse.typing import NonNegativeInt

from wedefense_lite.audio.segments import Segments, parse_seconds, read_rttm
from wedefense_lite.files import InputError, converted, iter_rows, number
from wedefense_lite.labels import BONAFIDE, LABELS, SPOOF
from wedefense_lite.localization.decisions import (
    at_resolution,
    at_splices,
    by_fraction,
    by_length,
    match_decisions,
    time_metrics,
)
from wedefense_lite.localization.frame_scores import match_frames
from wedefense_lite.localization.frames import FrameScores
from wedefense_lite.localization.metrics import (
    SCORING_RULE,
    FrameLabelRule,
    confusion,
    frames_of_segment,
    range_eer,
    segment_eer,
)
from wedefense_lite.localization.published import read_frame_scores, read_reference
from wedefense_lite.metrics.bootstrap import Resampler, intervals
from wedefense_lite.metrics.detection import DEFAULT_TIE, Tie, UndefinedMetric
from wedefense_lite.metrics.summary import warn_of_polarity
from wedefense_lite.report.tables import check_outputs, publish, table, tabulated
from wedefense_lite.scoring.scores import read_condition

Pairs = list[tuple[FrameScores, Segments]]  # frame scores and reference of each utterance
Resolutions = dict[str, float]  # seconds by their spelling on the command line
PUBLISHED_RESOLUTIONS = ("0.02", "0.04", "0.08", "0.16", "0.32", "0.64")
UNDEFINED = "n/a"  # a rate of a table that a set without one of the classes doesn't define


class RateOptions(NamedTuple):
    """What error rates depend on besides scores and reference.

    Attributes:
        hop: seconds a frame.
        seconds: resolutions of the segment EERs.
        rule: definition of the label of a frame.
        merge_ties: rule for equal scores of segments.
    """

    hop: float
    seconds: Resolutions
    rule: FrameLabelRule
    merge_ties: bool


def evaluate_localization(
    frame_scores: str,
    rttm: str,
    resolutions: str | None = None,
    segments: str | None = None,
    splices: str | None = None,
    meta: str | None = None,
    by: str = "attack",
    bootstrap: NonNegativeInt = 0,
    cluster: str | None = None,
    frame_labels: FrameLabelRule = SCORING_RULE,
    tie: Tie = DEFAULT_TIE,
    hop: float | None = None,
    label_hop: float | None = None,
    json: str | None = None,
    txt: str | None = None,
) -> None:
    """Print equal error rates of frame scores by segment and by duration, and metrics of decisions.

    A rate is n/a (null in the JSON) where no segment of a resolution is bona fide, or none spoof.

    Scores and references may be those of PartialSpoof, partialspoof-metrics, LlamaPartialSpoof or
    HAD too; what a file was read as is logged, and docs/score_files.md has a list.

    Args:
        frame_scores: lines ``utt start duration llr``, seconds, higher is more bona fide.
        rttm: reference segments, the label in field 8. Where all are spoofed, the rest is bona
            fide, and so are utterances without any.
        resolutions: segment lengths in seconds, separated by commas. By default 0.02, 0.04, 0.08,
            0.16, 0.32 and 0.64, as far as they are whole numbers of frames.
        segments: decided segments, the segments.rttm of bin/segments.py.
        splices: lines ``utt seconds``, joints of bona fide parts; false alarms there are counted.
        meta: table, or utt2attack, with the column that ``by`` names. The error rates are printed
            for each of its values too, over the utterances with this value and all utterances
            that are bona fide as a whole. Two files with a comma between: the first for ``by``, the
            second for ``cluster``.
        by: column of the table ``meta``.
        bootstrap: number of bootstrap samples of utterances for 95 % intervals. Utterances with the
            same classes in them (bona fide only, spoof only, both) are drawn among themselves, and
            a sample that does not define a rate is drawn again for that rate.
        cluster: column of ``meta`` whose values (speakers, say) are drawn instead of utterances.
        frame_labels: definition of the label of a frame. rounded: boundaries are rounded to frames,
            as in PartialSpoof's scorer. any_spoofed_sample: spoof if any sample is, as in its
            published label lists and in training.
        tie: rule for equal scores of segments, merge or official, as in bin/evaluate.py; the EER by
            duration always merges them, as its official program does.
        hop: seconds a frame of scores without times, if the name of their file doesn't say it.
        label_hop: the same of labels without times.
        json: file for the results, rates as fractions.
        txt: file for the printed tables.
    """
    check_outputs(json, txt)
    if splices and not segments:
        raise InputError("--splices needs --segments: decisions, which false alarms are counted in")
    if cluster and not meta:
        raise InputError("--cluster names a column of --meta, which is not given")
    seconds = {}
    if resolutions is not None:
        seconds = cli.checked_option("--resolutions", _parse_resolutions, resolutions)
    frames, hop = read_frame_scores(frame_scores, hop)
    reference = read_reference(rttm, frames, label_hop)
    if resolutions is None:
        seconds = _whole_resolutions(hop)
    pairs = match_frames(frames, reference, hop, frame_scores, rttm)
    _check_classes(pairs, rttm)
    for resolution in seconds.values():
        cli.checked_option("--resolutions", frames_of_segment, hop, resolution)
    options = RateOptions(hop, seconds, frame_labels, tie == "merge")
    rates = error_rates(pairs, options)
    defined = {name for name, rate in rates.items() if rate is not None}
    tables = meta.split(",") if meta else []
    ends = {}
    if bootstrap:
        clusters = read_condition(tables[-1], cluster, reference) if cluster else None
        ends = _intervals(pairs, options, defined, clusters, bootstrap)
    elif cluster:
        logging.warning("--cluster %s does nothing without --bootstrap", cluster)
    by_value = {}
    if meta:
        by_value = _rates_by_condition(pairs, read_condition(tables[0], by, reference), options)
    rows = [("all", rates), *by_value.items()]
    for value, row in rows:
        warn_of_polarity(value, row)
        undefined = [name for name, rate in row.items() if rate is None]
        if undefined:
            logging.warning(
                "%s: no segments of both classes at %s, n/a", value, ", ".join(undefined)
            )
    results = _by_metric(rates, seconds)
    results["n_utterances"] = len(pairs)
    results["frame_labels"] = frame_labels
    results["tie"] = tie
    if ends:
        results["ci"] = _by_metric(ends, seconds)
    results["by"] = {value: _by_metric(row, seconds) for value, row in by_value.items()}
    decisions = {}
    if segments:
        decisions = evaluate_decisions(segments, reference, rttm, options, splices)
        results["decisions"] = decisions
    publish(_lines(rows, options, decisions), results, json, txt)


def _parse_resolutions(text: str) -> Resolutions:
    """Seconds by their spelling; ValueError where one is no positive number."""
    seconds = {}
    for spelling in text.split(","):
        try:
            value = number(spelling)
        except ValueError:
            value = math.nan
        if not 0 < value < math.inf:
            raise ValueError(f"{spelling!r}, expected seconds above 0, such as 0.02,0.04")
        seconds[spelling] = value
    return seconds


def _whole_resolutions(hop: float) -> Resolutions:
    """Published resolutions that are whole numbers of frames; one frame if none is."""
    seconds = {}
    for spelling in PUBLISHED_RESOLUTIONS:
        value = number(spelling)
        try:
            frames_of_segment(hop, value)
        except ValueError:
            continue
        seconds[spelling] = value
    if len(seconds) < len(PUBLISHED_RESOLUTIONS):
        seconds = seconds or {f"{hop:g}": hop}
        logging.info("frames of %g s: segments of %s s", hop, ", ".join(seconds))
    return seconds


def _check_classes(pairs: Pairs, rttm: str) -> None:
    """Refuse a reference of one class, which defines no rate at all."""
    for label, name in enumerate(LABELS):
        if not any((truth.label == label).any() for _, truth in pairs):
            raise InputError(f"{rttm}: no {name} time in it, expected segments of both classes")


def _intervals(
    pairs: Pairs,
    options: RateOptions,
    defined: set[str],
    clusters: np.ndarray | None,
    bootstrap: int,
) -> dict[str, tuple[float, float]]:
    """95 % intervals of the rates that are defined; see ``_strata``.

    Args:
        pairs: scores and reference of each utterance.
        options: of the rates.
        defined: names of the rates that all utterances together define.
        clusters: ``(N,)`` cluster of each utterance; None draws utterances.
        bootstrap: number of samples.
    """
    order, sizes = _strata(pairs)

    def resampled(*counts: np.ndarray) -> dict[str, float | None]:
        """Error rates of a bootstrap sample, from how often each utterance is in it."""
        sample = np.repeat(order, np.concatenate(counts))
        rates = error_rates([pairs[index] for index in sample], options)
        return {name: rate for name, rate in rates.items() if name in defined}

    resampler = Resampler(sizes, None if clusters is None else clusters[order])
    return cli.checked_option("--bootstrap", intervals, resampled, resampler, bootstrap)


def _strata(pairs: Pairs) -> tuple[np.ndarray, list[int]]:
    """Strata of utterances for the bootstrap, so that no sample lacks a class.

    Utterances of one stratum have the same classes in them: spoof only, bona fide only, or both.

    Returns:
        Positions of the utterances, stratum after stratum, and the sizes of the strata.
    """
    strata = []
    for _, truth in pairs:
        has_spoof = (truth.label == SPOOF).any()
        has_bonafide = (truth.label == BONAFIDE).any()
        strata.append(2 * int(has_spoof) + int(has_bonafide))
    order = np.argsort(strata, kind="stable")
    _, sizes = np.unique(strata, return_counts=True)
    return order, sizes.tolist()


def _rates_by_condition(
    pairs: Pairs, values: np.ndarray, options: RateOptions
) -> dict[str, dict[str, float | None]]:
    """Error rates of the utterances of each value, together with all that are bona fide."""
    is_bonafide = np.array([(truth.label == BONAFIDE).all() for _, truth in pairs])
    rates = {}
    for value in np.unique(values[~is_bonafide]).tolist():
        subset = np.flatnonzero(is_bonafide | (values == value))
        rates[value] = error_rates([pairs[index] for index in subset], options)
    return rates


def error_rates(pairs: Pairs, options: RateOptions) -> dict[str, float | None]:
    """Range EER, and segment EER at each resolution, by its spelling.

    A rate is None where a class is missing.

    Raises:
        ValueError: a resolution is not a whole number of frames.
    """
    rates: dict[str, float | None] = {}
    try:
        rates["range_eer"] = range_eer(pairs).value
    except UndefinedMetric:
        rates["range_eer"] = None
    for spelling, resolution in options.seconds.items():
        try:
            point = segment_eer(pairs, options.hop, resolution, options.rule, options.merge_ties)
            rates[spelling] = point.value
        except UndefinedMetric:
            rates[spelling] = None
    return rates


def _by_metric(values: dict, seconds: Resolutions) -> dict:
    """Values of ``error_rates``, or their intervals, as the results file has them."""
    return {
        "segment_eer": {spelling: values.get(spelling) for spelling in seconds},
        "range_eer": values.get("range_eer"),
    }


def evaluate_decisions(
    path: str,
    reference: dict[str, Segments],
    rttm: str,
    options: RateOptions,
    splices: str | None,
) -> dict:
    """Metrics of decided segments, by table and row.

    Args:
        path: RTTM of the decided segments.
        reference: segments by utterance.
        rttm: file of the reference, for errors.
        options: frames, resolutions at which segments are counted, definition of labels.
        splices: file of the joints of bona fide parts, or None.

    Raises:
        InputError: an utterance is in one file only.
    """
    decided = read_rttm(path)
    pairs = match_decisions(decided, reference, options.hop, path, rttm)
    seconds_CC = sum(confusion(decisions, truth) for decisions, truth in pairs)
    by_resolution = {}
    for spelling, resolution in options.seconds.items():
        by_resolution[f"{spelling} s"] = at_resolution(pairs, options.hop, resolution, options.rule)
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
        second = converted(path, line, name, cell, parse_seconds)
        if name not in decided:
            raise InputError(f"{path}:{line}: {name} is not in {decided_path}")
        end = decided[name].end[-1]
        if second > end:
            raise InputError(f"{path}:{line}: {name} ends at {end:g} s, expected a joint before it")
        times.setdefault(name, []).append(second)
    return times


def _lines(rows: list[tuple[str, dict]], options: RateOptions, decisions: dict) -> list[str]:
    """The definitions and the printed tables, a blank line after each."""
    head = f"frame labels: {options.rule}"
    if not options.merge_ties:
        head += ", ties: official"
    cells = [["percent", "range EER", *(f"EER {spelling} s" for spelling in options.seconds)]]
    for value, eers in rows:
        cells.append([value, *map(_percent, eers.values())])
    lines = [head, *table(cells), ""]
    for title, groups in decisions.items():
        if groups:
            lines += [*tabulated(title, groups), ""]
    return lines


def _percent(rate: float | None) -> str:
    return UNDEFINED if rate is None else f"{100 * rate:.2f}"


if __name__ == "__main__":
    cli.run(evaluate_localization)
