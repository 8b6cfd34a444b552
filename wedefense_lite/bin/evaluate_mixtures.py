"""Scores of the talkers of mixtures to metrics of mixtures and of their talkers."""

from wedefense_lite import cli

import logging
import math
from pathlib import Path

import numpy as np
from jsonargparse.typing import NonNegativeInt

from wedefense_lite.files import InputError, folder_lock, write_text
from wedefense_lite.metrics.bootstrap import Resampler, intervals
from wedefense_lite.metrics.costs import CostModel, cost_model
from wedefense_lite.metrics.detection import SortedScores
from wedefense_lite.metrics.summary import MetricOptions, detection_metrics, warn_of_polarity
from wedefense_lite.mixtures.metrics import best_threshold, chance_macro_f1
from wedefense_lite.mixtures.scores import Assignment, ScoredMixtures, read_key, read_mixtures
from wedefense_lite.report.tables import check_outputs, publish, tabulated
from wedefense_lite.scoring.calibration import Affine, fit_affine, refuse_overlap, write_calibrated
from wedefense_lite.scoring.sidecar import Sidecar, read_sidecar


def evaluate_mixtures(
    key: str,
    cm: str,
    separation: str | None = None,
    dev_cm: str | None = None,
    dev_key: str | None = None,
    dev_separation: str | None = None,
    assignment: Assignment | None = None,
    threshold: float | None = None,
    cost: str = "asvspoof5_track1",
    bootstrap: NonNegativeInt = 0,
    out_dir: str | None = None,
    json: str | None = None,
    txt: str | None = None,
) -> None:
    """Print the metrics of mixtures of talkers, each bona fide or spoofed.

    Args:
        key: table with header mixture label_1 label_2 ..., the label of each talker, - for an
            absent one; a plan is one. Its columns overlap, level_difference, sex and attack_1 ...,
            if there, are the conditions for which results are given too.
        cm: scores with header filename cm-score, higher is more bona fide. Rows MIXTURE-STREAM are
            of streams, numbered from 1; rows MIXTURE-0 are of mixtures, which otherwise have the
            score of their lowest stream.
        separation: table of bin/separate.py with header mixture stream sisdr_1 ... sisdr_mixture_1
            ...: SI-SDR of each stream, and of its mixture, against each talker, in dB.
        dev_cm: the same as cm, of a dev set. It gives the threshold, that of highest macro F1, and
            the calibration of the scores of mixtures.
        dev_key: the same as key, of the dev set.
        dev_separation: the same as separation, of the dev set.
        assignment: how streams are matched to talkers. sisdr: highest total SI-SDR (default with
            separation). identity: stream k is talker k. oracle: best fit to the labels (upper bound
            only). Without it and separation there are no metrics of talkers.
        threshold: a stream is bona fide at this score or more; by default the best on dev, or else
            0.
        cost: name of a cost model. Its prior of spoof, here that any talker is spoofed, weights the
            calibration.
        bootstrap: number of bootstrap samples of mixtures for 95 % intervals. Mixtures with equal
            numbers of bona fide and spoofed talkers are drawn among themselves, so that no sample
            lacks a class.
        out_dir: folder for results.json, results.txt, confusion.svg and, with a dev set,
            mixture_llr.txt.
        json: file for the results, rates as fractions.
        txt: file for the printed text.

    Raises:
        InputError: an option without the one that it goes with, or tables that don't agree.
    """
    if (dev_key or dev_separation) and not dev_cm:
        raise InputError("--dev_key and --dev_separation go with --dev_cm")
    model = cli.checked_option("--cost", cost_model, cost)
    if threshold is not None and not math.isfinite(threshold):
        raise InputError(f"--threshold is {threshold}, expected a finite number")
    if out_dir:
        json = json or f"{out_dir}/results.json"
        txt = txt or f"{out_dir}/results.txt"
        check_outputs(f"{out_dir}/confusion.svg", f"{out_dir}/mixture_llr.txt", json, txt)
    check_outputs(json, txt)
    mixtures = read_mixtures(read_key(key), cm, separation, assignment)
    if mixtures.assigned_by == "oracle":
        logging.warning("oracle assignment looks at the labels: source metrics are upper bounds")

    affine = None
    dev_results = {}
    if dev_cm:
        true_dev = read_key(cli.needed("--dev_key", dev_key))
        dev = read_mixtures(true_dev, dev_cm, dev_separation, assignment)
        on_itself = _is_tested_on_itself(dev, mixtures)
        dev_threshold, affine = _fit(dev, dev_cm, model)
        if threshold is None:
            threshold = dev_threshold
        dev_results["fitted_on"] = dev_cm
        dev_results["fitted_on_itself"] = on_itself
        dev_results["dev"] = {"dev": dev.summary(threshold)}
    if threshold is None:
        threshold = 0.0

    results = _measure(mixtures, threshold, bootstrap)
    warn_of_polarity(cm, results)
    results.update(dev_results)
    if affine:
        results["any_spoof"] = _any_spoof_metrics(mixtures, affine, model)
        results["cost"] = model.as_dict()

    if out_dir:
        out = Path(out_dir)
        _write_picture(out, results)
        if affine:
            _write_mixture_llrs(out, mixtures, affine, results, cm)
    publish(_lines(results), results, json, txt)


def _is_tested_on_itself(dev: ScoredMixtures, mixtures: ScoredMixtures) -> bool:
    """Whether both sets have the same mixtures; a warning says so.

    Raises:
        InputError: sets that have only some mixtures in common.
    """
    if set(dev.key.names) == set(mixtures.key.names):
        logging.warning(
            "fitted and tested on one set: "
            "threshold and calibration are better here than they are elsewhere"
        )
        return True
    refuse_overlap(dev.key.names, mixtures.key.names, mixtures.key.path)
    return False


def _fit(dev: ScoredMixtures, dev_cm: str, cost: CostModel) -> tuple[float, Affine]:
    """Threshold of streams, and calibration of the scores of mixtures."""
    is_bonafide_M = dev.is_bonafide_M
    try:
        threshold, _ = best_threshold(dev.scores_MK, dev.key.labels_MK)
        # An evaluation also tells of systems that are worse than chance; a warning says so.
        affine = fit_affine(
            dev.any_spoof_M[is_bonafide_M],
            dev.any_spoof_M[~is_bonafide_M],
            cost.p_spoof,
            allow_negative_slope=True,
        )
    except ValueError as error:
        raise InputError(f"{dev_cm}: {error}") from error
    return threshold, affine


def _measure(mixtures: ScoredMixtures, threshold: float, bootstrap: int) -> dict:
    """Metrics at a threshold, chance beside them, intervals, and results by condition."""
    results = mixtures.metrics(threshold)
    results["n_mixtures"] = len(mixtures.key.names)
    results["assignment"] = mixtures.assigned_by
    results["threshold"] = threshold
    results["chance_macro_f1"] = chance_macro_f1(mixtures.key.labels_MK)
    if mixtures.improvement_MK is not None:
        results["sisdr_improvement"] = float(np.nanmean(mixtures.improvement_MK))
    if bootstrap:
        results["ci"] = _intervals(mixtures, threshold, bootstrap)
    results["by"] = mixtures.by_condition(threshold)
    return results


def _intervals(mixtures: ScoredMixtures, threshold: float, samples: int) -> dict:
    """95 % intervals of all rates.

    Mixtures with equal numbers of bona fide and spoofed talkers are a stratum and are drawn among
    themselves, so that no sample lacks a class.
    """
    sorted_labels_MK = np.sort(mixtures.key.labels_MK, axis=1)
    _, stratum_of_mixture, sizes = np.unique(
        sorted_labels_MK, axis=0, return_inverse=True, return_counts=True
    )
    # The resampler gives counts stratum by stratum, so mixtures are put in that order.
    order = np.argsort(stratum_of_mixture.ravel(), kind="stable")

    def rates(*counts: np.ndarray) -> dict[str, float]:
        rows = np.repeat(order, np.concatenate(counts))
        metrics = mixtures.metrics(threshold, rows)
        return {name: value for name, value in metrics.items() if isinstance(value, float)}

    return intervals(rates, Resampler(sizes), samples)


def _any_spoof_metrics(mixtures: ScoredMixtures, affine: Affine, cost: CostModel) -> dict:
    """Metrics of calibrated scores of mixtures; only counts, if all or no mixtures are spoofed."""
    is_bonafide_M = mixtures.is_bonafide_M
    llr_M = affine(mixtures.any_spoof_M)
    metrics = {"n_bonafide": int(is_bonafide_M.sum()), "n_spoof": int((~is_bonafide_M).sum())}
    if not all(metrics.values()):
        return metrics
    scores = SortedScores(llr_M[is_bonafide_M], llr_M[~is_bonafide_M])
    for name, value in detection_metrics(scores, MetricOptions(cost)).items():
        # JSON has no infinity: what infinite scores make undefined is left out.
        if math.isfinite(value):
            metrics[name] = value
    return metrics


def _write_picture(out: Path, results: dict) -> None:
    from wedefense_lite.report.pictures import confusion, svg  # slow to import

    write_text(out / "confusion.svg", svg(confusion, (results["confusion"], results["classes"])))


def _write_mixture_llrs(
    out: Path, mixtures: ScoredMixtures, affine: Affine, results: dict, cm: str
) -> None:
    """Write the LLRs of mixtures with their sidecar and calibration."""
    sidecar = read_sidecar(cm, required=False) or Sidecar()
    report = {"fitted_on": results["fitted_on"], "pi_spoof": results["cost"]["p_spoof"]}
    scores = dict(zip(mixtures.key.names, mixtures.any_spoof_M))
    with folder_lock(out, "evaluation"):
        write_calibrated(out / "mixture_llr.txt", scores, affine, sidecar, report)


def _lines(results: dict) -> list[str]:
    """Lines of text: a number a line, then the confusion matrix and the tables."""
    lines = []
    for name, value in results.items():
        if name not in ("dev", "by", "any_spoof", "cost"):
            lines.append(f"{name}: {value}")
    confusion = {}
    for true_class, row in zip(results["classes"], results["confusion"]):
        confusion[true_class] = dict(zip(results["classes"], row))
    tables = {"true, by decision": confusion}
    if "dev" in results:
        tables["fitted on"] = results["dev"]
    tables.update(results["by"])
    if "any_spoof" in results:
        tables["any spoof"] = {"calibrated": results["any_spoof"]}
    for title, groups in tables.items():
        lines.append("")
        lines.extend(tabulated(title, groups))
    return lines


if __name__ == "__main__":
    cli.run(evaluate_mixtures)
