"""Stage 6: logits to log-likelihood ratios, calibrated where a held-out set is given."""

import logging
from dataclasses import asdict
from pathlib import Path

import numpy as np

from wedefense_lite import cli
from wedefense_lite.files import InputError, read_labels, write_json
from wedefense_lite.labels import LABELS
from wedefense_lite.metrics.detection import SortedScores
from wedefense_lite.scoring.calibration import IDENTITY, Affine, fit_affine, refuse_overlap
from wedefense_lite.scoring.llr import (
    bonafide_classes,
    llr_from_logits,
    read_counts,
    read_logits,
    training_prior,
)
from wedefense_lite.scoring.scores import split_by_label, write_scores
from wedefense_lite.scoring.sidecar import Sidecar, check_sidecar, read_sidecar, write_sidecar

# What the logits of a calibration set must have in common with the ones it calibrates.
SAME = ("labels", "class_prior", "has_posterior", "config_hash", "model_hash")


def logits_to_llr(
    logits_scp_path: str,
    pi_spoof: float,
    training_counts: str | None = None,
    train_label: str | None = None,
    cal_logits_scp_path: str | None = None,
    cal_label: str | None = None,
    bonafide_labels: str = "bonafide",
    labels: str | None = None,
) -> None:
    """Write ``llr.txt``, ``llr.json`` and ``calibration.json`` beside the logits.

    Args:
        logits_scp_path: logits of the utterances to score, with their sidecar.
        pi_spoof: target prior of spoof, which weights the calibration; without one it changes nothing.
        training_counts: ``lab2num_utts`` of the training set, checked against the prior in the
            sidecar, and the prior where the sidecar has none.
        train_label: ``utt2lab`` of the training set, checked against the counts.
        cal_logits_scp_path: logits of a held-out set to fit an affine calibration on.
        cal_label: ``utt2lab`` of that set.
        bonafide_labels: comma list of the classes that are bona fide; all others are spoof.
        labels: comma list of the classes in the order of the logits, where there is no sidecar.
    """
    if not 0 < pi_spoof < 1:
        raise InputError(f"--pi_spoof is {pi_spoof}, expected a number between 0 and 1")
    if bool(cal_logits_scp_path) != bool(cal_label):
        raise InputError("--cal_logits_scp_path and --cal_label go together, and only one is given")
    sidecar = _sidecar(logits_scp_path, labels)
    counts = read_counts(training_counts, train_label) if training_counts else None
    prior = training_prior(sidecar, counts, logits_scp_path)
    bonafide = bonafide_classes(sidecar.labels, bonafide_labels.split(","))

    def scored(scp: str) -> tuple[list[str], np.ndarray]:
        names, logits = read_logits(scp, len(sidecar.labels))
        return names, llr_from_logits(logits, bonafide, prior)

    names, llr = scored(logits_scp_path)
    affine, report = IDENTITY, {}
    if cal_logits_scp_path:
        same = {key: getattr(sidecar, key) for key in SAME}
        check_sidecar(cal_logits_scp_path, _sidecar(cal_logits_scp_path, labels), **same)
        cal_names, cal_llr = scored(cal_logits_scp_path)
        refuse_overlap(cal_names, names, logits_scp_path)
        trials = split_by_label(
            cal_names, cal_llr, read_labels(cal_label), cal_logits_scp_path, cal_label
        )
        affine, report = _fit(trials, pi_spoof)
    else:
        logging.info(
            "no calibration set (--cal_logits_scp_path): --pi_spoof %g changes nothing", pi_spoof
        )
    folder = Path(logits_scp_path).parent
    write_scores(folder / "llr.txt", names, affine(llr))
    write_sidecar(folder / "llr.txt", sidecar)
    calibration = {"fitted_on": cal_logits_scp_path, "pi_spoof": pi_spoof, "training_prior": prior}
    write_json(folder / "calibration.json", asdict(affine) | calibration | report)
    logging.info("wrote %d LLRs to %s", len(names), folder / "llr.txt")


def _sidecar(scp: str, labels: str | None) -> Sidecar:
    sidecar = read_sidecar(scp, required=False)
    given = tuple(labels.split(",")) if labels else None
    if sidecar is None:
        logging.warning("%s has no sidecar: its classes are %s", scp, ", ".join(given or LABELS))
        return Sidecar(labels=given or LABELS)
    if given:
        check_sidecar(scp, sidecar, labels=given)
    return sidecar


def _fit(trials: tuple[np.ndarray, np.ndarray], pi_spoof: float) -> tuple[Affine, dict]:
    affine = fit_affine(*trials, pi_spoof)
    before, after = SortedScores(*trials).cllr(), SortedScores(*map(affine, trials)).cllr()
    logging.info("calibration: Cllr %.4f before, %.4f after, on its own set", before, after)
    if affine.scale[0] <= 0:
        logging.warning(
            "calibration turned the scores around (scale %g): check the labels", affine.scale[0]
        )
    sizes = {"n_bonafide": len(trials[0]), "n_spoof": len(trials[1])}
    return affine, sizes | {"cllr_before": before, "cllr_after": after}


if __name__ == "__main__":
    cli.run(logits_to_llr)
