"""Stage 7: scores and keys to every metric, pooled and by condition, as a table and as JSON."""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from wedefense_lite import cli
from wedefense_lite.files import InputError, write_json, write_text
from wedefense_lite.labels import LABELS
from wedefense_lite.metrics import tandem
from wedefense_lite.metrics.bootstrap import Resampler, interval, replicates
from wedefense_lite.metrics.classification import decision_metrics
from wedefense_lite.metrics.costs import CostModel, cost_model
from wedefense_lite.metrics.summary import Statistic, detection_statistic, verification_statistic
from wedefense_lite.scoring.scores import (
    ASV_LABELS,
    by_class,
    read_asv_scores,
    read_conditions,
    read_headed,
    read_trials,
)

# Rates that the table prints in percent.
PERCENT = ("eer", "eer_rocch", "sasv_eer", "sv_eer", "spf_eer", "teer")


@dataclass
class Trials:
    """What is evaluated: trials, their classes, the metrics of any subset, and results besides."""

    names: list[str]
    classes: np.ndarray
    statistic: Callable[[np.ndarray], Statistic]
    extra: dict


def evaluate(
    m: Literal["t1", "t2_tandem", "t2_single"] = "t1",
    cm: str | None = None,
    cm_key: str | None = None,
    sasv: str | None = None,
    sasv_key: str | None = None,
    asv_scores: str | None = None,
    asv_rates: str | None = None,
    meta: str | None = None,
    by: str | None = None,
    bootstrap: int = 0,
    cluster: str | None = None,
    cost: str = "asvspoof5_track1",
    tie: Literal["merge", "official"] = "merge",
    seed: int = 0,
    json: str | None = None,
    txt: str | None = None,
) -> None:
    """Print the metrics of scores (higher is bona fide) as a table.

    Args:
        m: t1, detection; t2_tandem, detector and speaker verifier; t2_single, one score for both.
        cm: t1: scores with the header ``filename cm-score``.
        cm_key: t1: labels with the header ``filename cm-label``.
        sasv: t2: scores with the header ``spk filename cm-score asv-score sasv-score``, the last only
            for t2_single.
        sasv_key: t2: labels with the header ``spk filename cm-label asv-label``.
        asv_scores: lines ``source key score`` of an ASV system, whose error rates the t-DCF takes.
        asv_rates: these rates, ``miss,fa_nontarget,fa_spoof``, or ``asvspoof5`` for track 2's own.
        meta: metadata table with a header that names the columns, or lines ``utt value`` without one
            (``utt2attack``), which then are the column asked for; two with a comma between, if
            ``by`` and ``cluster`` are not in the same one.
        by: a column of ``meta``: a row of results for the spoofs of each value against all bona fide.
        bootstrap: number of bootstrap samples for 95 % intervals.
        cluster: a column of ``meta`` whose values are resampled instead of single trials.
        cost: a cost model by name, with changes if any: ``asvspoof5_track1:p_spoof=0.5,c_fa_spoof=1``.
        tie: merge treats equal scores as one threshold; official steps through them as ASVspoof does.
        seed: of the bootstrap.
        json: file for the results in full precision, rates as fractions.
        txt: file for the same table as is printed.
    """
    model = cli.checked(cost_model, cost)
    asv = _asv(asv_scores, asv_rates, model, tie)
    if m == "t1":
        trials = _track1(cli.needed("--cm", cm), cli.needed("--cm_key", cm_key), model, asv, tie)
    else:
        files = cli.needed("--sasv", sasv), cli.needed("--sasv_key", sasv_key)
        trials = _track2(*files, m == "t2_single", model, asv, tie)
    if by or cluster:
        cli.needed("--meta", meta)
    conditions, clusters = read_conditions(meta or "", [by, cluster], trials.names)
    measured = partial(_measured, trials, clusters, bootstrap, seed)
    results = measured(np.ones(len(trials.names), dtype=bool), "pooled")
    if conditions is not None:
        spoof = trials.classes == "spoof"
        values = np.unique(conditions[spoof]).tolist()
        results["by"] = {value: measured(~spoof | (conditions == value), value) for value in values}
    results |= trials.extra | {"cost": model.as_dict(), "tie": tie}
    if asv:
        results["asv_rates"] = asv._asdict()
    table = "\n".join(_table(results, model, asv))
    print(table)
    if txt:
        write_text(txt, table + "\n")
    if json:
        write_json(json, results)


def _track1(cm: str, cm_key: str, model: CostModel, asv: tandem.AsvRates | None, tie: str) -> Trials:
    names, classes, scores = read_trials(cm, cm_key)
    accepted, bonafide = scores >= model.threshold, classes == "bonafide"
    confusion = [
        [int((accepted[true] == predicted).sum()) for predicted in (False, True)]
        for true in (~bonafide, bonafide)
    ]
    extra = {"decisions": {"threshold": model.threshold, "order": LABELS} | decision_metrics(confusion)}

    def statistic(rows: np.ndarray) -> Statistic:
        return detection_statistic(classes[rows], scores[rows], model, asv, tie)

    return Trials(names, classes, statistic, extra)


def _track2(
    sasv: str, sasv_key: str, single: bool, model: CostModel, asv: tandem.AsvRates | None, tie: str
) -> Trials:
    ids, systems = (
        ("spk", "filename"),
        ["sasv-score"] if single else ["sasv-score", "cm-score", "asv-score"],
    )
    table, key = read_headed(sasv, systems, ids), read_headed(sasv_key, ["cm-label", "asv-label"], ids)
    classes = key.labels("asv-label", ASV_LABELS)
    for row in np.flatnonzero((key.labels("cm-label") == "spoof") != (classes == "spoof"))[:1]:
        raise InputError(f"{key.at(row)} is spoof by one label and not by the other")
    order = table.rows_of(key)
    scores = {system: table.numbers(system)[order] for system in systems}
    by_class(classes, classes, ASV_LABELS, sasv_key)

    def statistic(rows: np.ndarray) -> Statistic:
        chosen = {system: values[rows] for system, values in scores.items()}
        return verification_statistic(classes[rows], chosen, model, asv, tie)

    return Trials(key.names, classes, statistic, {})


def _measured(
    trials: Trials, clusters: np.ndarray | None, bootstrap: int, seed: int, rows: np.ndarray, name: str
) -> dict:
    """Counts, metrics and intervals of some rows; a metric that is not finite is left out."""
    classes, statistic = trials.classes[rows], trials.statistic(rows)
    metrics = cli.checked(statistic, None)
    undefined = [metric for metric, value in metrics.items() if not math.isfinite(value)]
    if undefined:
        logging.warning("%s: infinite scores leave %s undefined", name, ", ".join(undefined))
    if metrics.get("eer", metrics.get("sasv_eer")) > 0.5:
        logging.warning("%s: EER above 50 %%, the polarity may be flipped (higher is bona fide)", name)
    result = {f"n_{kind}": int((classes == kind).sum()) for kind in np.unique(classes)}
    result |= {metric: value for metric, value in metrics.items() if metric not in undefined}
    if bootstrap:
        resampler = Resampler(classes, None if clusters is None else clusters[rows])
        samples = replicates(statistic, resampler, bootstrap, seed)
        result["ci"] = {
            k: interval(v) for k, v in samples.items() if k in result and np.isfinite(v).all()
        }
    return result


def _asv(scores: str | None, rates: str | None, model: CostModel, tie: str) -> tandem.AsvRates | None:
    """ASV error rates, measured or given, checked to make a t-DCF."""
    if scores and rates:
        raise InputError("--asv_scores and --asv_rates are both given, expected one of them")
    if scores:
        asv = tandem.asv_rates(**read_asv_scores(scores), tie=tie)
    elif rates == "asvspoof5":
        asv = tandem.ASVSPOOF5_ASV
    elif rates:
        numbers = cli.checked(lambda: list(map(float, rates.split(","))))
        if len(numbers) != 3 or not all(0 <= number <= 1 for number in numbers):
            raise InputError(
                f"--asv_rates is {rates!r}, expected asvspoof5 or miss,fa_nontarget,fa_spoof"
            )
        asv = tandem.AsvRates(*numbers)
    else:
        return None
    cli.checked(tandem.tandem_costs, asv, model)
    return asv


def _table(results: dict, model: CostModel, asv: tandem.AsvRates | None) -> list[str]:
    """Lines of the table: pooled, its interval if any, then each condition; rates in percent."""
    columns = [key for key, value in results.items() if isinstance(value, int | float)]
    rows = [["", *(f"{key} %" if key in PERCENT else key for key in columns)]]
    for name, result in {"pooled": results, **results.get("by", {})}.items():
        rows.append([name, *(_cell(key, result.get(key)) for key in columns)])
        if "ci" in result:
            ends = [[_cell(key, end) for end in result["ci"].get(key, ())] for key in columns]
            rows.append(["  95 %", *("..".join(end) for end in ends)])
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths)) for row in rows]
    return [f"cost model: {model}"] + ([f"ASV: {asv}"] if asv else []) + lines


def _cell(key: str, value: float | None) -> str:
    if value is None or isinstance(value, int):
        return "" if value is None else str(value)
    return f"{100 * value:.3f}" if key in PERCENT else f"{value:.4f}"


if __name__ == "__main__":
    cli.run(evaluate)
