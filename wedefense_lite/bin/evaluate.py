"""Stage 7: scores and keys to every metric, pooled and by condition, as a table and as JSON."""

from wedefense_lite import cli

import logging
import math
from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np
from jsonargparse.typing import NonNegativeInt

from wedefense_lite.files import (
    NO_VALUE,
    InputError,
    abbreviate,
    first_fields,
    number,
    read_json,
)
from wedefense_lite.labels import BONAFIDE, LABELS, NO_LABELS, SPOOF
from wedefense_lite.metrics.bootstrap import intervals
from wedefense_lite.metrics.classification import decision_metrics
from wedefense_lite.metrics.costs import DEFAULT, TRACK_2, CostModel, cost_model
from wedefense_lite.metrics.detection import DEFAULT_TIE, Tie
from wedefense_lite.metrics.summary import (
    RATE_OF_CLASS,
    UNLABELLED,
    MetricOptions,
    Trials,
    count_trials,
    make_measure,
    make_resampler,
    score_distribution,
    split,
    warn_of_polarity,
)
from wedefense_lite.metrics.tandem import (
    AsvRates,
    checked_rates,
    measure_asv_rates,
    tandem_costs,
)
from wedefense_lite.report.tables import check_outputs, publish, table, tabulated
from wedefense_lite.scoring.scores import (
    DEFAULT_PHASE,
    AsvScores,
    Phase,
    attacks_of_key,
    finite_number,
    read_asv_trials,
    read_condition,
    read_scores,
    read_trials,
    read_verification,
)
from wedefense_lite.scoring.sidecar import find_sidecar

DEFAULT_COSTS = {"t1": DEFAULT.name, "t2_tandem": TRACK_2.name, "t2_single": TRACK_2.name}
# Names of options in the program of ASVspoof 5.
OFFICIAL_OPTIONS = {
    "--cm_keys": "--cm_key",
    "--sasv_keys": "--sasv_key",
    "--asv_org": "--asv_scores",
}
# Metrics that take a score for an LLR.
OF_LLRS = ("act_dcf", "cllr")
# Rates that the table prints in percent.
PERCENT = ("eer", "eer_rocch", "sasv_eer", "sv_eer", "spf_eer", "teer", *RATE_OF_CLASS.values())


class SetFiles(NamedTuple):
    """Files of a set, of which each is an option of the command; None is not given."""

    cm: str | None
    cm_key: str | None
    meta: str | None
    asv_scores: str | None
    json: str | None
    txt: str | None


class SharedOptions(NamedTuple):
    """Options of the command that all sets share; see ``evaluate``."""

    m: str
    sasv: str | None
    sasv_key: str | None
    asv_key: str | None
    asv_rates: tuple[float, float, float] | None
    by: str | None
    both: bool
    bootstrap: int
    cluster: str | None
    subset: str | None
    tie: Tie
    phase: Phase
    threshold: str | None


def evaluate(
    m: Literal["t1", "t2_tandem", "t2_single"] = "t1",
    cm: list[str] | str | None = None,
    cm_key: list[str] | str | None = None,
    sasv: str | None = None,
    sasv_key: str | None = None,
    asv_scores: list[str] | str | None = None,
    asv_key: str | None = None,
    asv_rates: tuple[float, float, float] | None = None,
    meta: list[str] | str | None = None,
    by: str | None = None,
    both: bool = False,
    bootstrap: NonNegativeInt = 0,
    cluster: str | None = None,
    subset: str | None = None,
    cost: str | None = None,
    tie: Tie = DEFAULT_TIE,
    phase: Phase = DEFAULT_PHASE,
    threshold: str | None = None,
    json: list[str] | str | None = None,
    txt: list[str] | str | None = None,
) -> None:
    """Print the metrics of scores (higher is bona fide) as a table.

    Several sets at once are for ``t1``: as many values of each of ``--cm``, ``--cm_key``,
    ``--meta``, ``--asv_scores``, ``--json`` and ``--txt`` that is given; other options are of all
    sets. Nothing is printed or written where one of them can't be evaluated.

    Scores and keys may be of ours or of another toolkit or challenge; what a file was read as is
    logged, and docs/score_files.md has a list. ``--cm_keys``, ``--sasv_keys`` and ``--asv_org``
    are other names of ``--cm_key``, ``--sasv_key`` and ``--asv_scores``.

    Args:
        m: t1: detection; t2_tandem: detector and speaker verifier; t2_single: one score for both.
        cm: t1: scores with the header ``filename cm-score``.
        cm_key: t1: labels with the header ``filename cm-label``. By default the scores' own, if
            their lines have labels, as CM scores of ASVspoof 2019 do. A key of one class gives the
            error rate of that class at ``threshold`` and the distribution of the scores, and no
            EER. none: nobody knows the labels; gives the share of accepted trials instead.
        sasv: t2: scores by speaker and utterance. t2_tandem needs the header
            ``spk filename cm-score asv-score sasv-score``, t2_single ``spk filename sasv-score``;
            other columns are not read. Lists of SASV 2022 and of the a-DCF package are read too.
        sasv_key: t2: labels with the header ``spk filename cm-label asv-label``. By default the
            scores' own, if their lines have classes.
        asv_scores: lines ``source key score`` of an ASV system, or ASV scores of ASVspoof 2021 or
            5; the t-DCF takes its error rates. There is none where the file has none of the key's
            attacks or utterances.
        asv_key: classes of the trials of ``asv_scores`` whose lines have none. By default that of
            track 2, or the ``trial_metadata.txt`` where ASVspoof 2021 has it.
        asv_rates: these rates instead, ``[miss,fa_nontarget,fa_spoof]``, shares between 0 and 1.
            ASVspoof 5 track 2 has
            ``[0.01880141010575793,0.01881016557566423,0.4607082907604729]`` whatever is submitted.
        meta: metadata table with a header, or lines ``utt value`` (``utt2attack``) without one,
            whose second field is the column asked for. Two files with a comma between: the first
            for ``by``, the second for ``cluster``. By default the key, whose own columns may be
            asked for: ``attack`` of a protocol, ``codec`` of ASVspoof 2021.
        by: a column of ``meta``. Each value gets a row: its spoofs against all bona fide trials.
            The t-DCF of a row takes the ASV system's error rates on these spoofs (and with ``both``
            on the targets and nontargets of that value), if ``asv_scores`` has the column and the
            value. With ``attack`` it must have some of the attacks.
        both: rows of ``by`` have only the bona fide trials of that value (codecs of ASVspoof 2021).
        bootstrap: number of bootstrap samples for 95 % intervals. A sample without a class is
            drawn again.
        cluster: a column of ``meta`` whose values are resampled instead of single trials.
        subset: file whose lines begin with an utterance: only these are evaluated.
        cost: a cost model by name, with changes if any:
            ``asvspoof5_track1:p_spoof=0.5,c_fa_spoof=1``. By default that of the track;
            ``a_dcf`` is that of the a-DCF package.
        tie: rule for equal scores in EER and t-EER. merge: they share one threshold; official: a
            step for each of them, as in the ASVspoof packages.
        phase: part of an ASVspoof 2021 key that is evaluated: progress, eval, hidden, or all.
        threshold: t1: a score, or the results of another set (``results_dev.json``), whose EER
            threshold it is. Adds the rates of misses (bona fide scores below) and false alarms
            (spoof scores at or above). A set of one class has them by default, at the Bayes
            threshold of the cost model.
        json: file for the results in full precision, rates as fractions.
        txt: file for the printed table.
    """
    sets = _sets_of_options(m, cm, cm_key, meta, asv_scores, json, txt)
    outputs = []
    for files in sets:
        outputs += [files.json, files.txt]
        _check_options(files.meta, by, both, bootstrap, cluster)
        _check_asv_options(files.asv_scores, asv_key, asv_rates)
    check_outputs(*outputs)
    model = cli.checked_option("--cost", cost_model, cost or DEFAULT_COSTS[m])
    options = _add_asv_rates(MetricOptions(model, merge_ties=tie == "merge"), asv_rates)
    options = _add_threshold(options, threshold, m)
    shared = SharedOptions(
        m=m,
        sasv=sasv,
        sasv_key=sasv_key,
        asv_key=asv_key,
        asv_rates=asv_rates,
        by=by,
        both=both,
        bootstrap=bootstrap,
        cluster=cluster,
        subset=subset,
        tie=tie,
        phase=phase,
        threshold=threshold,
    )
    evaluations = [_evaluate_set(files, shared, options) for files in sets]
    for files, (lines, results) in zip(sets, evaluations):
        if len(sets) > 1:
            publish([f"-- {files.cm}"], {}, None)
        publish(lines, results, files.json, files.txt)


def _sets_of_options(m: str, *values: list[str] | str | None) -> list[SetFiles]:
    """Files of each set.

    Args:
        m: track.
        values: one or several of each option, in the order of ``SetFiles``.

    Raises:
        InputError: other numbers of one option than of another, or several sets of track 2.
    """
    if all(value is None for value in values):
        return [SetFiles(*values)]
    names = [f"--{name}" for name in SetFiles._fields]
    typed = [name for name, value in zip(names, values) if value is not None]
    sets = [SetFiles(*files) for files in cli.paired(" and ".join(typed), *values)]
    if len(sets) > 1 and m != "t1":
        raise InputError(f"{len(sets)} sets go with --m t1, and --m is {m}")
    return sets


def _evaluate_set(
    files: SetFiles, shared: SharedOptions, options: MetricOptions
) -> tuple[list[str], dict]:
    """Lines of the table of a set, and its results.

    Args:
        files: of the set.
        shared: options of all sets.
        options: of the metrics, without the rates of ``--asv_scores``.
    """
    cm, _, meta, asv_scores, _, _ = files
    by = shared.by
    if shared.m == "t1":
        key = files.cm_key or cli.needed("--cm", cm)
        names, classes, scores = _read_detection(cli.needed("--cm", cm), key, shared.phase)
        columns = {"cm-score": scores}
    else:
        sasv = cli.needed("--sasv", shared.sasv)
        key = shared.sasv_key or sasv
        score_columns = ["sasv-score"]
        if shared.m == "t2_tandem":
            score_columns += ["cm-score", "asv-score"]
        names, classes, columns = read_verification(sasv, key, score_columns)
    names, classes, columns = _select(shared.subset, names, classes, columns)
    columns |= _read_conditions(names, meta or key, by, shared.cluster)
    trials = split(classes, columns)
    # Of a million trials they are a tenth of all memory, which the metrics need.
    del classes, columns
    if len(trials) == 1:
        _warn_of_asv(asv_scores or shared.asv_rates)
        lines, results = _evaluate_one_class(trials, options, shared.bootstrap, bool(by), cm)
        results["tie"] = shared.tie
        return lines, results
    if asv_scores:
        asv = read_asv_trials(asv_scores, shared.asv_key or shared.sasv_key, shared.phase)
        if by == "attack":
            _check_attacks(trials["spoof"]["by"], asv, asv_scores, meta or key)
        if _is_of_set(asv, asv_scores, key, names, by):
            options = _measure_asv(options, asv, by, shared.both)
            cli.checked_option(asv_scores, tandem_costs, options.asv, options.cost)
    results = _measure("pooled", trials, options, shared.bootstrap)
    if by:
        results["by"] = _measure_by_condition(trials, options, shared.bootstrap, shared.both)
    if shared.m == "t1" and _may_be_llr(cm):
        results["decisions"] = _count_decisions(trials, options.cost)
    elif shared.m == "t1":
        _leave_out_llr_metrics(results)
    if options.asv:
        results["asv_rates"] = options.asv._asdict()
    results |= {"cost": options.cost.as_dict(), "tie": shared.tie}
    lines = _heading(options, shared.tie, shared.threshold) + table(_table_rows(results))
    if shared.threshold is not None:
        results["threshold"] = options.threshold
    return lines, results


def _heading(options: MetricOptions, tie: Tie, threshold: str | None) -> list[str]:
    """Lines above the table, which say what its numbers depend on."""
    lines = [f"cost model: {options.cost}"]
    if threshold is not None:
        lines.append(f"miss and fa: at {options.threshold:g} ({threshold})")
    if tie != DEFAULT_TIE:
        lines.append(f"ties: {tie}")
    if options.asv:
        lines.append(f"ASV: {options.asv}")
    return lines


def _add_threshold(options: MetricOptions, threshold: str | None, m: str) -> MetricOptions:
    """Options with the threshold of ``--threshold``, if it is given."""
    if threshold is None:
        return options
    if m != "t1":
        raise InputError(f"--threshold goes with --m t1, and --m is {m}")
    return replace(options, threshold=_read_threshold(threshold))


def _read_threshold(text: str) -> float:
    """Threshold of a text: a number, or results whose EER threshold it is.

    Raises:
        InputError: neither.
    """
    try:
        return finite_number(text)
    except ValueError:
        pass
    results = read_json(text)
    value = results.get("eer_threshold") if isinstance(results, dict) else None
    if not isinstance(value, int | float):
        raise InputError(
            f"--threshold: {text} has no eer_threshold, expected a number or results of "
            "evaluate.py on a set of both classes, such as results_dev.json"
        )
    return float(value)


def _read_detection(cm: str, cm_key: str, phase: str) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Utterances, classes and scores of a detector; without a key all are ``UNLABELLED``."""
    if cm_key != NO_LABELS:
        return read_trials(cm, cm_key, number, phase, needs_both=False)
    names = []
    scores = []
    for name, (score,) in read_scores(cm).items():
        names.append(name)
        scores.append(score)
    return names, np.full(len(names), UNLABELLED), np.array(scores)


def _select(
    subset: str | None, names: list[str], classes: np.ndarray, columns: dict[str, np.ndarray]
) -> tuple[list[str], np.ndarray, dict[str, np.ndarray]]:
    """Utterances, classes and scores of the trials that ``--subset`` lists; all without it.

    Raises:
        InputError: a listed utterance is no trial.
    """
    if subset is None:
        return names, classes, columns
    utterances = set(first_fields(subset))
    missing = sorted(utterances.difference(names))
    if missing:
        raise InputError(
            f"{subset}: {len(missing)} utterances are no trials of the key: {abbreviate(missing)}"
        )
    kept = [position for position, name in enumerate(names) if name in utterances]
    if not kept:
        raise InputError(f"{subset}: empty, expected a line an utterance")
    logging.info("%s: %d of %d trials are evaluated", subset, len(kept), len(names))
    selected = {name: cells[kept] for name, cells in columns.items()}
    return [names[position] for position in kept], classes[kept], selected


def _evaluate_one_class(
    trials: Trials, options: MetricOptions, bootstrap: int, by_condition: bool, cm: str
) -> tuple[list[str], dict]:
    """Lines and results of a set of one class: rate at a threshold, distribution of the scores.

    Args:
        trials: of the class, or unlabelled.
        options: threshold, cost model.
        bootstrap: number of samples.
        by_condition: whether the trials have the column ``by``.
        cm: file of the scores.
    """
    ((label, columns),) = trials.items()
    if options.asv:
        logging.warning("no t-DCF: a set of one class has none")
    source = "--threshold"
    if options.threshold is None and _may_be_llr(cm):
        options = replace(options, threshold=options.cost.threshold)
        source = "the Bayes threshold of the cost model"
    results = {"n_bonafide": 0, "n_spoof": 0, "eer": None, "min_dcf": None}
    results |= _measure("pooled", trials, options, bootstrap)
    results |= {"threshold": options.threshold, "scores": score_distribution(columns["cm-score"])}
    by_value = {}
    if by_condition:
        for value in np.unique(columns["by"]).tolist():
            # "-" is no condition, as the attack of bona fide trials.
            if value == NO_VALUE:
                continue
            rows = columns["by"] == value
            part = {label: {name: cells[rows] for name, cells in columns.items()}}
            by_value[value] = _measure(value, part, options, bootstrap)
            by_value[value]["scores"] = score_distribution(part[label]["cm-score"])
    if by_value:
        results["by"] = by_value
    results["cost"] = options.cost.as_dict()
    label_text = "no labels" if label == UNLABELLED else f"only {label} trials"
    lines = [f"{label_text}: EER n/a"]
    if options.threshold is None:
        lines.append("no rates: these scores are no LLRs, --threshold gives them a threshold")
    else:
        lines.append(f"{RATE_OF_CLASS[label]}: at {options.threshold:g} ({source})")
    shown = (f"n_{label}", RATE_OF_CLASS[label], "ci", "by")
    lines += table(_table_rows({name: results[name] for name in shown if name in results}))
    distributions = {"pooled": results["scores"]}
    for value, result in by_value.items():
        distributions[value] = result["scores"]
    lines += ["", *tabulated("scores", distributions)]
    return lines, results


def _may_be_llr(cm: str) -> bool:
    """Whether scores may be LLRs; False where their sidecar says that they are no such thing."""
    sidecar = find_sidecar(cm)
    return sidecar is None or sidecar.score == "difference"


def _leave_out_llr_metrics(results: dict) -> None:
    """Take out what holds for LLRs alone, which a logit by itself is not; it is logged."""
    logging.warning(
        "the scores are bona fide logits, no LLRs: no %s, no decisions", ", ".join(OF_LLRS)
    )
    for result in [results, *results.get("by", {}).values()]:
        for metric in OF_LLRS:
            result.pop(metric, None)
            result.get("ci", {}).pop(metric, None)


def _check_options(
    meta: str | None, by: str | None, both: bool, bootstrap: int, cluster: str | None
) -> None:
    """Refuse options that would do nothing without others."""
    if meta and not (by or cluster):
        raise InputError(f"--meta is {meta}, but neither --by nor --cluster names a column of it")
    if both and not by:
        raise InputError("--both goes with --by, which is not given")
    if cluster and not bootstrap:
        logging.warning("--cluster %s does nothing without --bootstrap", cluster)


def _check_asv_options(
    asv_scores: str | None, asv_key: str | None, asv_rates: tuple[float, float, float] | None
) -> None:
    """Refuse options of an ASV system that don't go together."""
    if asv_scores and asv_rates is not None:
        raise InputError("--asv_scores and --asv_rates are both given, expected one of them")
    if asv_key and not asv_scores:
        raise InputError("--asv_key goes with --asv_scores, which is not given")


def _warn_of_asv(asv: str | tuple | None) -> None:
    """Say that an ASV system is of no use where a set has one class."""
    if asv is not None:
        logging.warning("no t-DCF of a set of one class, whatever the ASV system")


def _add_asv_rates(
    options: MetricOptions, asv_rates: tuple[float, float, float] | None
) -> MetricOptions:
    """Options with error rates of an ASV system that somebody typed, if anybody did."""
    if asv_rates is None:
        return options
    rates = cli.checked_option("--asv_rates", checked_rates, asv_rates)
    cli.checked_option("--asv_rates", tandem_costs, rates, options.cost)
    return replace(options, asv=rates)


def _check_attacks(attacks: np.ndarray, asv: AsvScores, asv_scores: str, meta: str) -> None:
    """Refuse ASV scores of other attacks; say for which of the attacks there are none."""
    names = np.unique(attacks).tolist()
    without_rates = [attack for attack in names if attack not in asv.attacks()]
    if len(without_rates) == len(names):
        raise InputError(
            f"{asv_scores}: spoofs of {abbreviate(asv.attacks())}, expected some of "
            f"{abbreviate(names)}, the attacks in {meta}"
        )
    if without_rates:
        logging.warning("%s: no t-DCF of %s", asv_scores, ", ".join(without_rates))


def _is_of_set(asv: AsvScores, asv_scores: str, key: str, names: list[str], by: str | None) -> bool:
    """Whether ASV scores may be of the set that is evaluated; what is known is said.

    Args:
        asv: the scores.
        asv_scores: their file.
        key: file of the labels.
        names: utterances of the set.
        by: condition of the rows; attacks were compared already.
    """
    if by == "attack":
        return True
    if asv.utterances:
        # ASVspoof 2021 has the codec in these ids: LA_E_5013670-alaw-ita_tx.
        utterances = {utterance.split("-")[0] for utterance in asv.utterances}
        utterances.update(asv.utterances)
        if utterances.isdisjoint(names):
            logging.warning("%s: no t-DCF, no utterance of %s is in it", asv_scores, key)
            return False
        return True
    attacks = attacks_of_key(key)
    if attacks and attacks.isdisjoint(asv.attacks()):
        logging.warning(
            "%s: no t-DCF, its spoofs are of %s, those of %s of %s",
            asv_scores,
            abbreviate(asv.attacks()),
            key,
            abbreviate(sorted(attacks)),
        )
        return False
    if not attacks:
        logging.warning(
            "%s names no attacks: the t-DCF is one only if %s is of the same set", key, asv_scores
        )
    return True


def _measure_asv(
    options: MetricOptions, asv: AsvScores, by: str | None, both: bool
) -> MetricOptions:
    """Options with the rates of ASV scores: on all trials, and on those of each condition.

    Args:
        options: options without them.
        asv: the scores.
        by: condition of the rows; by attack where the scores have no such condition.
        both: whether a row has the targets and nontargets of its value alone.
    """
    column = by if by in asv.conditions else "attack"
    values = []
    if column in asv.conditions:
        values = np.unique(asv.conditions[column][asv.classes == "spoof"]).tolist()
    rates_by_value: dict[str, AsvRates | None] = {}
    values_without_tdcf = []
    for value in values:
        trials = asv.of_condition(column, value, both and column == by)
        rates_by_value[value] = None
        if all(len(scores) for scores in trials.values()):
            rates = measure_asv_rates(**trials, merge_ties=options.merge_ties)
            if rates.fa_spoof:
                rates_by_value[value] = rates
                continue
        values_without_tdcf.append(value)
    if values_without_tdcf:
        logging.warning(
            "the ASV system accepts no spoof of %s: no t-DCF", ", ".join(values_without_tdcf)
        )
    pooled_rates = measure_asv_rates(**asv.by_class(), merge_ties=options.merge_ties)
    return replace(options, asv=pooled_rates, asv_by=rates_by_value)


def _read_conditions(
    names: list[str], meta: str, by: str | None, cluster: str | None
) -> dict[str, np.ndarray]:
    """The columns of ``meta`` that the options ask for, as ``by`` and ``cluster``."""
    if not (by or cluster):
        return {}
    tables = meta.split(",")
    columns = {}
    if by:
        columns["by"] = read_condition(tables[0], by, names)
    if cluster:
        columns["cluster"] = read_condition(tables[-1], cluster, names)
    # A table without a header gives its one column under every name.
    if by and cluster and by != cluster and (columns["by"] == columns["cluster"]).all():
        raise InputError(f"{meta}: {by} and {cluster} are the same column, expected two")
    return columns


def _measure_by_condition(
    trials: Trials, options: MetricOptions, bootstrap: int, both: bool
) -> dict[str, dict]:
    """Results for the spoofs of each value of ``by``, against all other trials or its own."""
    results = {}
    for value in np.unique(trials["spoof"]["by"]).tolist():
        condition = {}
        for label, columns in trials.items():
            condition[label] = columns
            if both or label == "spoof":
                rows = columns["by"] == value
                if not rows.any():
                    raise InputError(f"--both: no {label} trial is {value}")
                condition[label] = {name: cells[rows] for name, cells in columns.items()}
        results[value] = _measure(value, condition, options.for_condition(value), bootstrap)
    return results


def _count_decisions(trials: Trials, cost: CostModel) -> dict:
    """Confusion and what follows from it, with score >= Bayes threshold decided to be bona fide."""
    spoof = trials["spoof"]["cm-score"]
    bonafide = trials["bonafide"]["cm-score"]
    true = np.repeat([SPOOF, BONAFIDE], [len(spoof), len(bonafide)])
    # The class index of bona fide is 1, that of spoof 0.
    predicted = np.concatenate([spoof, bonafide]) >= cost.threshold
    decisions = decision_metrics(true, predicted)
    return {"threshold": cost.threshold, "order": LABELS} | decisions


def _measure(name: str, trials: Trials, options: MetricOptions, bootstrap: int) -> dict:
    """Counts, metrics and intervals; a metric that is not finite is left out."""
    measure = make_measure(trials, options)
    metrics = cli.checked(measure.metrics)
    finite = {metric: value for metric, value in metrics.items() if math.isfinite(value)}
    if len(finite) < len(metrics):
        undefined = ", ".join(metric for metric in metrics if metric not in finite)
        logging.warning("%s: infinite scores leave %s undefined", name, undefined)
    warn_of_polarity(name, metrics)
    result = {f"n_{label}": count for label, count in count_trials(trials).items()}
    result |= finite
    if bootstrap:
        resampler = make_resampler(trials)
        ends = cli.checked(intervals, measure.resampled_metrics, resampler, bootstrap)
        result["ci"] = {metric: ends[metric] for metric in ends if metric in finite}
    return result


def _table_rows(results: dict) -> list[list[str]]:
    """Cells of pooled metrics, of their intervals if any, then the same of each condition."""
    keys = [key for key, value in results.items() if isinstance(value, int | float)]
    titles = [f"{key} %" if key in PERCENT else key for key in keys]
    rows = [["", *titles]]
    for name, result in {"pooled": results, **results.get("by", {})}.items():
        rows.append([name, *(_cell(key, result.get(key)) for key in keys)])
        if "ci" in result:
            rows.append(["  95 %", *(_interval_cell(key, result["ci"].get(key)) for key in keys)])
    return rows


def _cell(key: str, value: float | None) -> str:
    """A count as it is, a rate in percent, another number with four decimals, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, int):
        return str(value)
    # z: what rounds to zero has no sign.
    return f"{100 * value:z.3f}" if key in PERCENT else f"{value:z.4f}"


def _interval_cell(key: str, ends: tuple[float, float] | None) -> str:
    if ends is None:
        return ""
    low, high = ends
    return f"{_cell(key, low)}..{_cell(key, high)}"


if __name__ == "__main__":
    cli.run(evaluate, aliases=OFFICIAL_OPTIONS)
