"""Scores of the talkers of mixtures to metrics of mixtures and of their sources."""

import logging
import math
from pathlib import Path

import numpy as np

from wedefense_lite import cli
from wedefense_lite.files import InputError, write_text
from wedefense_lite.metrics.bootstrap import Resampler, intervals
from wedefense_lite.metrics.costs import CostModel, cost_model
from wedefense_lite.metrics.detection import SortedScores
from wedefense_lite.metrics.summary import MetricOptions, detection_metrics
from wedefense_lite.mixtures.metrics import best_threshold, chance_macro_f1
from wedefense_lite.mixtures.scores import (
    Assignment,
    Mixtures,
    read_key,
    read_mixtures,
    read_streams,
)
from wedefense_lite.report.tables import publish, tabulated
from wedefense_lite.scoring.calibration import Affine, fit_affine, refuse_overlap, write_calibrated
from wedefense_lite.scoring.sidecar import Sidecar, read_sidecar


def evaluate_mixtures(
    key: str,
    scores: str | None = None,
    cm: str | None = None,
    separation: str | None = None,
    dev_cm: str | None = None,
    dev_key: str | None = None,
    dev_separation: str | None = None,
    assignment: Assignment | None = None,
    threshold: float | None = None,
    cost: str = "asvspoof5_track1",
    bootstrap: int = 0,
    out_dir: str | None = None,
    json: str | None = None,
    txt: str | None = None,
) -> None:
    """Print the metrics of mixtures of K talkers, of whom any may be spoofed.

    Args:
        key: header ``mixture label_1 label_2 ...``, the label of each source, ``-`` for one that a mixture lacks.
            Results are given by the columns overlap, level_difference, sex and attack_1 ... too, if it has these.
        scores: header ``mixture stream score sisdr_1 sisdr_2 ...``, a line for each of K streams,
            numbered from 1 or 0: higher is more bona fide, SI-SDR against each source in dB.
        cm: instead of these, header ``filename cm-score`` and lines ``<mixture>-<stream>``, numbered from 1;
            ``<mixture>-0`` is a score of the mixture, or else its lowest stream has that.
        separation: header ``mixture stream sisdr_1 .. sisdr_mixture_1 ..``, SI-SDR of the streams in ``cm``, and of
            the mixture, against each source in dB.
        dev_cm: the same as ``cm``, of a dev set: by it the threshold is chosen that has the highest macro F1, and
            scores of mixtures are calibrated.
        dev_key: the same as ``key``, of the dev set.
        dev_separation: the same as ``separation``, of the dev set.
        assignment: which source a stream is of: sisdr, by the highest sum of SI-SDR; identity, the one
            of its number; oracle, the one that its score fits best, an upper bound. By default sisdr
            where SI-SDRs are given; or else identity with ``scores``, and none with ``cm``: without source metrics.
        threshold: a stream is bona fide at this score or more; by default the best on dev, or else 0.
        cost: a cost model by name; its prior of spoof, here that any talker is, weights the calibration.
        bootstrap: number of bootstrap samples of mixtures for 95 % intervals.
        out_dir: folder for results.json, results.txt, confusion.svg and, with a dev set, mixture_llr.txt.
        json: file for the results, rates as fractions.
        txt: file for what is printed.
    """
    if bool(scores) == bool(cm):
        raise InputError("--scores and --cm: expected one of them")
    if separation and not cm or (dev_key or dev_separation) and not dev_cm:
        raise InputError(
            "--separation goes with --cm, --dev_key and --dev_separation go with --dev_cm"
        )
    model, truth = cli.checked(cost_model, cost), read_key(key)
    given = (
        read_streams(truth, scores, assignment)
        if scores
        else read_mixtures(truth, cm, separation, assignment)
    )
    if given.assignment == "oracle":
        logging.warning("oracle assignment looks at the labels: source metrics are upper bounds")
    results, affine = {}, None
    if dev_cm:
        dev = read_mixtures(
            read_key(cli.needed("--dev_key", dev_key)), dev_cm, dev_separation, assignment
        )
        results, affine = _fitted(dev, dev_cm, given, model, threshold)
    results = _measured(given, results.get("threshold", threshold or 0.0), bootstrap) | results
    if affine:
        results |= {"any_spoof": _detection(given, affine, model), "cost": model.as_dict()}
    if out_dir:
        _write(Path(out_dir), given, affine, results, cm)
        json, txt = json or f"{out_dir}/results.json", txt or f"{out_dir}/results.txt"
    publish(_lines(results), results, json, txt)


def _measured(given: Mixtures, threshold: float, bootstrap: int) -> dict:
    """Metrics at a threshold, that of guessing beside them, and by condition."""
    results = given.metrics(threshold) | {
        "n_mixtures": len(given.key.names),
        "assignment": given.assignment,
    }
    results |= {"threshold": threshold, "chance_macro_f1": chance_macro_f1(given.key.labels_MK)}
    if given.improvement_MK is not None:
        results["sisdr_improvement"] = float(np.nanmean(given.improvement_MK))
    if bootstrap:
        results["ci"] = _intervals(given, threshold, bootstrap)
    return results | {"by": given.by_condition(threshold)}


def _fitted(
    dev: Mixtures, source: str, given: Mixtures, cost: CostModel, threshold: float | None
) -> tuple[dict, Affine]:
    """What dev says of the threshold, with the metrics of dev itself, and the calibration of mixtures' scores."""
    try:
        best, _ = best_threshold(dev.scores_MK, dev.key.labels_MK)
        is_bonafide_M = dev.is_bonafide_M
        affine = fit_affine(
            dev.any_spoof_M[is_bonafide_M], dev.any_spoof_M[~is_bonafide_M], cost.p_spoof
        )
    except ValueError as error:
        raise InputError(f"{source}: {error}") from error
    is_itself = set(dev.key.names) == set(given.key.names)
    if is_itself:
        logging.warning(
            "fitted and tested on one set: threshold and calibration are better here than they are elsewhere"
        )
    else:
        refuse_overlap(dev.key.names, given.key.names, given.key.path)
    threshold = best if threshold is None else threshold
    results = {"threshold": threshold, "fitted_on": source, "fitted_on_itself": is_itself}
    return results | {"dev": {"dev": dev.summary(threshold)}}, affine


def _intervals(given: Mixtures, threshold: float, samples: int) -> dict:
    """95 % intervals of all rates.

    Mixtures with as many bona fide and spoofed talkers are drawn among themselves, so that no sample lacks a class.
    """
    _, kind, sizes = np.unique(
        np.sort(given.key.labels_MK, axis=1), axis=0, return_inverse=True, return_counts=True
    )
    order = np.argsort(kind.ravel(), kind="stable")

    def rates(*counts: np.ndarray) -> dict[str, float]:
        found = given.metrics(threshold, np.repeat(order, np.concatenate(counts)))
        return {name: value for name, value in found.items() if isinstance(value, float)}

    return intervals(rates, Resampler(sizes), samples)


def _detection(given: Mixtures, affine: Affine, cost: CostModel) -> dict:
    """Metrics of calibrated scores of mixtures, none where all or no mixtures have a spoofed talker."""
    is_bonafide_M, llr_M = given.is_bonafide_M, affine(given.any_spoof_M)
    counts = {"n_bonafide": int(is_bonafide_M.sum()), "n_spoof": int((~is_bonafide_M).sum())}
    if not all(counts.values()):
        return counts
    found = detection_metrics(
        SortedScores(llr_M[is_bonafide_M], llr_M[~is_bonafide_M]), MetricOptions(cost)
    )
    return counts | {name: value for name, value in found.items() if math.isfinite(value)}


def _write(
    out: Path, given: Mixtures, affine: Affine | None, results: dict, cm: str | None
) -> None:
    """The picture of the confusion and, where they are calibrated, the LLRs of mixtures."""
    from wedefense_lite.report.pictures import confusion, svg  # slow to import

    write_text(out / "confusion.svg", svg(confusion, (results["confusion"], results["classes"])))
    if affine:
        sidecar = (cm and read_sidecar(cm, required=False)) or Sidecar()
        report = {"fitted_on": results["fitted_on"], "pi_spoof": results["cost"]["p_spoof"]}
        llr = dict(zip(given.key.names, given.any_spoof_M))
        write_calibrated(out / "mixture_llr.txt", llr, affine, sidecar, report)


def _lines(results: dict) -> list[str]:
    """Numbers a line each, then the confusion and what is a table."""
    confusion = {
        true: dict(zip(results["classes"], row))
        for true, row in zip(results["classes"], results["confusion"])
    }
    tables = {"true, by decision": confusion, "fitted on": results.get("dev"), **results["by"]}
    if "any_spoof" in results:
        tables["any spoof"] = {"calibrated": results["any_spoof"]}
    lines = [
        f"{name}: {value}"
        for name, value in results.items()
        if name not in ("dev", "by", "any_spoof", "cost")
    ]
    return lines + [
        line
        for title, groups in tables.items()
        if groups
        for line in ("", *tabulated(title, groups))
    ]


if __name__ == "__main__":
    cli.run(evaluate_mixtures)
