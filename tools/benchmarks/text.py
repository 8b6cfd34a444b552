"""Text: score files and their metrics, and what commands import before they begin."""

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from sklearn.metrics import det_curve

from benchmarks.work import Bench, Comparison
from wedefense_lite.files import InputError, write_lines
from wedefense_lite.metrics.bootstrap import Resampler, replicates
from wedefense_lite.metrics.costs import DEFAULT
from wedefense_lite.metrics.detection import SortedScores
from wedefense_lite.metrics.tandem import min_adcf
from wedefense_lite.scoring.scores import read_condition, read_trials

ROOT = Path(__file__).resolve().parents[2]
# Of track 1 of ASVspoof 5.
BONAFIDE_SHARE = 138_688 / 680_774
NUM_ATTACKS = 16
PRIME = 7919
TEXT_COMMANDS = ("evaluate", "compare", "fuse", "logits_to_llr", "segments")
TEXT_TOOLS = ("make_raw_list", "make_shard_list", "wav2dur", "validate_data_dir")
TORCH_COMMANDS = ("train", "extract", "infer")


def metrics(bench: Bench) -> Iterator[Comparison]:
    """Metrics of as many trials as track 1 of ASVspoof 5 has, from files and from arrays."""
    count = bench.size.trials
    num_bonafide = round(count * BONAFIDE_SHARE)
    rng = np.random.default_rng(0)
    bonafide = rng.logistic(3.0, 1.2, num_bonafide)
    spoof = rng.logistic(-2.0, 1.5, count - num_bonafide)
    paths = _write_trials(bench.folder, bonafide, spoof)
    scores = np.concatenate([bonafide, spoof])
    labels = np.repeat([1, 0], [len(bonafide), len(spoof)])
    target, nontarget, third = np.split(scores, [count // 4, count // 2])
    detection_curve = partial(det_curve, labels, scores)
    yield Comparison(
        "files, by attack",
        partial(_evaluate_files, paths),
        partial(_plain_evaluation, paths),
        "split of lines, numpy",
        goal=1.0,
        count=count,
    )
    yield Comparison(
        "arrays",
        partial(_measure, bonafide, spoof),
        partial(_plain_metrics, bonafide, spoof),
        "numpy, without a look at ties",
        count=count,
    )
    yield Comparison(
        "EER", partial(_eer, bonafide, spoof), detection_curve, "scikit-learn", count=count
    )
    yield Comparison(
        "a-DCF",
        partial(min_adcf, target, nontarget, third, DEFAULT),
        partial(np.argsort, scores),
        "one sort",
        count=count,
    )
    yield Comparison(
        "bootstrap",
        partial(_bootstrap, bonafide, spoof, bench.size.bootstrap),
        partial(_plain_bootstrap, labels, scores, bench.size.bootstrap),
        "scikit-learn, a sample after the other",
        count=count * bench.size.bootstrap,
    )


def _write_trials(folder: Path, bonafide: np.ndarray, spoof: np.ndarray) -> list[Path]:
    """Files of scores, of labels and of attacks, the labels in another order."""
    count = len(bonafide) + len(spoof)
    scores = ["filename\tcm-score"]
    key = ["filename\tcm-label"]
    attacks = []
    for number, score in enumerate(np.concatenate([bonafide, spoof]).tolist()):
        attack = "-" if number < len(bonafide) else f"A{number % NUM_ATTACKS:02d}"
        scores.append(f"E_{number:010d}\t{score!r}")
        attacks.append(f"E_{number:010d} {attack}")
        shuffled = (number * PRIME + 1) % count  # each trial once
        label = "bonafide" if shuffled < len(bonafide) else "spoof"
        key.append(f"E_{shuffled:010d}\t{label}")
    paths = [folder / name for name in ("scores.txt", "key.txt", "utt2attack")]
    for path, lines in zip(paths, (scores, key, attacks)):
        write_lines(path, lines)
    return paths


def _evaluate_files(paths: list[Path]) -> None:
    names, classes, values = read_trials(*paths[:2])
    attacks = read_condition(paths[2], "attack", names)
    bonafide = values[classes == "bonafide"]
    _measure(bonafide, values[classes == "spoof"])
    for attack in set(attacks.tolist()) - {"-"}:
        _measure(bonafide, values[attacks == attack])


def _plain_evaluation(paths: list[Path]) -> None:
    tables = []
    for path in paths:
        with open(path, encoding="utf-8") as file:
            tables.append(dict(line.split() for line in file))
    scores, key, attacks = tables
    by_attack: dict[str, list[float]] = {}
    for name in key:
        if name != "filename":
            by_attack.setdefault(attacks[name], []).append(float(scores[name]))
    bonafide = np.array(by_attack.pop("-"))
    for values in (np.concatenate(list(by_attack.values())), *by_attack.values()):
        _plain_metrics(bonafide, np.array(values))


def _measure(bonafide: np.ndarray, spoof: np.ndarray) -> None:
    scores = SortedScores(bonafide, spoof)
    scores.eer()
    scores.min_dcf()
    scores.act_dcf()
    scores.cllr()


def _plain_metrics(bonafide: np.ndarray, spoof: np.ndarray) -> None:
    """EER, min and act DCF and Cllr, as numpy computes them."""
    is_bonafide = np.repeat([1, 0], [len(bonafide), len(spoof)])
    is_bonafide = is_bonafide[np.argsort(np.concatenate([bonafide, spoof]), kind="stable")]
    miss = np.cumsum(is_bonafide) / len(bonafide)
    false_alarm = 1 - np.cumsum(1 - is_bonafide) / len(spoof)
    np.argmin(np.abs(miss - false_alarm))
    (DEFAULT.miss_weight * miss + DEFAULT.fa_weight * false_alarm).min()
    np.mean(bonafide < DEFAULT.threshold)
    np.mean(spoof >= DEFAULT.threshold)
    np.logaddexp(0, -bonafide).mean()
    np.logaddexp(0, spoof).mean()


def _eer(bonafide: np.ndarray, spoof: np.ndarray) -> float:
    return SortedScores(bonafide, spoof).eer().value


def _bootstrap(bonafide: np.ndarray, spoof: np.ndarray, samples: int) -> None:
    scores = SortedScores(np.sort(bonafide), np.sort(spoof))

    def resampled_eer(*counts: np.ndarray) -> dict[str, float]:
        return {"eer": scores.weighted(*counts).eer().value}

    replicates(resampled_eer, Resampler([len(bonafide), len(spoof)]), samples)


def _plain_bootstrap(labels: np.ndarray, scores: np.ndarray, samples: int) -> None:
    rng = np.random.default_rng(0)
    for _ in range(samples):
        drawn = rng.integers(len(scores), size=len(scores))
        det_curve(labels[drawn], scores[drawn])


def startup(bench: Bench) -> Iterator[Comparison]:
    """``--help`` of commands, beside the library that they can't do without."""
    for module, commands in (("numpy", _text_commands()), ("torch", _torch_commands())):
        if bench.size.is_smallest:
            commands = dict(list(commands.items())[:1]) if module == "numpy" else {}
        for name, words in commands.items():
            yield Comparison(
                name,
                partial(_run_python, [*words, "--help"], bench.folder),
                partial(_run_python, ["-c", f"import {module}"], bench.folder),
                f"import {module}",
                tells_memory=True,
            )


def _text_commands() -> dict[str, list[str]]:
    """Words that start a command that does without PyTorch, by its name."""
    commands = {}
    for name in TEXT_COMMANDS:
        commands[name] = ["-m", f"wedefense_lite.bin.{name}"]
    for name in TEXT_TOOLS:
        commands[name] = [str(ROOT / "tools" / f"{name}.py")]
    return commands


def _torch_commands() -> dict[str, list[str]]:
    return {name: ["-m", f"wedefense_lite.bin.{name}"] for name in TORCH_COMMANDS}


def _run_python(words: list[str], folder: Path) -> None:
    """Run an interpreter. The peak of its memory isn't known: it begins with that of its parent.

    Args:
        words: of its command line.
        folder: for compiled modules. The round that isn't counted compiles them, also where the
            environment tells Python to keep none: a command would be timed with its compilation.

    Raises:
        InputError: it ends with another status than 0.
    """
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path}
    environment |= {"PYTHONPYCACHEPREFIX": str(folder), "PYTHONDONTWRITEBYTECODE": ""}
    run = subprocess.run(
        [sys.executable, *words], stdout=subprocess.DEVNULL, env=environment, check=False
    )
    if run.returncode:
        raise InputError(f"python {' '.join(words)}: ended with {run.returncode}")
