"""Scores of several systems to one calibrated LLR, by logistic regression on a held-out set."""

from dataclasses import asdict
from pathlib import Path

import numpy as np

from wedefense_lite import cli
from wedefense_lite.files import InputError, write_json
from wedefense_lite.labels import LABELS
from wedefense_lite.metrics.detection import SortedScores
from wedefense_lite.scoring.calibration import fit_affine, refuse_overlap
from wedefense_lite.scoring.scores import Table, by_class, read_headed, write_scores
from wedefense_lite.scoring.sidecar import Sidecar, read_sidecar, write_sidecar


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
    key = read_headed(cal_key, ["cm-label"])
    fitted = by_class(key.labels("cm-label"), _scores(cal_files, key), LABELS, cal_key)
    tested = read_headed(files[0], ["cm-score"])
    refuse_overlap(key.names, tested.names, files[0])
    affine = cli.checked(fit_affine, fitted["bonafide"], fitted["spoof"], pi_spoof)
    llr = affine(_scores(files, tested))
    cllr = SortedScores(affine(fitted["bonafide"]), affine(fitted["spoof"])).cllr()
    write_scores(out, tested.names, llr)
    write_sidecar(out, Sidecar(model=cm))
    report = {"systems": files, "fitted_on": cal_cm, "pi_spoof": pi_spoof, "cllr_after": cllr}
    write_json(Path(out).parent / "calibration.json", asdict(affine) | report)
    print(f"weights {', '.join(f'{scale:.4g}' for scale in affine.scale)}, offset {affine.offset:.4g}")
    print(f"Cllr {cllr:.4f} on the calibration set itself")


def _scores(files: list[str], key: Table) -> np.ndarray:
    """``(N, K)`` scores of K systems in the order of ``key``."""
    columns = []
    for file in files:
        read_sidecar(file, required=False)
        table = read_headed(file, ["cm-score"])
        columns.append(table.numbers("cm-score")[table.rows_of(key)])
    return np.stack(columns, axis=1)


if __name__ == "__main__":
    cli.run(fuse)
