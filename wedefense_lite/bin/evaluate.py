"""Stage 7: scores and keys to every metric, pooled and by condition, as a table and as JSON."""

import logging
import math
from functools import partial
from typing import Literal

import numpy as np

from wedefense_lite import cli
from wedefense_lite.files import InputError
from wedefense_lite.labels import LABELS
from wedefense_lite.metrics.bootstrap import intervals
from wedefense_lite.metrics.classification import decision_metrics
from wedefense_lite.metrics.costs import cost_model
from wedefense_lite.metrics.summary import Options, Trials, resampler, split, statistic
from wedefense_lite.metrics.tandem import AsvRates, measured_rates, tandem_costs
from wedefense_lite.report.tables import publish, table
from wedefense_lite.scoring.scores import (
    read_asv_scores,
    read_condition,
    read_trials,
    read_verification,
)

# Rates that the table prints in percent.
PERCENT = ("eer", "eer_rocch", "sasv_eer", "sv_eer", "spf_eer", "teer")


def evaluate(
    m: Literal["t1", "t2_tandem", "t2_single"] = "t1",
    cm: str | None = None,
    cm_key: str | None = None,
    sasv: str | None = None,
    sasv_key: str | None = None,
    asv_scores: str | None = None,
    asv_rates: tuple[float, float, float] | None = None,
    meta: str | None = None,
    by: str | None = None,
    both: bool = False,
    bootstrap: int = 0,
    cluster: str | None = None,
    cost: str = "asvspoof5_track1",
    tie: Literal["merge", "official"] = "merge",
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
        asv_rates: these rates, ``[miss,fa_nontarget,fa_spoof]``. ASVspoof 5 track 2 has
            ``[0.01880141010575793,0.01881016557566423,0.4607082907604729]`` whatever is submitted.
        meta: metadata table with a header, or lines ``utt value`` (``utt2attack``) without one, which
            then are the column asked for; two with a comma between, for ``by`` and for ``cluster``.
        by: a column of ``meta``: a row of results for the spoofs of each value against all bona fide. Its
            t-DCF takes the ASV system's error on the spoofs of that value, and is left out where
            ``asv_scores`` has none.
        both: rows of ``by`` have only the bona fide trials of that value, as ASVspoof 2021 has codecs.
        bootstrap: number of bootstrap samples for 95 % intervals.
        cluster: a column of ``meta`` whose values are resampled instead of single trials.
        cost: a cost model by name, with changes if any: ``asvspoof5_track1:p_spoof=0.5,c_fa_spoof=1``.
        tie: merge treats equal scores as one threshold; official steps through them as ASVspoof does.
        json: file for the results in full precision, rates as fractions.
        txt: file for the same table as is printed.
    """
    options = _options(cost, tie == "merge", asv_scores, asv_rates)
    if m == "t1":
        names, classes, scores = read_trials(cli.needed("--cm", cm), cli.needed("--cm_key", cm_key))
        columns = {"cm-score": scores}
    else:
        wanted = ["sasv-score"] if m == "t2_single" else ["sasv-score", "cm-score", "asv-score"]
        files = cli.needed("--sasv", sasv), cli.needed("--sasv_key", sasv_key)
        names, classes, columns = read_verification(*files, wanted)
    columns |= _conditions(names, meta, by, cluster)
    results = _results(split(classes, columns), options, bootstrap, both)
    results |= {"cost": options.cost.as_dict(), "tie": tie}
    head = [f"cost model: {options.cost}", *([f"ASV: {options.asv}"] if options.asv else [])]
    publish([*head, *table(_rows(results))], results, json, txt)


def _options(
    cost: str, merge_ties: bool, asv_scores: str | None, asv_rates: tuple | None
) -> Options:
    """Costs and an ASV system's error rates, which are given, or measured on all spoofs and by attack."""
    if asv_scores and asv_rates:
        raise InputError("--asv_scores and --asv_rates are both given, expected one of them")
    asv = AsvRates(*asv_rates) if asv_rates else None
    options = Options(cli.checked(cost_model, cost), asv, merge_ties)
    options = _with_asv(options, asv_scores) if asv_scores else options
    if options.asv:
        cli.checked(tandem_costs, options.asv, options.cost)
    return options


def _with_asv(options: Options, asv_scores: str) -> Options:
    trials, spoofs = read_asv_scores(asv_scores)
    measure = partial(
        measured_rates, trials["target"], trials["nontarget"], merge_ties=options.merge_ties
    )
    rates = {attack: measure(scores) for attack, scores in spoofs.items()}
    usable = {attack: asv for attack, asv in rates.items() if asv.fa_spoof > 0}
    if len(usable) < len(rates):
        logging.warning(
            "the ASV system accepts no spoof of %s: no t-DCF",
            ", ".join(rates.keys() - usable.keys()),
        )
    return options._replace(asv=measure(trials["spoof"]), asv_by=usable)


def _conditions(names: list[str], meta: str | None, by: str | None, cluster: str | None) -> dict:
    """The columns of ``meta`` that the options ask for, as ``by`` and ``cluster``."""
    if not (by or cluster):
        return {}
    tables, columns = cli.needed("--meta", meta).split(","), {}
    if by:
        columns["by"] = read_condition(tables[0], by, names)
    if cluster:
        columns["cluster"] = read_condition(tables[-1], cluster, names)
    if by and cluster and by != cluster and (columns["by"] == columns["cluster"]).all():
        raise InputError(f"{meta}: {by} and {cluster} are the same column, expected two")
    return columns


def _results(trials: Trials, options: Options, bootstrap: int, both: bool) -> dict:
    """Pooled results; under ``by`` those of the spoofs of each value with all other trials, or its own."""
    results, spoof = _measured("pooled", trials, options, bootstrap), trials["spoof"]
    if "by" in spoof:
        results["by"] = {}
        for value in np.unique(spoof["by"]).tolist():
            parts = {
                kind: {column: rows[cells["by"] == value] for column, rows in cells.items()}
                for kind, cells in trials.items()
                if both or kind == "spoof"
            }
            if empty := [kind for kind, part in parts.items() if not len(part["by"])]:
                raise InputError(f"--both: no {empty[0]} trial is {value}")
            results["by"][value] = _measured(value, trials | parts, options.of(value), bootstrap)
    if "bonafide" in trials:
        threshold, scores = options.cost.threshold, [trials[label]["cm-score"] for label in LABELS]
        decisions = decision_metrics(
            np.repeat([0, 1], [*map(len, scores)]), np.concatenate(scores) >= threshold
        )
        results["decisions"] = {"threshold": threshold, "order": LABELS} | decisions
    return results | ({"asv_rates": options.asv._asdict()} if options.asv else {})


def _measured(name: str, trials: Trials, options: Options, bootstrap: int) -> dict:
    """Counts, metrics and intervals; a metric that is not finite is left out."""
    measure = statistic(trials, options)
    metrics = cli.checked(measure)
    finite = {metric: value for metric, value in metrics.items() if math.isfinite(value)}
    if len(finite) < len(metrics):
        undefined = ", ".join(metric for metric in metrics if metric not in finite)
        logging.warning("%s: infinite scores leave %s undefined", name, undefined)
    if metrics.get("eer", 0) > 0.5 or metrics.get("sasv_eer", 0) > 0.5:
        logging.warning(
            "%s: EER above 50 %%, the polarity may be flipped (higher is bona fide)", name
        )
    result = {
        f"n_{kind}": len(next(iter(cells.values()))) for kind, cells in trials.items()
    } | finite
    if bootstrap:
        ends = intervals(measure, resampler(trials), bootstrap)
        result["ci"] = {metric: ends[metric] for metric in ends if metric in finite}
    return result


def _rows(results: dict) -> list[list[str]]:
    """Cells of pooled metrics, their intervals if any, then those of each condition; rates in percent."""
    keys = [key for key, value in results.items() if isinstance(value, int | float)]
    rows = [["", *(f"{key} %" if key in PERCENT else key for key in keys)]]
    for name, result in {"pooled": results, **results.get("by", {})}.items():
        rows.append([name, *(_cell(key, result[key]) if key in result else "" for key in keys)])
        if "ci" in result:
            ends = [[_cell(key, end) for end in result["ci"].get(key, ())] for key in keys]
            rows.append(["  95 %", *map("..".join, ends)])
    return rows


def _cell(key: str, value: float) -> str:
    if isinstance(value, int):
        return str(value)
    return f"{100 * value:.3f}" if key in PERCENT else f"{value:.4f}"


if __name__ == "__main__":
    cli.run(evaluate)
