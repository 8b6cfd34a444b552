"""Scores of several systems to one calibrated LLR, by logistic regression on a held-out set."""

import numpy as np

from wedefense_lite import cli
from wedefense_lite.files import InputError
from wedefense_lite.metrics.detection import SortedScores
from wedefense_lite.scoring.calibration import fit_affine, refuse_overlap, write_calibrated
from wedefense_lite.scoring.scores import aligned, read_scores, read_trials
from wedefense_lite.scoring.sidecar import Sidecar


def fuse(cm: str, cal_cm: str, cal_key: str, out: str, pi_spoof: float = 0.05) -> None:
    """Fit weights of K systems on one set, and write the LLRs of another.

    Args:
        cm: scores ``filename cm-score`` of the set to score, one file a system, separated by commas.
        cal_cm: scores of the same systems, in the same order, on the held-out set.
        cal_key: labels ``filename cm-label`` of that set.
        out: ``llr.txt`` to write; its sidecar and ``calibration.json`` stand beside it.
        pi_spoof: target prior of spoof, to which the regression is weighted.
    """
    files, cal_files = cm.split(","), cal_cm.split(",")
    if len(files) != len(cal_files):
        raise InputError(f"--cm has {len(files)} systems and --cal_cm {len(cal_files)}")
    held_out = [read_trials(file, cal_key) for file in cal_files]
    tested = [read_scores(file) for file in files]
    refuse_overlap(held_out[0][0], tested[0], files[0])
    bonafide = held_out[0][1] == "bonafide"
    known = np.stack([scores for _, _, scores in held_out], axis=1)
    affine = cli.checked(fit_affine, known[bonafide], known[~bonafide], pi_spoof)
    cllr = SortedScores(affine(known[bonafide]), affine(known[~bonafide])).cllr()
    columns = [aligned(scores, file, tested[0], files[0]) for scores, file in zip(tested, files)]
    report = {"systems": files, "fitted_on": cal_cm, "pi_spoof": pi_spoof, "cllr_after": cllr}
    write_calibrated(
        out, dict(zip(tested[0], np.hstack(columns))), affine, Sidecar(model=cm), report
    )
    print(f"{affine}: Cllr {cllr:.4f} on the calibration set itself")


if __name__ == "__main__":
    cli.run(fuse)
