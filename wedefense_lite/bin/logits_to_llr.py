"""Stage 6: logits to log-likelihood ratios, calibrated where a held-out set is given."""

from wedefense_lite import cli

import logging
from collections.abc import Iterator, Mapping

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
from wedefense_lite.scoring.scores import align, by_class
from wedefense_lite.scoring.sidecar import (
    Sidecar,
    begin_results,
    check_sidecar,
    read_sidecar,
    write_sidecar,
)

# Fields that the sidecar of a calibration set must share with that of the logits it calibrates.
SHARED_FIELDS = ("class_prior", "has_posterior", "config_hash", "model_hash", "window_seconds")


def logits_to_llr(
    logits_scp_path: str,
    pi_spoof: float,
    training_counts: str | None = None,
    train_label: str | None = None,
    cal_logits_scp_path: str | None = None,
    cal_label: str | None = None,
    llr_path: str | None = None,
    allow_negative_slope: bool = False,
    merge: str = "mean",
) -> None:
    """Write ``llr.txt``, its sidecar ``llr.json`` and ``calibration.json``.

    Args:
        logits_scp_path: logits ``[spoof, bonafide]`` of the utterances to score. Frame logits give
            ``frame_llr.txt`` too, not calibrated; an utterance's score is their lowest mean over
            0.2 s.
        pi_spoof: target prior of spoof, which weights the calibration; without a calibration set it
            has no effect.
        training_counts: ``lab2num_utts`` of the training set: the prior that is divided out where
            the sidecar has none, else checked against the sidecar's.
        train_label: ``utt2lab`` of the training set, checked against the counts.
        cal_logits_scp_path: logits of a held-out set to fit an affine calibration on.
        cal_label: ``utt2lab`` of that set.
        llr_path: file to write; by default ``llr.txt`` beside the logits.
        allow_negative_slope: turn scores round that are higher for spoof on the held-out set;
            otherwise they are an error.
        merge: score of an utterance with logits of several windows, which are in
            ``window_llr.txt``, not calibrated: mean of their LLRs, min, or lowest3 and the like,
            the mean of the three lowest.
    """
    cli.checked_option("--merge", merger, merge)
    if not 0 < pi_spoof < 1:
        raise InputError(f"--pi_spoof is {pi_spoof}, expected a number between 0 and 1")
    out = file_path(llr_path or file_path(logits_scp_path).with_name("llr.txt"))
    frames_out = out.with_name("frame_llr.txt")
    windows_out = out.with_name("window_llr.txt")
    check_writable(*calibrated_files(out))
    sidecar = read_sidecar(logits_scp_path, required=False) or Sidecar()
    _refuse_other_score(logits_scp_path, sidecar)
    prior = training_prior(sidecar, logits_scp_path, training_counts, train_label)
    frame_llrs = _read_frame_llrs(logits_scp_path, sidecar, prior)
    llrs = _utterance_llrs(frame_llrs, sidecar, merge)
    affine = IDENTITY
    report = {"fitted_on": cal_logits_scp_path, "pi_spoof": pi_spoof, "training_prior": prior}
    if sidecar.window_seconds:
        report["merge"] = merge
    if cal_logits_scp_path or cal_label:
        held_out = cli.needed("--cal_logits_scp_path", cal_logits_scp_path)
        labels = read_labels(cli.needed("--cal_label", cal_label))
        held_out_sidecar = read_sidecar(held_out, required=False) or Sidecar()
        _refuse_other_score(held_out, held_out_sidecar)
        expected = {name: getattr(sidecar, name) for name in SHARED_FIELDS}
        check_sidecar(held_out, held_out_sidecar, **expected)
        held_out_frames = _read_frame_llrs(held_out, sidecar, prior)
        held_out_llrs = _utterance_llrs(held_out_frames, sidecar, merge)
        refuse_overlap(held_out_llrs, llrs, logits_scp_path)
        scores = np.array(align(held_out_llrs, held_out, labels, cal_label))
        trials = by_class(np.array(list(labels.values())), scores, LABELS, cal_label)
        affine = cli.checked(
            fit_affine, trials["bonafide"], trials["spoof"], pi_spoof, allow_negative_slope
        )
        report["cllr_before"] = _report_cllr("before", trials, IDENTITY)
        report["cllr_after"] = _report_cllr("after", trials, affine)
    else:
        logging.info(
            "no calibration set (--cal_logits_scp_path): --pi_spoof %g changes nothing", pi_spoof
        )
    with folder_lock(out.parent, "calibration"):
        # A calibration is fitted on utterances, so it has nothing to say of frames.
        if sidecar.frame_seconds and affine is IDENTITY:
            begin_results(out, frames_out)
            write_frames(frames_out, frame_llrs, sidecar.frame_seconds)
            write_sidecar(frames_out, sidecar)
        if sidecar.window_seconds and affine is IDENTITY:
            write_lines(windows_out, _window_lines(frame_llrs, sidecar.window_seconds))
        write_calibrated(out, llrs, affine, sidecar, report)
    logging.info("wrote %d LLRs to %s", len(llrs), out)


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
