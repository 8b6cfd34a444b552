"""Scores of ASVspoof 5's track 2, of a spoof detector and given scores of speaker verification."""

from wedefense_lite import cli

import logging
from pathlib import Path

import numpy as np

from wedefense_lite.files import InputError, abbreviate, write_lines
from wedefense_lite.interop.verification_tables import read_verification_table
from wedefense_lite.metrics.costs import PRESETS
from wedefense_lite.scoring.calibration import Affine, fit_affine
from wedefense_lite.scoring.scores import finite_number, read_scores, read_verification

COST = PRESETS["asvspoof5_track2"]


def read_asv(scores: str, trials: str) -> tuple[np.ndarray, np.ndarray]:
    """Classes and ASV scores of the trials of a protocol, in its order."""
    _, classes, columns = read_verification(scores, trials, ["asv-score"])
    return classes, columns["asv-score"]


def fuse(asv_llrs: np.ndarray, cm_llrs: np.ndarray) -> np.ndarray:
    """LLRs of targets against nontargets and spoofs, which are mixed by their priors.

    Source: Wang et al., "Revisiting and improving scoring fusion for spoofing-aware speaker
    verification using compositional data analysis", Interspeech 2024.

    Args:
        asv_llrs: ``(N,)``, target against nontarget.
        cm_llrs: ``(N,)``, bona fide against spoof.
    """
    share_of_spoof = COST.p_spoof / (COST.p_spoof + COST.p_nontarget)
    return -np.logaddexp(np.log(1 - share_of_spoof) - asv_llrs, np.log(share_of_spoof) - cm_llrs)


def score_track2(
    cm: str, asv_scores: str, trials: str, dev_asv_scores: str, dev_trials: str, out_dir: str
) -> None:
    """Write scores.tsv, as evaluate.py and the official program take it.

    ASV scores are calibrated on the targets and nontargets of dev. The score of a trial is the LLR
    of a target against nontargets and spoofs.

    Args:
        cm: LLRs of the utterances, lines ``utt llr``.
        asv_scores: ASV scores, header ``spk filename asv-score``.
        trials: ASVspoof5.eval.track_2.trial.tsv.
        dev_asv_scores: ASV scores of the same system on dev.
        dev_trials: ASVspoof5.dev.track_2.trial.tsv.
        out_dir: folder to write into.
    """
    folder = Path(out_dir)
    dev_classes, dev_scores = read_asv(dev_asv_scores, dev_trials)
    target = dev_scores[dev_classes == "target"]
    nontarget = dev_scores[dev_classes == "nontarget"]
    p_nontarget = COST.p_nontarget / (COST.p_nontarget + COST.p_target)
    affine: Affine = cli.checked(fit_affine, target, nontarget, p_nontarget)
    logging.info("ASV LLR = %.6g * score %+.6g", affine.scale[0], affine.offset)

    _, asv = read_asv(asv_scores, trials)
    columns = read_verification_table(trials).columns
    cm_scores = read_scores(cm, finite_number)
    missing = sorted(set(columns["utt"]) - cm_scores.keys())
    if missing:
        raise InputError(
            f"{cm}: no score of {len(missing)} utterances of {trials}: {abbreviate(missing)}; "
            "prepare_data.py --subset eval_track2 lists them"
        )
    cm_llrs = np.array([cm_scores[utterance][0] for utterance in columns["utt"]])
    asv_llrs = affine(asv)
    lines = ["\t".join(("spk", "filename", "cm-score", "asv-score", "sasv-score"))]
    sasv_llrs = fuse(asv_llrs, cm_llrs)
    rows = zip(columns["speaker"], columns["utt"], cm_llrs, asv_llrs, sasv_llrs)
    for speaker, utterance, *scores in rows:
        cells = [f"{score:.6f}" for score in scores]
        lines.append("\t".join([speaker, utterance, *cells]))
    write_lines(folder / "scores.tsv", lines)
    logging.info("wrote %d trials to %s", len(cm_llrs), folder / "scores.tsv")


if __name__ == "__main__":
    cli.run(score_track2)
