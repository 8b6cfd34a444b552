"""Stage 6: logits to log-likelihood ratios, calibrated where a held-out set is given."""

from wedefense_lite import cli

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from wedefense_lite.files import (
    InputError,
    check_writable,
    file_path,
    folder_lock,
    read_labels,
    write_lines,
)
from wedefense_lite.labels import LABELS
from wedefense_lite.localization.frame_scores import write_frames
from wedefense_lite.metrics.detection import SortedScores
from wedefense_lite.scoring.calibration import (
    IDENTITY,
    Affine,
    calibrated_files,
    fit_affine,
    refuse_overlap,
    write_calibrated,
)
from wedefense_lite.scoring.llr import llr_from_logits, read_logits, training_prior, utterance_llr
from wedefense_lite.scoring.recordings import by_recording, merger
from wedefense_lite.scoring.scores import align, by_class, check_finite
from wedefense_lite.scoring.sidecar import (
    Sidecar,
    begin_results,
    check_sidecar,
    read_sidecar,
    write_sidecar,
)

# Fields that the sidecar of a calibration set must share with that of the logits it calibrates.
SHARED_FIELDS = ("class_prior", "has_posterior", "config_hash", "model_hash", "window_seconds")


class Logits(NamedTuple):
    """Logits of a set, and where their LLRs go.

    Attributes:
        scp: the logits.
        out: ``llr.txt`` or another name.
        sidecar: of the logits.
        prior: prior of the training, see ``training_prior``.
    """

    scp: str
    out: Path
    sidecar: Sidecar
    prior: tuple[float, ...] | None


class Scores(NamedTuple):
    """Scores of a set before calibration.

    Attributes:
        frames: ``(F,)`` LLRs of the frames of each utterance, or of each window a single one.
        utterances: LLR of each utterance.
    """

    frames: dict[str, np.ndarray]
    utterances: dict[str, float]


def logits_to_llr(
    logits_scp_path: list[str] | str,
    pi_spoof: float,
    training_counts: str | None = None,
    train_label: str | None = None,
    cal_logits_scp_path: str | None = None,
    cal_label: str | None = None,
    llr_path: list[str] | str | None = None,
    allow_negative_slope: bool = False,
    merge: str = "mean",
) -> None:
    """Write ``llr.txt``, its sidecar ``llr.json`` and ``calibration.json``.

    Args:
        logits_scp_path: logits ``[spoof, bonafide]`` of the utterances to score, of one set or
            several. Frame logits give ``frame_llr.txt`` too, not calibrated; an utterance's score
            is their lowest mean over 0.2 s.
        pi_spoof: target prior of spoof, which weights the calibration; without a calibration set it
            has no effect.
        training_counts: ``lab2num_utts`` of the training set: the prior that is divided out where
            the sidecar has none, else checked against the sidecar's.
        train_label: ``utt2lab`` of the training set, checked against the counts.
        cal_logits_scp_path: logits of a held-out set to fit an affine calibration on, which all
            sets share.
        cal_label: ``utt2lab`` of that set.
        llr_path: file to write, one a set; by default ``llr.txt`` beside the logits.
        allow_negative_slope: turn scores round that are higher for spoof on the held-out set;
            otherwise they are an error.
        merge: score of an utterance with logits of several windows, which are in
            ``window_llr.txt``, not calibrated: mean of their LLRs, min, or lowest3 and the like,
            the mean of the three lowest.
    """
    cli.checked_option("--merge", merger, merge)
    if not 0 < pi_spoof < 1:
        raise InputError(f"--pi_spoof is {pi_spoof}, expected a number between 0 and 1")
    sets = _read_sidecars(logits_scp_path, llr_path, training_counts, train_label)
    # All sets before the first is written: where one can't be, all results stay as they were.
    scores_of_sets = [_read_scores(logits.scp, logits, merge) for logits in sets]
    affine = IDENTITY
    cllrs = {}
    if cal_logits_scp_path or cal_label:
        held_out = cli.needed("--cal_logits_scp_path", cal_logits_scp_path)
        cal_label = cli.needed("--cal_label", cal_label)
        trials = _read_held_out(held_out, cal_label, sets, scores_of_sets, merge)
        affine = cli.checked(
            fit_affine, trials["bonafide"], trials["spoof"], pi_spoof, allow_negative_slope
        )
        cllrs["cllr_before"] = _report_cllr("before", trials, IDENTITY)
        cllrs["cllr_after"] = _report_cllr("after", trials, affine)
    else:
        logging.info(
            "no calibration set (--cal_logits_scp_path): --pi_spoof %g changes nothing", pi_spoof
        )
    for logits, scores in zip(sets, scores_of_sets):
        llrs = affine(list(scores.utterances.values()))
        check_finite(logits.out, scores.utterances, llrs)
    # What ends in the first set is not to leave old results of the second.
    for logits in sets:
        with folder_lock(logits.out.parent, "calibration"):
            begin_results(*_results_with_sidecars(logits, affine))
    for logits, scores in zip(sets, scores_of_sets):
        report = {"fitted_on": cal_logits_scp_path, "pi_spoof": pi_spoof}
        report["training_prior"] = logits.prior
        if logits.sidecar.window_seconds:
            report["merge"] = merge
        _write_set(logits, scores, affine, report | cllrs)


def _read_sidecars(
    logits_scp_path: list[str] | str,
    llr_path: list[str] | str | None,
    training_counts: str | None,
    train_label: str | None,
) -> list[Logits]:
    """Sets of a command line, none of them read yet.

    Raises:
        InputError: files that can't be written, two sets with a file in common, a sidecar of other
            logits, or a prior that isn't that of the training.
    """
    outs = []
    paired = cli.paired("--logits_scp_path and --llr_path", logits_scp_path, llr_path)
    for scp, path in paired:
        out = file_path(path or file_path(scp).with_name("llr.txt"))
        check_writable(*calibrated_files(out))
        outs.append(out)
    paths = [path for out in outs for path in calibrated_files(out)]
    if len(set(paths)) < len(paths):
        raise InputError(f"{outs[0].parent}: twice, expected a folder for the LLRs of each set")
    sets = []
    for (scp, _), out in zip(paired, outs):
        sidecar = read_sidecar(scp, required=False) or Sidecar()
        _refuse_other_score(scp, sidecar)
        prior = training_prior(sidecar, scp, training_counts, train_label)
        sets.append(Logits(scp, out, sidecar, prior))
    return sets


def _read_scores(scp: str, logits: Logits, merge: str) -> Scores:
    """Scores of logits.

    Args:
        scp: the logits.
        logits: set whose frames, windows and prior they have.
        merge: how windows become an utterance.
    """
    frames = _read_frame_llrs(scp, logits.sidecar, logits.prior)
    return Scores(frames, _utterance_llrs(frames, logits.sidecar, merge))


def _read_held_out(
    held_out: str, cal_label: str, sets: list[Logits], scores_of_sets: list[Scores], merge: str
) -> dict[str, np.ndarray]:
    """Scores by class of the set that the calibration is fitted on.

    Raises:
        InputError: it is of another system than one of the sets, or has an utterance of one.
    """
    labels = read_labels(cal_label)
    sidecar = read_sidecar(held_out, required=False) or Sidecar()
    _refuse_other_score(held_out, sidecar)
    for logits in sets:
        expected = {name: getattr(logits.sidecar, name) for name in SHARED_FIELDS}
        check_sidecar(held_out, sidecar, **expected)
    # The sets agree in all that the scores depend on, so that any of them will do.
    llrs = _read_scores(held_out, sets[0], merge).utterances
    for logits, scores in zip(sets, scores_of_sets):
        refuse_overlap(llrs, scores.utterances, logits.scp)
    aligned = np.array(align(llrs, held_out, labels, cal_label))
    return by_class(np.array(list(labels.values())), aligned, LABELS, cal_label)


def _results_with_sidecars(logits: Logits, affine: Affine) -> list[Path]:
    """Files of a set that have sidecars."""
    paths = [logits.out]
    # A calibration is fitted on utterances, so it has nothing to say of frames.
    if logits.sidecar.frame_seconds and affine is IDENTITY:
        paths.append(logits.out.with_name("frame_llr.txt"))
    return paths


def _write_set(logits: Logits, scores: Scores, affine: Affine, report: dict) -> None:
    """Write the LLRs of a set, and of its frames or windows; see ``logits_to_llr``."""
    sidecar = logits.sidecar
    windows_out = logits.out.with_name("window_llr.txt")
    with folder_lock(logits.out.parent, "calibration"):
        for path in _results_with_sidecars(logits, affine)[1:]:
            write_frames(path, scores.frames, sidecar.frame_seconds)
            write_sidecar(path, sidecar)
        if sidecar.window_seconds and affine is IDENTITY:
            write_lines(windows_out, _window_lines(scores.frames, sidecar.window_seconds))
        write_calibrated(logits.out, scores.utterances, affine, sidecar, report)
    logging.info("wrote %d LLRs to %s", len(scores.utterances), logits.out)


def _refuse_other_score(scp: str, sidecar: Sidecar) -> None:
    """Refuse logits whose score is said to be another one than their difference.

    Raises:
        InputError: as said.
    """
    if sidecar.classes:
        raise InputError(
            f"{scp}: its logits are of {len(sidecar.classes)} sources, expected [spoof, bonafide]: "
            "bin/evaluate_tracing.py takes them"
        )
    if sidecar.score != "difference":
        raise InputError(
            f"{scp}: its score is {sidecar.score}, which is no LLR, expected difference: run "
            "infer.py without --score, or evaluate.py --cm scores.txt, which is beside the logits"
        )


def _read_frame_llrs(
    scp: str, sidecar: Sidecar, prior: tuple[float, ...] | None
) -> dict[str, np.ndarray]:
    """LLRs of the frames of each utterance; a single one without frames."""
    logits = read_logits(scp, by_frame=sidecar.frame_seconds is not None)
    return {name: llr_from_logits(rows, prior) for name, rows in logits.items()}


def _utterance_llrs(
    frame_llrs: Mapping[str, np.ndarray], sidecar: Sidecar, merge: str
) -> dict[str, float]:
    """LLR of each utterance, of its frames or of its windows."""
    llrs = {}
    for name, llr_F in frame_llrs.items():
        llrs[name] = utterance_llr(llr_F, sidecar.frame_seconds)
    if not sidecar.window_seconds:
        return llrs
    merged = merger(merge)
    recordings = by_recording(llrs)
    return {name: float(merged(np.array([*llr.values()]))) for name, llr in recordings.items()}


def _window_lines(llrs: Mapping[str, np.ndarray], seconds: float) -> Iterator[str]:
    """Lines ``utt start duration llr`` of windows, as frames have them."""
    scores = {name: float(llr_F[0]) for name, llr_F in llrs.items()}
    for name, windows in by_recording(scores).items():
        for start, llr in windows.items():
            yield f"{name} {start} {seconds:g} {llr:.7g}"


def _report_cllr(moment: str, trials: dict[str, np.ndarray], affine: Affine) -> float:
    """Cllr of the calibration set itself, which is logged."""
    cllr = SortedScores(affine(trials["bonafide"]), affine(trials["spoof"])).cllr()
    logging.info("Cllr %s calibration, on its own set: %.4f", moment, cllr)
    return cllr


if __name__ == "__main__":
    cli.run(logits_to_llr)
