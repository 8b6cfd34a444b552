"""Files of an experiment, read for its report: set-up, history of training, scored sets."""

import logging
import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wedefense_lite.files import InputError, file_name, read_json, read_text
from wedefense_lite.metrics.costs import CostModel, cost_model
from wedefense_lite.metrics.detection import SortedScores
from wedefense_lite.metrics.summary import warn_of_polarity
from wedefense_lite.scoring.scores import key_of_set, read_condition, read_trials

CALIBRATED = "_calibrated"  # scores of a set a second time, after calibration
SETS = ("dev", "eval", "eval_calibrated")
NEEDED_METRICS = ("eer", "eer_threshold", "min_dcf", "act_dcf", "cllr")
# Entries of results that hold other things than a number.
NO_NUMBERS = {"by", "ci", "cost", "tie", "decisions", "asv_rates"}
HISTORY_COLUMNS = ("epoch", "train_loss", "dev_loss", "dev_eer")


@dataclass(frozen=True)
class ScoredSet:
    """Trials of one set, and the results of their evaluation. Arrays have one entry a trial.

    Attributes:
        name: of the set, such as ``eval`` or ``eval_calibrated``.
        key: utterance.
        llr: nats.
        bonafide: true for bona fide trials.
        attack: attack of a spoof.
        speaker: speaker of the utterance.
        seconds: length of the utterance.
        scores: the LLRs by class.
        cost: costs of the DCF.
        results: content of ``results_<set>.json``.
    """

    name: str
    key: np.ndarray
    llr: np.ndarray
    bonafide: np.ndarray
    attack: np.ndarray
    speaker: np.ndarray
    seconds: np.ndarray
    scores: SortedScores
    cost: CostModel
    results: dict


@dataclass(frozen=True)
class Run:
    """An experiment.

    Attributes:
        name: of its folder.
        config_text: its configuration.
        env: content of ``env.json``.
        history: columns of ``metrics.csv``, NaN for an empty cell; None without a training here.
        sets: scored sets, in the order of the report.
        dev_threshold: EER threshold of dev in nats; None where dev was not evaluated.
    """

    name: str
    config_text: str
    env: dict
    history: np.ndarray | None
    sets: list[ScoredSet]
    dev_threshold: float | None = None

    @property
    def ranked(self) -> list[ScoredSet]:
        """Sets but for those that repeat another one with calibrated scores.

        Calibration keeps the order of trials, so curves and hardest trials are equal.
        """
        originals = [scored for scored in self.sets if not scored.name.endswith(CALIBRATED)]
        return originals or self.sets

    @property
    def components(self) -> list[str]:
        """Class names of the system's parts, in the order of the configuration."""
        return re.findall(r"class_path: (?:\w+\.)*(\w+)", self.config_text)


def read_run(exp_dir: str | Path, data_dir: str | Path, sets: list[str] | None = None) -> Run:
    """Read all that a report shows.

    Args:
        exp_dir: folder of the experiment.
        data_dir: folder with the data directory of each set.
        sets: names of sets; by default those of ``SETS`` that were evaluated.

    Raises:
        InputError: a file is missing (``metrics.csv`` may be), malformed, or disagrees with
            another one.
    """
    exp_dir = Path(exp_dir)
    names = sets or _sets_of_both_classes(exp_dir)
    if not names:
        raise InputError(f"{exp_dir}: no results_dev.json or results_eval.json: run stage 7 first")
    metrics = exp_dir / "metrics.csv"
    history = read_history(metrics) if metrics.exists() else None
    scored_sets = []
    for name in names:
        if name != file_name(name):
            raise InputError(f"--sets {name!r}: no name of a set, expected one without slashes")
        set_dir = Path(data_dir) / name.removesuffix(CALIBRATED)
        scored_sets.append(read_set(exp_dir, set_dir, name))
    return Run(
        name=exp_dir.resolve().name,
        config_text=read_text(exp_dir / "config.yaml"),
        env=read_object(exp_dir / "env.json"),
        history=history,
        sets=scored_sets,
        dev_threshold=_dev_threshold(exp_dir),
    )


def _dev_threshold(exp_dir: Path) -> float | None:
    """EER threshold of dev, whether or not the report shows dev; None of a dev of one class."""
    path = exp_dir / "results_dev.json"
    threshold = read_object(path).get("eer_threshold") if path.exists() else None
    return threshold if is_number(threshold) else None


def _sets_of_both_classes(exp_dir: Path) -> list[str]:
    """Names of evaluated sets; those of one class, without curves and EER, are logged."""
    names = []
    for name in SETS:
        path = exp_dir / f"results_{name}.json"
        if not path.exists():
            continue
        results = read_object(path)
        if "eer" in results and results["eer"] is None:
            logging.warning("%s is left out: of one class", path)
        else:
            names.append(name)
    return names


def read_set(exp_dir: Path, data_dir: Path, name: str) -> ScoredSet:
    """Scores, labels, conditions and results of one set.

    Raises:
        InputError: the results are not of these scores.
    """
    path = exp_dir / "posteriors" / name / "llr.txt"
    results_path = exp_dir / f"results_{name}.json"
    key, labels, llr = read_trials(path, key_of_set(data_dir))
    scores = SortedScores(llr[labels == "bonafide"], llr[labels == "spoof"])
    results = read_results(results_path)
    warn_of_polarity(name, results)
    # Equal but for rounding: the Cllr depends on every score and label.
    if not math.isclose(results["cllr"], scores.cllr(), rel_tol=1e-9):
        raise InputError(f"{results_path}: its Cllr is not that of {path}: run stage 7 again")
    return ScoredSet(
        name=name,
        key=np.array(key),
        llr=llr,
        bonafide=labels == "bonafide",
        attack=read_condition(data_dir / "utt2attack", "attack", key),
        speaker=read_condition(data_dir / "utt2spk", "speaker", key),
        seconds=read_condition(data_dir / "utt2dur", "seconds", key).astype(float),
        scores=scores,
        cost=cost_model(results["cost"]["name"]),
        results=results,
    )


def read_object(path: Path) -> dict:
    """JSON object of a file.

    Raises:
        InputError: no JSON, or another value.
    """
    value = read_json(path)
    if not isinstance(value, dict):
        raise InputError(f"{path}: a {type(value).__name__}, expected an object with names")
    return value


def read_results(path: Path) -> dict:
    """Results of a set, with the fields that a report needs.

    Raises:
        InputError: a field is missing, or of another kind.
    """
    results = read_object(path)
    for name in NEEDED_METRICS:
        if not is_number(results.get(name)):
            raise InputError(f"{path}: {name} is {results.get(name)!r}, expected a number")
    cost = results.get("cost")
    if not (isinstance(cost, dict) and isinstance(cost.get("name"), str)):
        raise InputError(f"{path}: cost is {cost!r}, expected the costs of stage 7")
    for name, kind in {"by": dict, "ci": list}.items():
        parts = results.get(name, {})
        if not (isinstance(parts, dict) and all(isinstance(p, kind) for p in parts.values())):
            raise InputError(f"{path}: {name} is {parts!r}, expected what stage 7 writes")
    _check_shown(path, results)
    for row in results.get("by", {}).values():
        _check_shown(path, row)
    for name, bounds in results.get("ci", {}).items():
        _check_shown(path, {f"bound {row} of {name}": bound for row, bound in enumerate(bounds)})
    return results


def _check_shown(path: Path, row: dict) -> None:
    """Refuse texts, lists and objects where a page shows a number; None is unknown."""
    for name, value in row.items():
        if name in NO_NUMBERS or value is None or is_number(value):
            continue
        raise InputError(f"{path}: {name} is {repr(value)[:80]}, expected a number")


def is_number(value: object) -> bool:
    """Whether a value of JSON is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def read_history(path: Path) -> np.ndarray:
    """Columns of ``metrics.csv``.

    Raises:
        InputError: a row of another length, or a column that is missing.
    """
    lines = read_text(path).splitlines()
    try:
        # A single epoch is a single row, which is still an array of rows.
        history = np.genfromtxt(lines, delimiter=",", names=True, ndmin=1)
    except (ValueError, IndexError, StopIteration) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: no table of a training: {reason}") from error
    missing = set(HISTORY_COLUMNS) - set(history.dtype.names or ())
    if missing:
        raise InputError(f"{path}: no column {', '.join(sorted(missing))}: not of a training")
    return history
