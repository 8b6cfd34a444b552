"""The way from logits to LLRs of an experiment, as its stage 6 has it."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

from wedefense_lite.files import InputError, read_json
from wedefense_lite.scoring.calibration import read_calibration
from wedefense_lite.scoring.facts import BundleFacts
from wedefense_lite.scoring.sidecar import (
    Sidecar,
    check_hashes,
    check_sidecar,
    read_sidecar,
    sidecar_path,
)


class Origin(NamedTuple):
    """Hashes of the model and of the configuration that scores must be of."""

    model_hash: str
    config_hash: str


def read_sidecar_of(scores: Path, origin: Origin) -> Sidecar:
    """Sidecar of scores, which must be of a model and a configuration.

    Raises:
        InputError: there is none, or it is of others.
    """
    sidecar = read_sidecar(scores)
    check_sidecar(scores, sidecar, model_hash=origin.model_hash, config_hash=origin.config_hash)
    return sidecar


def facts_of_stage_6(
    logits: Path, calibration_path: Path, origin: Origin, decide_on: str = "llr"
) -> BundleFacts:
    """Facts of a bundle without thresholds.

    Args:
        logits: logits of the dev set.
        calibration_path: ``calibration.json`` beside the LLRs that scores are to be like.
        origin: hashes that logits and LLRs must have.
        decide_on: what thresholds are on.

    Raises:
        InputError: files of another model, of several systems, or values that can't be right.
    """
    llrs = calibration_path.with_name("llr.txt")
    llr_sidecar = read_sidecar_of(llrs, origin)
    if calibration_path.name in llr_sidecar.hashes:
        check_hashes(sidecar_path(llrs), llr_sidecar.hashes, calibration_path)
    calibration = read_calibration(calibration_path)
    if len(calibration.affine.scale) != 1:
        raise InputError(
            f"{calibration_path}: of {len(calibration.affine.scale)} systems, expected one"
        )
    sidecar = read_sidecar_of(logits, origin)
    # A bundle has windows of its own, of the speech.
    check_sidecar(logits, sidecar, window_seconds=None)
    fields = asdict(sidecar)
    fields["model"] = Path(fields["model"]).name
    fields["class_prior"] = calibration.training_prior
    del fields["hashes"]
    try:
        return BundleFacts(
            **fields,
            scale=calibration.affine.scale[0],
            offset=calibration.affine.offset,
            allow_negative_scale=calibration.affine.allow_negative_slope,
            decide_on=decide_on,
        )
    except ValueError as error:
        raise InputError(f"{calibration_path}: {error}") from error


def facts_of_experiment(exp_dir: Path, origin: Origin) -> BundleFacts:
    """Facts of an experiment that was scored: LLRs of stage 6 as they are, threshold of dev.

    Args:
        exp_dir: experiment after stage 6.
        origin: hashes of its averaged model and its configuration.

    Raises:
        InputError: no LLRs of dev, those of another model, or no threshold in its results.
    """
    logits = exp_dir / "posteriors/dev/logits.scp"
    if not logits.with_name("llr.txt").exists():
        raise InputError(
            f"{exp_dir}: no posteriors/dev/llr.txt, expected an experiment after stage 6: run "
            "stages 4 to 7 of its recipe"
        )
    facts = facts_of_stage_6(logits, logits.with_name("calibration.json"), origin)
    results_path = exp_dir / "results_dev.json"
    if not results_path.exists():
        # Stage 7 was left out: the threshold of equal costs and priors needs no trials.
        return replace(facts, thresholds={"LLR 0": 0.0}, threshold=0.0)
    results = read_json(results_path)
    threshold = results.get("eer_threshold") if isinstance(results, dict) else None
    if isinstance(threshold, bool) or not isinstance(threshold, int | float):
        raise InputError(
            f"{results_path}: eer_threshold is {threshold!r}, expected a number: run stage 7 again"
        )
    return replace(facts, thresholds={"EER": float(threshold)}, threshold=float(threshold))
