"""Stage 7: scores and keys to every metric, pooled and by condition, as a table and as JSON."""

import logging
import math
from typing import Literal

import numpy as np

from wedefense_lite import cli
from wedefense_lite.files import InputError, write_json, write_text
from wedefense_lite.labels import LABELS
from wedefense_lite.metrics.bootstrap import Resampler, interval, replicates
from wedefense_lite.metrics.classification import confusion_matrix, decision_metrics
from wedefense_lite.metrics.costs import CostModel, cost_model
from wedefense_lite.metrics.summary import Options, Trials, detection_statistic, verification_statistic
from wedefense_lite.metrics.tandem import ASVSPOOF5_ASV, AsvRates, measured_rates, tandem_costs
from wedefense_lite.scoring import scores as files

# Rates that the table prints in percent.
PERCENT = ("eer", "eer_rocch", "sasv_eer", "sv_eer", "spf_eer", "teer")


def evaluate(
    m: Literal["t1", "t2_tandem", "t2_single"] = "t1",
    cm: str | None = None,
    cm_key: str | None = None,
    sasv: str | None = None,
    sasv_key: str | None = None,
    asv_scores: str | None = None,
    asv_rates: Literal["asvspoof5"] | tuple[float, float, float] | None = None,
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
        asv_rates: these rates, ``[miss,fa_nontarget,fa_spoof]``, or ``asvspoof5`` for track 2's own.
        meta: metadata table with a header, or lines ``utt value`` (``utt2attack``) without one, which
            then are the column asked for; two with a comma between, for ``by`` and for ``cluster``.
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
    options = Options(model, _asv(asv_scores, asv_rates, model, tie), tie)
    if m == "t1":
        names, trials = _track1(cli.needed("--cm", cm), cli.needed("--cm_key", cm_key))
    else:
        paths = cli.needed("--sasv", sasv), cli.needed("--sasv_key", sasv_key)
        names, trials = _track2(*paths, single=m == "t2_single")
    tables = cli.needed("--meta", meta).split(",") if by or cluster else []
    headed = len(tables) == 1 and bool(by and cluster)  # a column without a name can't be both
    if by:
        trials["by"] = files.read_condition(tables[0], by, names, headed)
    if cluster:
        trials["cluster"] = files.read_condition(tables[-1], cluster, names, headed)
    results = _results(trials, options, bootstrap, seed)
    table = _table(results, options)
    print(table, end="")
    if txt:
        write_text(txt, table)
    if json:
        write_json(json, results)


def _track1(cm: str, cm_key: str) -> tuple[list[str], Trials]:
    names, classes, scores = files.read_trials(cm, cm_key)
    return names, {"class": classes, "cm-score": scores}


def _track2(sasv: str, key: str, single: bool) -> tuple[list[str], Trials]:
    """Names and trials of a speaker and an utterance each."""
    ids, kinds = ("spk", "filename"), files.one_of(files.ASV_LABELS)
    labels = files.read_column(key, "asv-label", kinds, ids)
    for trial, label in files.read_column(key, "cm-label", files.one_of(LABELS), ids).items():
        if (label == "spoof") != (labels[trial] == "spoof"):
            raise InputError(f"{key}: {trial} is {label} by cm-label and {labels[trial]} by asv-label")
    trials = {"class": np.array(list(labels.values()))}
    files.by_class(trials["class"], trials["class"], files.ASV_LABELS, key)
    for column in ("sasv-score", "cm-score", "asv-score")[: 1 if single else 3]:
        cells = files.read_column(sasv, column, files.number, ids)
        trials[column] = np.array(files.aligned(cells, sasv, labels, key))
    return list(labels), trials


def _results(trials: Trials, options: Options, bootstrap: int, seed: int) -> dict:
    """Pooled results; under ``by`` those of all other trials with the spoofs of each value."""
    results = _measured("pooled", trials, options, bootstrap, seed)
    if "by" in trials:
        spoof, results["by"] = trials["class"] == "spoof", {}
        for value in np.unique(trials["by"][spoof]).tolist():
            rows = ~spoof | (trials["by"] == value)
            part = {column: cells[rows] for column, cells in trials.items()}
            results["by"][value] = _measured(value, part, options, bootstrap, seed)
    if "sasv-score" not in trials:
        accepted = trials["cm-score"] >= options.cost.threshold
        decisions = decision_metrics(confusion_matrix(trials["class"] == "bonafide", accepted))
        results["decisions"] = {"threshold": options.cost.threshold, "order": LABELS} | decisions
    if options.asv:
        results["asv_rates"] = options.asv._asdict()
    return results | {"cost": options.cost.as_dict(), "tie": options.tie}


def _measured(name: str, trials: Trials, options: Options, bootstrap: int, seed: int) -> dict:
    """Counts, metrics and intervals; a metric that is not finite is left out."""
    build = verification_statistic if "sasv-score" in trials else detection_statistic
    statistic, classes = build(trials, options), trials["class"]
    metrics = cli.checked(statistic, None)
    undefined = [metric for metric, value in metrics.items() if not math.isfinite(value)]
    if undefined:
        logging.warning("%s: infinite scores leave %s undefined", name, ", ".join(undefined))
    if metrics.get("eer", 0) > 0.5 or metrics.get("sasv_eer", 0) > 0.5:
        logging.warning("%s: EER above 50 %%, the polarity may be flipped (higher is bona fide)", name)
    result = {f"n_{kind}": int((classes == kind).sum()) for kind in np.unique(classes)}
    result |= {metric: value for metric, value in metrics.items() if metric not in undefined}
    if bootstrap:
        samples = replicates(statistic, Resampler(classes, trials.get("cluster")), bootstrap, seed)
        finite = [metric for metric in samples if metric in result and np.isfinite(samples[metric]).all()]
        result["ci"] = {metric: interval(samples[metric]) for metric in finite}
    return result


def _asv(scores: str | None, rates: tuple[float, ...] | str | None, model: CostModel, tie: str) -> AsvRates | None:
    """ASV error rates, measured or given, checked to make a t-DCF."""
    if not scores and not rates:
        return None
    if scores and rates:
        raise InputError("--asv_scores and --asv_rates are both given, expected one of them")
    if scores:
        asv = measured_rates(**files.read_asv_scores(scores), tie=tie)
    else:
        asv = ASVSPOOF5_ASV if rates == "asvspoof5" else AsvRates(*rates)
    cli.checked(tandem_costs, asv, model)
    return asv


def _table(results: dict, options: Options) -> str:
    """Pooled metrics, their intervals if any, then those of each condition; rates in percent."""
    keys = [key for key, value in results.items() if isinstance(value, int | float)]
    rows = [["", *(f"{key} %" if key in PERCENT else key for key in keys)]]
    for name, result in {"pooled": results, **results.get("by", {})}.items():
        rows.append([name, *(_cell(key, result[key]) if key in result else "" for key in keys)])
        if "ci" in result:
            ends = [[_cell(key, end) for end in result["ci"].get(key, ())] for key in keys]
            rows.append(["  95 %", *map("..".join, ends)])
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ["  ".join(map(str.rjust, row, widths)) for row in rows]
    asv = [f"ASV: {options.asv}"] if options.asv else []
    return "\n".join([f"cost model: {options.cost}", *asv, *lines, ""])


def _cell(key: str, value: float) -> str:
    if isinstance(value, int):
        return str(value)
    return f"{100 * value:.3f}" if key in PERCENT else f"{value:.4f}"


if __name__ == "__main__":
    cli.run(evaluate)
