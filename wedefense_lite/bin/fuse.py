"""Scores of several systems to one calibrated LLR, by logistic regression on a held-out set."""

from wedefense_lite import cli

from pathlib import Path

import numpy as np

from wedefense_lite.files import InputError, check_writable, folder_lock
from wedefense_lite.metrics.detection import SortedScores
from wedefense_lite.metrics.summary import warn_of_polarity
from wedefense_lite.scoring.calibration import (
    calibrated_files,
    fit_affine,
    refuse_overlap,
    write_calibrated,
)
from wedefense_lite.scoring.scores import (
    DEFAULT_PHASE,
    Phase,
    align,
    finite_number,
    read_scores,
    read_trials,
)
from wedefense_lite.scoring.sidecar import Sidecar


def fuse(
    cm: str,
    cal_cm: str,
    cal_key: str,
    out: str,
    pi_spoof: float = 0.05,
    allow_negative_slope: bool = False,
    phase: Phase = DEFAULT_PHASE,
) -> None:
    """Fit a weight for each of several systems on one set, and write the LLRs of another.

    Args:
        cm: scores ``filename cm-score`` of the set to score, one file a system, separated by
            commas.
        cal_cm: scores of the same systems, in the same order, on the held-out set.
        cal_key: labels ``filename cm-label`` of that set.
        out: ``llr.txt`` to write; its sidecar and ``calibration.json`` stand beside it.
        pi_spoof: target prior of spoof, to which the regression is weighted.
        allow_negative_slope: turn the scores of a system round that are higher for spoof on the
            held-out set; otherwise they are an error.
        phase: part of an ASVspoof 2021 key: progress, eval, hidden, or all.
    """
    files = cm.split(",")
    cal_files = cal_cm.split(",")
    if len(files) != len(cal_files):
        raise InputError(f"--cm has {len(files)} systems and --cal_cm {len(cal_files)}")
    check_writable(*calibrated_files(out))
    cal_columns = []
    for file in cal_files:
        # Every file comes back in the order of the key.
        cal_names, cal_classes, scores = read_trials(file, cal_key, finite_number, phase)
        cal_columns.append(scores)
        bonafide = scores[cal_classes == "bonafide"]
        spoof = scores[cal_classes == "spoof"]
        # Among several systems a flipped one gets a weight below zero or near it, without an error.
        if len(files) > 1:
            warn_of_polarity(file, {"eer": SortedScores(bonafide, spoof).eer().value})
    scores_by_file = [read_scores(file, finite_number) for file in files]
    names = scores_by_file[0]
    refuse_overlap(cal_names, names, files[0])
    cal_scores = np.stack(cal_columns, axis=1)
    bonafide = cal_scores[cal_classes == "bonafide"]
    spoof = cal_scores[cal_classes == "spoof"]
    affine = cli.checked(fit_affine, bonafide, spoof, pi_spoof, allow_negative_slope)
    cllr = SortedScores(affine(bonafide), affine(spoof)).cllr()
    columns = []
    for file, scores in zip(files, scores_by_file):
        columns.append(align(scores, file, names, files[0]))
    fused_scores = dict(zip(names, np.hstack(columns)))
    report = {"systems": files, "fitted_on": cal_cm, "pi_spoof": pi_spoof, "cllr_after": cllr}
    with folder_lock(Path(out).parent, "fusion"):
        write_calibrated(out, fused_scores, affine, Sidecar(model=cm), report)
    print(f"{affine}: Cllr {cllr:.4f} on the calibration set itself")


if __name__ == "__main__":
    cli.run(fuse)
