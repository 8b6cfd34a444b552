"""Processes that score: one that hangs on a recording or dies of it is replaced.

Letters: T samples.
"""

import logging
import resource
import signal
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

import numpy as np

from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.files import InputError
from wedefense_lite.scoring.recording_scores import Request, Scored, Scorer, scorer_of_child
from wedefense_lite.serve.limits import Limits

# In the place of the name of a recording, which no process that scores is told.
KEY = "recording"
LOADING_SECONDS = 600.0


class ScoringError(Exception):
    """A recording has no row, because its process was too slow or has ended."""


class TooSlow(ScoringError):
    """Scoring takes longer than the limit."""


@dataclass(frozen=True)
class Upload:
    """A recording that somebody has sent.

    Attributes:
        data: bytes of its file.
        format: name of a format that the file doesn't say itself; empty for others.
        num_peaks: parts of its waveform that are asked for; 0 for no waveform.
    """

    data: bytes
    format: str = ""
    num_peaks: int = 0

    @property
    def utterance(self) -> Utterance:
        """The recording as readers take it."""
        return Utterance(KEY, KEY, data=self.data, format=self.format)


@dataclass(frozen=True)
class Reply:
    """What is said of a recording.

    Attributes:
        scored: its row.
        peaks: largest magnitude in each of ``num_peaks`` parts of it; empty where it has no score.
    """

    scored: Scored
    peaks: list[float]


def peaks_of(wav_T: np.ndarray, count: int) -> list[float]:
    """Largest magnitudes of equal parts of a waveform, rounded for a drawing.

    Args:
        wav_T: samples in [-1, 1].
        count: number of parts; a shorter waveform has as many as samples.
    """
    count = min(count, len(wav_T))
    if not count:
        return []
    begins = np.arange(count) * len(wav_T) // count
    return [round(float(peak), 4) for peak in np.maximum.reduceat(np.abs(wav_T), begins)]


def answer(scorer: Scorer, upload: Upload) -> Reply:
    """Row and waveform of a recording."""
    scored, _ = scorer.score(KEY, upload.utterance)
    peaks = []
    if upload.num_peaks and scored.llr is not None:
        wav_T = scorer.detector.samples(upload.utterance, scorer.request.channel)
        peaks = peaks_of(wav_T, upload.num_peaks)
    return Reply(scored, peaks)


def _work(
    connection: Connection, request: Request, device: str, max_seconds: float, jobs: int
) -> None:
    """Life of a process that scores: it says what it has loaded, then answers upload by upload."""
    # Ctrl-C is for the parent, and a crash writes no memory, which holds audio, to the disk.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Lines about single files would name them.
    logging.basicConfig(level=logging.ERROR)
    try:
        scorer = scorer_of_child(request, device, jobs, max_seconds)
    except InputError as error:
        connection.send(error)
        return
    model = {"hashes": scorer.model_hashes, "threshold": scorer.threshold}
    connection.send(model)
    while True:
        try:
            upload = connection.recv()
        except EOFError:
            return
        try:
            connection.send(answer(scorer, upload))
        except InputError as error:
            connection.send(error)


class Worker:
    """A process that scores one recording after the other.

    Args:
        request: how recordings are scored.
        device: where to compute.
        limits: of length and time.
        jobs: number of such processes, which share the cores.

    Attributes:
        model: hashes and threshold of the model.
        restarts: how often the process was replaced.

    Raises:
        InputError: no such model, threshold or device.
    """

    def __init__(self, request: Request, device: str, limits: Limits, jobs: int):
        self._arguments = (request, device, limits.max_seconds, jobs)
        self._limits = limits
        self.restarts = 0
        self._start()
        self.model = self._load()

    def _start(self) -> None:
        context = get_context("spawn")
        self._connection, connection = context.Pipe()
        arguments = (connection, *self._arguments)
        self._process = context.Process(target=_work, args=arguments, daemon=True)
        self._process.start()
        # Else the death of the process would not close its end.
        connection.close()
        self._is_loaded = False

    def _load(self) -> dict[str, Any]:
        """What the process has loaded.

        Raises:
            InputError: it can't load the model.
            ScoringError: it has ended.
        """
        message = self._receive(LOADING_SECONDS)
        self._is_loaded = True
        return message

    def _receive(self, seconds: float) -> Any:
        try:
            if not self._connection.poll(seconds):
                raise TooSlow(f"scoring takes longer than {seconds:g} s")
            message = self._connection.recv()
        except (EOFError, OSError) as error:
            raise ScoringError("the process that scored it has ended") from error
        if isinstance(message, InputError):
            raise message
        return message

    def score(self, upload: Upload) -> Reply:
        """Row of a recording.

        Raises:
            InputError: the model can score nothing.
            ScoringError: it takes too long, or the process has ended; another one is started.
        """
        try:
            if not self._is_loaded:
                self._load()
            self._connection.send(upload)
            return self._receive(self._limits.scoring_seconds)
        except (ScoringError, OSError) as error:
            self.close()
            self.restarts += 1
            self._start()
            if isinstance(error, OSError):
                raise ScoringError("the process that scores has ended") from error
            raise

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()
        self._process.close()
        self._connection.close()


class Pool:
    """Processes that score, and the recordings that wait for them.

    Args:
        request: how recordings are scored.
        device: where they compute.
        limits: of length and time.
        jobs: processes.

    Attributes:
        model: hashes and threshold of the model.

    Raises:
        InputError: no such model, threshold or device.
    """

    def __init__(self, request: Request, device: str, limits: Limits, jobs: int):
        # A thread for each process: what waits does so in their queue.
        self._threads = ThreadPoolExecutor(jobs, thread_name_prefix="scoring")
        self._workers: list[Worker] = []
        self._idle: SimpleQueue[Worker] = SimpleQueue()
        try:
            for _ in range(jobs):
                worker = Worker(request, device, limits, jobs)
                self._workers.append(worker)
                self._idle.put(worker)
        except ScoringError as error:
            raise InputError(f"{request.model}: {error} while it loaded the model") from error
        finally:
            if len(self._workers) < jobs:
                self.close()
        self.model = self._workers[0].model

    @property
    def restarts(self) -> int:
        """How often a process was replaced."""
        return sum(worker.restarts for worker in self._workers)

    def submit(self, upload: Upload) -> "Future[Reply]":
        """Reply to a recording, when a process has scored it."""
        return self._threads.submit(self._score, upload)

    def _score(self, upload: Upload) -> Reply:
        worker = self._idle.get()
        try:
            return worker.score(upload)
        finally:
            self._idle.put(worker)

    def close(self) -> None:
        """End the processes; what waits is dropped."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for worker in self._workers:
            worker.close()
