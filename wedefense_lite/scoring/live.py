"""Scores of a stream: a running LLR, and an alarm where speech turns from bona fide to spoof.

The alarm is Page's CUSUM. Evidence for spoof, minus the LLR, is summed; a sum below 0 is set to 0;
where it reaches a threshold there is an alarm, and it begins anew. Windows that overlap share
samples, so that each counts by its share of samples that no window before had.
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from wedefense_lite.audio.arrays import samples_utterance
from wedefense_lite.audio.live import LiveWindow
from wedefense_lite.files import NO_VALUE, InputError
from wedefense_lite.scoring.recording_scores import Format, Scorer

COLUMNS = "start end llr posterior decision threshold cusum alarm note".split()
WIDTHS = {"start": 9, "end": 9, "llr": 10, "posterior": 10, "decision": 12, "cusum": 9}
TALKER_WIDTH = {"talker": 6}  # first, where rows are of talkers
ALARM = "ALARM"
STREAM = "standard input"
# Simulated windows: so many that so many false alarms are expected, and no more than this.
EXPECTED_ALARMS = 50
MOST_WINDOWS = 10**6
MOST_LLRS = 1000  # of dev that a bundle keeps
SECONDS_AN_HOUR = 3600


class Cusum:
    """Sum of evidence for spoof, which begins anew at 0 and at each alarm.

    Args:
        threshold: nats above 0; a sum at or above it is an alarm.

    Attributes:
        total: the sum after the last LLR, before it begins anew.

    Raises:
        InputError: another threshold.

    Source: Page, "Continuous inspection schemes", Biometrika 1954.
    """

    def __init__(self, threshold: float):
        if not 0 < threshold < math.inf:
            raise InputError(f"--alarm {threshold:g}, expected nats above 0")
        self.threshold = threshold
        self.total = 0.0
        self._begins_anew = False

    def add(self, llr: float, share: float = 1.0) -> bool:
        """Whether there is an alarm.

        Args:
            llr: LLR of a window, in nats.
            share: share of the window that no window before had.
        """
        if self._begins_anew:
            self.total = 0.0
        self.total = max(0.0, self.total - share * llr)
        self._begins_anew = self.total >= self.threshold
        return self._begins_anew


def count_alarms(llrs: Sequence[float], threshold: float) -> int:
    """Number of alarms of a ``Cusum`` over windows that don't overlap."""
    cusum = Cusum(threshold)
    alarms = 0
    for llr in llrs:
        alarms += cusum.add(llr)
    return alarms


def alarm_threshold(
    bonafide_llrs: Sequence[float], window_seconds: float, false_alarms: float, seed: int = 0
) -> float:
    """Threshold in nats at which bona fide speech has few enough alarms.

    It is the larger one of two. The first is the logarithm of the windows from one false alarm to
    the next, which bounds their number where LLRs are calibrated. The other one is found by
    streams of LLRs of dev, drawn with replacement.

    Args:
        bonafide_llrs: LLRs of bona fide utterances of dev; none leaves the bound alone.
        window_seconds: length of a window.
        false_alarms: false alarms an hour.
        seed: seed of the draws.

    Raises:
        InputError: as many alarms as windows, or too few for a simulation.

    Source: Lorden, "Procedures for reacting to a change in distribution", 1971, for the bound.
    """
    windows = SECONDS_AN_HOUR / window_seconds / false_alarms  # from an alarm to the next
    if windows <= 1:
        raise InputError(
            f"--false_alarms {false_alarms:g} an hour, expected fewer than the "
            f"{SECONDS_AN_HOUR / window_seconds:g} windows of an hour"
        )
    bound = math.log(windows)
    if not len(bonafide_llrs):
        return bound
    draws = math.ceil(EXPECTED_ALARMS * windows)
    if draws > MOST_WINDOWS:
        least = EXPECTED_ALARMS * SECONDS_AN_HOUR / window_seconds / MOST_WINDOWS
        raise InputError(
            f"--false_alarms {false_alarms:g} an hour, expected {least:.2g} or more, or a "
            "threshold of your own by --alarm"
        )
    stream = np.random.default_rng(seed).choice(np.float64(bonafide_llrs), draws).tolist()
    low = bound
    if count_alarms(stream, low) <= EXPECTED_ALARMS:
        return low
    high = 2 * low
    while count_alarms(stream, high) > EXPECTED_ALARMS:
        low = high
        high *= 2
    while high - low > 1e-3 * high:
        middle = (low + high) / 2
        if count_alarms(stream, middle) > EXPECTED_ALARMS:
            low = middle
        else:
            high = middle
    return high


def kept_llrs(llrs: np.ndarray) -> tuple[float, ...]:
    """LLRs of dev for a bundle, rising: all of them, or as many quantiles as it keeps."""
    if len(llrs) > MOST_LLRS:
        llrs = np.quantile(llrs, np.linspace(0, 1, MOST_LLRS))
    return tuple(np.sort(llrs).tolist())


@dataclass(frozen=True)
class LiveRow:
    """A window of a stream and its score.

    Attributes:
        start: its begin in seconds from that of the stream.
        end: its end.
        llr: LLR in nats, higher is more bona fide; None where it has no score.
        posterior: probability of bona fide speech; None as well, and where scores are no LLRs.
        decision: ``bonafide``, ``spoof`` or ``don't know``; None where it has no score.
        threshold: number that the decision is by.
        cusum: sum of the evidence for spoof, in nats.
        alarm: whether the sum has reached the threshold of the alarm.
        note: why it has no score, or what is unusual about it; empty otherwise.
        talker: number of the talker whose speech it is, from 1 on; None of all that is heard.
    """

    start: float
    end: float
    llr: float | None
    posterior: float | None
    decision: str | None
    threshold: float
    cusum: float
    alarm: bool
    note: str
    talker: int | None = None

    def text(self, output_format: Format) -> str:
        """Line of a format."""
        fields = asdict(self)
        talker = fields.pop("talker")
        if talker is not None:
            fields = {"talker": talker} | fields
        if output_format == "json":
            return json.dumps(fields, allow_nan=False)
        fields["alarm"] = ALARM if self.alarm else NO_VALUE
        if output_format == "tsv":
            cells = []
            for value in fields.values():
                is_missing = value is None or value == ""
                cells.append(NO_VALUE if is_missing else str(value))
            return "\t".join(cells)
        digits = {"start": 2, "end": 2, "llr": 3, "posterior": 4, "cusum": 2}
        cells = []
        for name, width in (TALKER_WIDTH | WIDTHS).items():
            if name not in fields:
                continue
            value = fields[name]
            if value is None:
                value = NO_VALUE
            elif name in digits:
                value = f"{value:z.{digits[name]}f}"
            cells.append(str(value).rjust(width))
        note = f"  ({self.note})" if self.note else ""
        alarm = f"  {ALARM}" if self.alarm else ""
        return "".join(cells) + alarm + note


def header(output_format: Format, has_talkers: bool = False) -> list[str]:
    """Lines before the first row of a format."""
    widths = TALKER_WIDTH | WIDTHS if has_talkers else WIDTHS
    columns = [*TALKER_WIDTH, *COLUMNS] if has_talkers else COLUMNS
    if output_format == "tsv":
        return ["\t".join(columns)]
    if output_format == "table":
        return ["".join(name.rjust(width) for name, width in widths.items())]
    return []


class Listener:
    """Rows of what is heard, or of a talker in it, with the alarm that adds them up.

    Args:
        scorer: the model.
        sample_rate: rate of the windows, Hz.
        size: samples of a whole window.
        threshold: of the alarm, in nats.
        talker: number of the talker, from 1 on; None for all that is heard.
    """

    def __init__(
        self,
        scorer: Scorer,
        sample_rate: int,
        size: int,
        threshold: float,
        talker: int | None = None,
    ):
        self.scorer = scorer
        self.sample_rate = sample_rate
        self.size = size
        self.talker = talker
        self._cusum = Cusum(threshold)
        self._scored_end = 0

    def row(self, window: LiveWindow, note: str = "") -> LiveRow:
        """Row of the next window; one without a score, as of silence, leaves the sum as it is.

        Args:
            window: of its samples those that are scored, which may be fewer than its places.
            note: what is unusual about it, beside what the model says.
        """
        utterance = samples_utterance((window.wav_T, self.sample_rate), self.sample_rate, STREAM)
        scored, _ = self.scorer.score(STREAM, utterance)
        alarm = False
        if scored.llr is not None:
            new_samples = window.end - max(window.first, self._scored_end)
            alarm = self._cusum.add(scored.llr, new_samples / self.size)
            self._scored_end = window.end
        return LiveRow(
            start=window.first / self.sample_rate,
            end=window.end / self.sample_rate,
            llr=scored.llr,
            posterior=scored.posterior,
            decision=scored.decision,
            threshold=scored.threshold,
            cusum=self._cusum.total,
            alarm=alarm,
            note="; ".join(filter(None, [scored.note, note])),
            talker=self.talker,
        )


def live_rows(
    windows: Iterator[LiveWindow], scorer: Scorer, sample_rate: int, size: int, threshold: float
) -> Iterator[LiveRow]:
    """A row for each window of a stream, as soon as it has come.

    Args:
        windows: windows of a stream.
        scorer: the model.
        sample_rate: rate of the windows, Hz.
        size: samples of a whole window.
        threshold: of the alarm, in nats.
    """
    listener = Listener(scorer, sample_rate, size, threshold)
    for window in windows:
        yield listener.row(window)
