"""Stage 7: scores and keys to every metric, pooled and by condition, as a table and as JSON."""

import logging
import math
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from wedefense_lite import cli
from wedefense_lite.files import InputError, write_json, write_text
from wedefense_lite.labels import LABELS
from wedefense_lite.metrics.bootstrap import Resampler, interval, replicates
from wedefense_lite.metrics.classification import confusion_matrix, decision_metrics
from wedefense_lite.metrics.costs import CostModel, cost_model
from wedefense_lite.metrics.summary import Options, detection_statistic, verification_statistic
from wedefense_lite.metrics.tandem import ASVSPOOF5_ASV, AsvRates, measured_rates, tandem_costs
from wedefense_lite.scoring import scores as files

# Rates that the table prints in percent.
PERCENT = ("eer", "eer_rocch", "sasv_eer", "sv_eer", "spf_eer", "teer")


@dataclass
class Trials:
    """Names, classes and scores by column of the trials, their clusters if any."""

    names: list[str]
    classes: np.ndarray
    scores: dict[str, np.ndarray]
    clusters: np.ndarray | None = None


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
    options = Options(model, _asv(asv_scores, asv_rates, model, tie), tie)
    if m == "t1":
        names, classes, scores = files.read_trials(
            cli.needed("--cm", cm), cli.needed("--cm_key", cm_key)
        )
        trials = Trials(names, classes, {"cm-score": scores})
    else:
        columns = ("sasv-score", "cm-score", "asv-score")[: 1 if m == "t2_single" else 3]
        trials = _track2(cli.needed("--sasv", sasv), cli.needed("--sasv_key", sasv_key), columns)
    tables = cli.needed("--meta", meta).split(",") if by or cluster else []
    headed = len(tables) == 1 and bool(by and cluster)  # a column without a name can't be both
    if cluster:
        trials.clusters = files.read_condition(tables[-1], cluster, trials.names, headed)
    measured = partial(_measured, trials, options, bootstrap, seed)
    results = measured("pooled", np.full(len(trials.names), True))
    if by:
        values, spoof = (
            files.read_condition(tables[0], by, trials.names, headed),
            trials.classes == "spoof",
        )
        kinds = np.unique(values[spoof]).tolist()
        results["by"] = {kind: measured(kind, ~spoof | (values == kind)) for kind in kinds}
    if m == "t1":
        decisions = decision_metrics(confusion_matrix(classes == "bonafide", scores >= model.threshold))
        results["decisions"] = {"threshold": model.threshold, "order": LABELS} | decisions
    results |= {"cost": model.as_dict(), "tie": tie} | (
        {"asv_rates": options.asv._asdict()} if options.asv else {}
    )
    table = _table(results, options)
    print(table, end="")
    if txt:
        write_text(txt, table)
    if json:
        write_json(json, results)


def _track2(sasv: str, key: str, columns: tuple[str, ...]) -> Trials:
    """Trials of a speaker and an utterance each."""
    ids, kinds = ("spk", "filename"), files.one_of(files.ASV_LABELS)
    labels = files.read_column(key, "asv-label", kinds, ids)
    for trial, label in files.read_column(key, "cm-label", files.one_of(LABELS), ids).items():
        if (label == "spoof") != (labels[trial] == "spoof"):
            raise InputError(f"{key}: {trial} is {label} by cm-label and {labels[trial]} by asv-label")
    classes = np.array(list(labels.values()))
    files.by_class(classes, classes, files.ASV_LABELS, key)
    scores = {column: files.read_column(sasv, column, files.number, ids) for column in columns}
    return Trials(
        list(labels),
        classes,
        {column: files.aligned(scores[column], sasv, labels, key) for column in columns},
    )


def _measured(
    trials: Trials, options: Options, bootstrap: int, seed: int, name: str, rows: np.ndarray
) -> dict:
    """Counts, metrics and intervals of some rows; a metric that is not finite is left out."""
    classes, scores = (
        trials.classes[rows],
        {column: cells[rows] for column, cells in trials.scores.items()},
    )
    build = verification_statistic if "sasv-score" in scores else detection_statistic
    statistic = build(classes, scores, options)
    metrics = cli.checked(statistic, None)
    undefined = [metric for metric, value in metrics.items() if not math.isfinite(value)]
    if undefined:
        logging.warning("%s: infinite scores leave %s undefined", name, ", ".join(undefined))
    if metrics.get("eer", 0) > 0.5 or metrics.get("sasv_eer", 0) > 0.5:
        logging.warning("%s: EER above 50 %%, the polarity may be flipped (higher is bona fide)", name)
    result = {f"n_{kind}": int((classes == kind).sum()) for kind in np.unique(classes)}
    result |= {metric: value for metric, value in metrics.items() if metric not in undefined}
    if bootstrap:
        resampler = Resampler(classes, None if trials.clusters is None else trials.clusters[rows])
        samples = replicates(statistic, resampler, bootstrap, seed)
        finite = [
            metric for metric in samples if metric in result and np.isfinite(samples[metric]).all()
        ]
        result["ci"] = {metric: interval(samples[metric]) for metric in finite}
    return result


def _asv(
    scores: str | None, rates: tuple[float, ...] | str | None, model: CostModel, tie: str
) -> AsvRates | None:
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
