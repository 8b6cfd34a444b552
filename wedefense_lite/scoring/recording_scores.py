"""Scores of recordings that somebody has: which files, by which model, and a row for each."""

import glob
import json
import logging
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

from wedefense_lite.audio.ids import AUDIO_EXTENSIONS
from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.files import NO_VALUE, InputError, number, parse_json, printable
from wedefense_lite.processes import end_with_parent, usable_cores
from wedefense_lite.scoring.detector import RecordingDetector
from wedefense_lite.scoring.onnx_detector import ENDING, OnnxDetector

# Environment variable with the folder of bundles that commands look into without --model.
MODELS_VARIABLE = "WEDEFENSE_MODELS"
BUNDLE_FACTS = "bundle.json"
Format = Literal["table", "tsv", "json"]
TSV_COLUMNS = "path seconds llr posterior decision threshold windows note".split()
# Columns of a table and their widths; path and note follow, which have any length.
TABLE_WIDTHS = {"llr": 10, "posterior": 10, "decision": 12, "seconds": 9, "windows": 8}


@dataclass(frozen=True)
class Scored:
    """A recording and its score, as a line of output has it.

    Attributes:
        path: the file as it was named.
        seconds: its length; None where it has no score.
        llr: LLR in nats, higher is more bona fide; None where it has no score.
        posterior: probability of bona fide speech; None as well, and where the scores of the model
            are no LLRs.
        decision: ``bonafide``, ``spoof`` or ``don't know``; None where it has no score.
        threshold: number that the decision is by.
        windows: ``(start, end, llr)`` of each window, in seconds.
        note: why it has no score, or what is unusual about it; empty otherwise.
    """

    path: str
    seconds: float | None
    llr: float | None
    posterior: float | None
    decision: str | None
    threshold: float
    windows: tuple[tuple[float, float, float], ...]
    note: str

    def fields(self) -> dict[str, Any]:
        """Object of JSON."""
        fields = asdict(self)
        fields["windows"] = []
        for start, end, llr in self.windows:
            fields["windows"].append({"start": start, "end": end, "llr": llr})
        return fields

    def json(self) -> str:
        """One line of JSON."""
        return json.dumps(self.fields(), allow_nan=False)

    @classmethod
    def of_json(cls, text: str) -> "Scored":
        """Inverse of ``json``.

        Raises:
            ValueError: other text.
        """
        fields = parse_json(text)
        if not isinstance(fields, dict) or set(fields) != set(TSV_COLUMNS):
            raise ValueError(f"{text[:80]!r}, expected an object with {', '.join(TSV_COLUMNS)}")
        windows = []
        for window in fields.pop("windows"):
            windows.append((window["start"], window["end"], window["llr"]))
        return cls(**fields, windows=tuple(windows))

    def tsv(self) -> str:
        """Fields of ``TSV_COLUMNS``, separated by tabs, in full precision."""
        windows = [f"{start:.3f}-{end:.3f}:{llr!r}" for start, end, llr in self.windows]
        cells = [self.path, self.seconds, self.llr, self.posterior, self.decision]
        cells += [self.threshold, ",".join(windows), self.note]
        return "\t".join(_cell(value) for value in cells)

    def table_row(self) -> str:
        """Aligned columns for a terminal."""
        texts = {
            "llr": _rounded(self.llr, 3),
            "posterior": _rounded(self.posterior, 4),
            "decision": self.decision or NO_VALUE,
            "seconds": _rounded(self.seconds, 2),
            "windows": str(len(self.windows)),
        }
        cells = [texts[name].rjust(width) for name, width in TABLE_WIDTHS.items()]
        note = f"  ({self.note})" if self.note else ""
        return printable("".join(cells) + f"  {self.path}{note}")


def _cell(value: Any) -> str:
    if value is None or value == "":
        return NO_VALUE
    return printable(value) if isinstance(value, str) else repr(value)


def _rounded(value: float | None, digits: int) -> str:
    return NO_VALUE if value is None else f"{value:z.{digits}f}"


def header(output_format: Format) -> list[str]:
    """Lines before the first row of a format."""
    if output_format == "tsv":
        return ["\t".join(TSV_COLUMNS)]
    if output_format == "table":
        titles = [name.rjust(width) for name, width in TABLE_WIDTHS.items()]
        return ["".join(titles) + "  path"]
    return []


def row(scored: Scored, output_format: Format) -> str:
    """Line of a recording in a format."""
    if output_format == "json":
        return scored.json()
    return scored.tsv() if output_format == "tsv" else scored.table_row()


# ---- Which files, which model


def expand(words: Iterable[str]) -> list[str]:
    """Files that words of a command line name, each once, in order.

    A folder stands for the audio files in and below it, sorted; hidden ones are left out. A pattern
    that the shell left as it is stands for the files that it matches. Any other word is a file,
    even if there is none of that name: that is for its row to say.

    Args:
        words: files, folders and patterns.

    Raises:
        InputError: a folder without audio, or a pattern that matches nothing.
    """
    paths: dict[str, None] = {}
    for word in words:
        if os.path.isdir(word):
            paths.update(dict.fromkeys(_audio_below(word)))
        elif glob.has_magic(word) and not os.path.lexists(word):
            matches = sorted(glob.glob(word, recursive=True))
            if not matches:
                raise InputError(f"{word}: no file of that pattern")
            for match in matches:
                if os.path.isdir(match):
                    paths.update(dict.fromkeys(_audio_below(match)))
                else:
                    paths[match] = None
        else:
            paths[word] = None
    return list(paths)


def _audio_below(folder: str) -> list[str]:
    """Audio files in and below a folder, by their extensions."""
    paths = []
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            is_audio = os.path.splitext(name)[1].lower() in AUDIO_EXTENSIONS
            if is_audio and not name.startswith("."):
                paths.append(os.path.join(place, name))
    if not paths:
        endings = " ".join(AUDIO_EXTENSIONS)
        raise InputError(f"{folder}: no audio file in it, expected names that end in {endings}")
    return paths


def find_model(model: str | None) -> str:
    """Path of the model: the one that was named, or the only bundle of ``$WEDEFENSE_MODELS``.

    Args:
        model: a folder or an ONNX file, or the name of one below ``$WEDEFENSE_MODELS``; None looks
            for one there.

    Raises:
        InputError: there is none, or several; says how to make one, or their names.
    """
    home = os.environ.get(MODELS_VARIABLE, "")
    if model is not None:
        below_home = Path(home, model)
        if home and not Path(model).exists() and below_home.exists():
            return str(below_home)
        if not Path(model).exists():
            raise InputError(
                f"{model}: no such folder or file, expected a bundle, an experiment after stage 6, "
                "or an ONNX file"
            )
        return model
    how_to_make = (
        "make a bundle of an experiment with wedefense-lite export, or of a published checkpoint "
        "with bin/import_weights.py and then export, and name it by --model or "
        f"${MODELS_VARIABLE}"
    )
    if not home:
        raise InputError(f"no --model, and no ${MODELS_VARIABLE}: {how_to_make}")
    if not os.path.isdir(home):
        raise InputError(f"${MODELS_VARIABLE} is {home}, which is no folder: {how_to_make}")
    if Path(home, BUNDLE_FACTS).exists():
        return home
    bundles = sorted(path.parent.name for path in Path(home).glob(f"*/{BUNDLE_FACTS}"))
    if not bundles:
        raise InputError(f"{home}: no bundle in ${MODELS_VARIABLE}: {how_to_make}")
    if len(bundles) > 1:
        raise InputError(
            f"{home}: {len(bundles)} bundles, name one of them by --model: {' '.join(bundles)}"
        )
    return str(Path(home, bundles[0]))


# ---- Scoring


@dataclass(frozen=True)
class Request:
    """How recordings are scored; everything that rows depend on but the files.

    Attributes:
        model: folder of a bundle or an experiment, or an ONNX file.
        prior: prior probability of spoof.
        threshold: name or number; None is the model's default.
        windows: ``first`` or ``all``.
        merge: how windows become one score.
        trim: whether the speech alone is scored.
        channel: channel of audio with several, from 1 on; 0 mixes down; None is the model's.
    """

    model: str
    prior: float = 0.5
    threshold: str | None = None
    windows: Literal["first", "all"] = "first"
    merge: str = "mean"
    trim: bool = True
    channel: int | None = None


def load_detector(
    model: str, device: str, trim: bool, max_seconds: float = math.inf, threads: int = 0
) -> RecordingDetector:
    """Detector of a bundle, an experiment or an ONNX file.

    Args:
        model: its path.
        device: where to compute.
        trim: default of the option of detectors.
        max_seconds: longer recordings are refused before they are decoded.
        threads: of an ONNX file, threads of a computation; 0 takes a thread a core.

    Raises:
        InputError: no detector, or an ONNX file with another device than cpu.
    """
    if model.endswith(ENDING):
        if device != "cpu":
            raise InputError(f"{model}: computes on the CPU alone, expected no --device {device}")
        return OnnxDetector(model, trim, max_seconds, threads)
    from wedefense_lite.scoring.bundle import Detector  # imports PyTorch

    return Detector(model, device, trim, max_seconds)


class Scorer:
    """A model that gives rows of output.

    Args:
        request: how recordings are scored.
        device: where to compute.
        max_seconds: longer recordings are refused before they are decoded.
        threads: of an ONNX file, threads of a computation; 0 takes a thread a core.

    Attributes:
        model_hashes: hashes of the model, by which it is recognised.

    Raises:
        InputError: no such model, threshold, or device.
    """

    def __init__(
        self,
        request: Request,
        device: str = "cpu",
        max_seconds: float = math.inf,
        threads: int = 0,
    ):
        self.request = request
        self.detector = load_detector(
            request.model, device, request.trim, max_seconds, threads=threads
        )
        facts = self.detector.facts
        self.threshold = named_threshold(request.threshold, facts.thresholds, facts.threshold)
        # A threshold without a name, a number of the command line, has no range of doubt.
        self.threshold_name = request.threshold or facts.default_threshold
        self.model_hashes = [facts.model_hash, facts.config_hash, facts.scale, facts.offset]

    def score(self, path: str, utterance: Utterance | None = None) -> tuple[Scored, str]:
        """Row of a file, and what was converted of it.

        Args:
            path: the file.
            utterance: the same with its bytes, where it is in memory.

        Raises:
            BundleError: the model can score nothing.
        """
        answer = self.detector.answer(
            path if utterance is None else utterance,
            channel=self.request.channel,
            windows=self.request.windows,
            merge=self.request.merge,
        )
        posterior = None
        decision = None
        if answer.llr is not None:
            facts = self.detector.facts
            decision = facts.decide(answer.evidence, self.threshold, self.threshold_name)
            if facts.gives_llrs:
                posterior = posterior_of_bonafide(answer.llr, self.request.prior)
        scored = Scored(
            path=path,
            seconds=answer.seconds,
            llr=answer.llr,
            posterior=posterior,
            decision=decision,
            threshold=self.threshold,
            windows=tuple(map(tuple, answer.windows)),
            note=_without_path(answer.note, path),
        )
        return scored, answer.conversion


def named_threshold(text: str | None, thresholds: dict[str, float], default: float) -> float:
    """Number of a threshold.

    Args:
        text: a name, or a number; None is the default.
        thresholds: numbers by name.
        default: threshold of the model.

    Raises:
        InputError: neither a name of the model nor a number.
    """
    if text is None:
        return default
    if text in thresholds:
        return thresholds[text]
    try:
        value = number(text)
    except ValueError:
        value = math.inf
    if not math.isfinite(value):
        names = ", ".join(map(repr, thresholds)) or "none"
        raise InputError(
            f"--threshold {text!r}, expected a finite number, or a name of the model: {names}"
        )
    return value


def posterior_of_bonafide(llr: float, prior_spoof: float) -> float:
    """Probability that a recording is bona fide.

    Args:
        llr: LLR in nats.
        prior_spoof: probability of spoof before it was heard, in (0, 1).
    """
    log_odds = llr + math.log((1 - prior_spoof) / prior_spoof)
    if log_odds >= 0:
        return 1 / (1 + math.exp(-log_odds))
    odds = math.exp(log_odds)  # of large negative log odds, exp(-log_odds) would overflow
    return odds / (1 + odds)


def _without_path(note: str, path: str) -> str:
    """Note of a row, which has the path in another column."""
    return note.removeprefix(f"{path}: ")


_scorers: list[Scorer] = []  # of a process of a pool


def scorer_of_child(
    request: Request, device: str, jobs: int, max_seconds: float = math.inf
) -> Scorer:
    """A model in a process that scores for another one, and ends with it.

    Args:
        request: how recordings are scored.
        device: where to compute.
        jobs: number of such processes, which share the cores.
        max_seconds: longer recordings are refused before they are decoded.

    Raises:
        InputError: no such model, threshold or device.
    """
    end_with_parent()
    threads = max(1, usable_cores() // jobs)
    # A device that scores ONNX files may have no PyTorch.
    if not request.model.endswith(ENDING):
        import torch

        torch.set_num_threads(threads)
    return Scorer(request, device, max_seconds, threads)


def _start_worker(request: Request, device: str, jobs: int) -> None:
    logging.basicConfig(level=logging.WARNING)
    _scorers.append(scorer_of_child(request, device, jobs))


def _score_in_worker(path: str) -> tuple[Scored, str]:
    return _scorers[0].score(path)


@contextmanager
def scoring(
    scorer: Scorer, paths: Sequence[str], jobs: int, device: str
) -> Iterator[Iterator[tuple[Scored, str]]]:
    """Context with the rows of files, in order.

    Args:
        scorer: the model in this process.
        paths: files.
        jobs: processes; with 1, this one does it.
        device: where they compute.

    Raises:
        InputError: a process has ended.
    """
    if jobs == 1:
        yield map(scorer.score, paths)
        return
    with ProcessPoolExecutor(
        jobs,
        get_context("spawn"),
        initializer=_start_worker,
        initargs=(scorer.request, device, jobs),
    ) as pool:
        try:
            yield pool.map(_score_in_worker, paths)
        except BrokenProcessPool as error:
            raise InputError(
                "a process that scores has ended, perhaps for want of memory: use fewer --jobs; "
                "--resume goes on"
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
