"""Files of an experiment, read for its report: set-up, history of training, scored sets."""

import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wedefense_lite.files import InputError, file_name, read_json, read_text
from wedefense_lite.metrics.costs import CostModel, cost_model
from wedefense_lite.metrics.detection import SortedScores
from wedefense_lite.scoring.scores import read_condition, read_trials

CALIBRATED = "_calibrated"  # scores of a set a second time, after calibration
SETS = ("dev", "eval", "eval_calibrated")


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
    """

    name: str
    config_text: str
    env: dict
    history: np.ndarray | None
    sets: list[ScoredSet]

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
    names = sets or [name for name in SETS if (exp_dir / f"results_{name}.json").exists()]
    if not names:
        raise InputError(f"{exp_dir}: no results_dev.json or results_eval.json: run stage 7 first")
    metrics = exp_dir / "metrics.csv"
    history = None
    if metrics.exists():
        # A single epoch is a single row, which is still an array of rows.
        history = np.genfromtxt(metrics, delimiter=",", names=True, ndmin=1)
    scored_sets = []
    for name in names:
        if name != file_name(name):
            raise InputError(f"--sets {name!r}: no name of a set, expected one without slashes")
        set_dir = Path(data_dir) / name.removesuffix(CALIBRATED)
        scored_sets.append(read_set(exp_dir, set_dir, name))
    return Run(
        name=exp_dir.resolve().name,
        config_text=read_text(exp_dir / "config.yaml"),
        env=read_json(exp_dir / "env.json"),
        history=history,
        sets=scored_sets,
    )


def read_set(exp_dir: Path, data_dir: Path, name: str) -> ScoredSet:
    """Scores, labels, conditions and results of one set.

    Raises:
        InputError: the results are not of these scores.
    """
    path = exp_dir / "posteriors" / name / "llr.txt"
    results_path = exp_dir / f"results_{name}.json"
    key, labels, llr = read_trials(path, data_dir / "cm_key_file.txt")
    scores = SortedScores(llr[labels == "bonafide"], llr[labels == "spoof"])
    results = read_json(results_path)
    # Equal but for rounding: the Cllr depends on every score and label.
    if not math.isclose(results.get("cllr", math.inf), scores.cllr(), rel_tol=1e-9):
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
