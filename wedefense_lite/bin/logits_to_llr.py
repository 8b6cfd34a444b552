"""Stage 6: logits to log-likelihood ratios, calibrated where a held-out set is given."""

import logging
from pathlib import Path

import numpy as np

from wedefense_lite import cli
from wedefense_lite.files import InputError, read_labels
from wedefense_lite.labels import LABELS
from wedefense_lite.localization.frame_scores import write_frames
from wedefense_lite.metrics.detection import SortedScores
from wedefense_lite.scoring.calibration import (
    IDENTITY,
    fit_affine,
    refuse_overlap,
    write_calibrated,
)
from wedefense_lite.scoring.llr import llr_from_logits, read_logits, training_prior, utterance_llr
from wedefense_lite.scoring.scores import aligned, by_class
from wedefense_lite.scoring.sidecar import Sidecar, check_sidecar, read_sidecar

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
    llr_path: str | None = None,
) -> None:
    """Write ``llr.txt``, its sidecar ``llr.json`` and ``calibration.json``.

    Frame logits give ``frame_llr.txt`` too, not calibrated; an utterance's score is their lowest mean over 0.2 s.

    Args:
        logits_scp_path: logits of the utterances to score; without a sidecar, of spoof and bona fide.
        pi_spoof: target prior of spoof, which weights the calibration; without one it changes nothing.
        training_counts: ``lab2num_utts`` of the training set, checked against the sidecar's prior, if any.
        train_label: ``utt2lab`` of the training set, checked against the counts.
        cal_logits_scp_path: logits of a held-out set to fit an affine calibration on.
        cal_label: ``utt2lab`` of that set.
        bonafide_labels: comma list of the classes that are bona fide; all others are spoof.
        llr_path: file to write; by default ``llr.txt`` beside the logits.
    """
    if not 0 < pi_spoof < 1:
        raise InputError(f"--pi_spoof is {pi_spoof}, expected a number between 0 and 1")
    out = Path(llr_path or Path(logits_scp_path).with_name("llr.txt"))
    sidecar = read_sidecar(logits_scp_path, required=False) or Sidecar()
    prior = training_prior(sidecar, logits_scp_path, training_counts, train_label)
    labels, bonafide = sidecar.labels, bonafide_labels.split(",")
    if not set(bonafide) < set(labels):
        expected = f"{', '.join(labels)}, expected {bonafide_labels} (--bonafide_labels) and others"
        raise InputError(f"{logits_scp_path}: classes are {expected}")

    def scored(scp: str) -> tuple[dict[str, np.ndarray], dict[str, float]]:
        names, logits, counts = read_logits(scp, len(labels), sidecar.frame_seconds is not None)
        frames = np.split(
            llr_from_logits(logits, np.isin(labels, bonafide), prior), counts.cumsum()[:-1]
        )
        return dict(zip(names, frames)), {
            n: utterance_llr(one, sidecar.frame_seconds) for n, one in zip(names, frames)
        }

    (frames, llr), affine = scored(logits_scp_path), IDENTITY
    report = {"fitted_on": cal_logits_scp_path, "pi_spoof": pi_spoof, "training_prior": prior}
    if cal_logits_scp_path or cal_label:
        held_out = cli.needed("--cal_logits_scp_path", cal_logits_scp_path)
        other = read_sidecar(held_out, required=False) or Sidecar()
        check_sidecar(held_out, other, **{key: getattr(sidecar, key) for key in SAME})
        classes, known = read_labels(cli.needed("--cal_label", cal_label)), scored(held_out)[1]
        refuse_overlap(known, llr, logits_scp_path)
        known = np.array(aligned(known, held_out, classes, cal_label))
        trials = by_class(np.array(list(classes.values())), known, LABELS, cal_label)
        affine = fit_affine(**trials, p_spoof=pi_spoof)
        for moment, mapped in {"before": IDENTITY, "after": affine}.items():
            cllr = SortedScores(mapped(trials["bonafide"]), mapped(trials["spoof"])).cllr()
            logging.info("Cllr %s calibration, on its own set: %.4f", moment, cllr)
            report[f"cllr_{moment}"] = cllr
    else:
        logging.info(
            "no calibration set (--cal_logits_scp_path): --pi_spoof %g changes nothing", pi_spoof
        )
        if sidecar.frame_seconds:
            write_frames(out.with_name("frame_llr.txt"), frames, sidecar.frame_seconds)
    write_calibrated(out, llr, affine, sidecar, report)
    logging.info("wrote %d LLRs to %s", len(llr), out)


if __name__ == "__main__":
    cli.run(logits_to_llr)
