"""Facts of a bundle: the way from logits to a decision, as ``bundle.json`` has it.

Letters: N trials.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from wedefense_lite.files import InputError
from wedefense_lite.labels import BONAFIDE, LABELS, SPOOF
from wedefense_lite.scoring.calibration import Affine
from wedefense_lite.scoring.llr import llr_from_logits
from wedefense_lite.scoring.sidecar import Sidecar, read_record
from wedefense_lite.scoring.traits import FORMATS

# Fields that bundles from before they existed don't have.
LATER_FIELDS = (
    "frame_seconds",
    "allow_negative_scale",
    "score",
    "classes",
    "doubt_share",
    "doubt",
    "dev_ranges",
    "bonafide_llrs",
)
# Decision where too many of such decisions would be wrong.
DONT_KNOW = "don't know"


class BundleError(InputError):
    """Bundle that can't score any audio, other than audio that can't be scored."""


@dataclass(frozen=True)
class BundleFacts(Sidecar):
    """Content of ``bundle.json``: a sidecar, and the way from logits to a decision.

    ``class_prior`` is the prior that stage 6 divides out, None for a head without a posterior.

    Attributes:
        scale: scale of the affine calibration.
        offset: offset of the affine calibration.
        decide_on: evidence for thresholds: the LLR, or the logit of bona fide alone.
        threshold: default threshold; evidence at or above it is bona fide.
        thresholds: thresholds by name, the default among them.
        referenced: hash of the weights that come with the encoder by its name; empty without any.
        allow_negative_scale: true where the calibration was asked to turn scores round.
        doubt_share: share of wrong decisions above which there is doubt; 0 where no range is known.
        doubt: by name of a threshold, the lowest and the highest evidence of doubt on dev.
        dev_ranges: by name of a trait (``scoring.traits``), its lowest and highest value on dev.
        bonafide_llrs: LLRs of bona fide utterances of dev, rising, for alarms of streams; empty
            where they are not kept.

    Raises:
        ValueError: values of another type or that contradict each other, a scale that turns scores
            round unasked.
    """

    scale: float = 1.0
    offset: float = 0.0
    decide_on: Literal["llr", "bonafide_logit"] = "llr"
    threshold: float = 0.0
    thresholds: Mapping[str, float] = field(default_factory=dict)
    referenced: str = ""
    allow_negative_scale: bool = False
    doubt_share: float = 0.0
    doubt: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    dev_ranges: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    bonafide_llrs: tuple[float, ...] = ()

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.doubt_share < 1:
            raise ValueError(f"doubt_share is {self.doubt_share}, expected 0 to 1")
        for name, interval in self.doubt.items():
            if name not in self.thresholds:
                raise ValueError(f"doubt of {name[:80]!r}, which is no threshold")
            _check_range(f"doubt of {name}", interval)
        for name, interval in self.dev_ranges.items():
            if name not in FORMATS:
                raise ValueError(f"dev_ranges of {name[:80]!r}, expected {', '.join(FORMATS)}")
            _check_range(f"dev_ranges of {name}", interval)
        llrs = np.float64(self.bonafide_llrs)
        if not np.isfinite(llrs).all() or (np.diff(llrs) < 0).any():
            raise ValueError("bonafide_llrs are not rising finite numbers")
        if self.scale == 0:
            raise ValueError("scale is 0: every utterance would get the same score")
        if self.scale < 0 and not self.allow_negative_scale:
            raise ValueError(
                f"scale is {self.scale}, expected a positive number: a negative one turns scores "
                "round, which bin/logits_to_llr.py does with --allow_negative_slope true"
            )

    @property
    def gives_llrs(self) -> bool:
        """Whether its scores have the scale of LLRs: a head with a posterior, or a calibration."""
        return self.has_posterior or self.scale != 1 or self.offset != 0

    @property
    def default_threshold(self) -> str:
        """Name of the default threshold; empty where it has none."""
        names = [name for name, value in self.thresholds.items() if value == self.threshold]
        return names[-1] if names else ""

    def decide(self, evidence: float, threshold: float, name: str = "") -> str:
        """``bonafide`` or ``spoof``, or ``don't know`` in the range of doubt of the threshold.

        Args:
            evidence: what thresholds are compared with.
            threshold: evidence at or above it is bona fide.
            name: name of the threshold; without one, no range is known.
        """
        if name in self.doubt:
            low, high = self.doubt[name]
            if low <= evidence <= high:
                return DONT_KNOW
        return LABELS[BONAFIDE] if evidence >= threshold else LABELS[SPOOF]

    def llr(self, logits: ArrayLike) -> np.ndarray:
        """LLRs ``(N,)`` of logits ``(N, 2)``, as stage 6 writes them.

        Raises:
            BundleError: an LLR that is not finite.
        """
        odds = llr_from_logits(logits, self.class_prior)
        calibration = Affine((self.scale,), self.offset)
        llrs = calibration(odds)
        if not np.isfinite(llrs).all():
            raise BundleError(
                f"the scale {self.scale:g} and the offset {self.offset:g} of the bundle give an "
                "LLR that is not finite"
            )
        return llrs

    def evidence(self, logits: ArrayLike) -> np.ndarray:
        """Evidence ``(N,)`` for thresholds, of logits ``(N, 2)``."""
        if self.decide_on == "llr":
            return self.llr(logits)
        return np.float64(logits)[:, BONAFIDE]


def _check_range(name: str, interval: tuple[float, ...]) -> None:
    """Raise ValueError for what is no range."""
    if len(interval) != 2 or interval[0] > interval[1]:
        raise ValueError(f"{name} is {list(interval)}, expected two rising numbers")


def read_facts(path: str | PathLike) -> BundleFacts:
    """Content of the ``bundle.json`` of a bundle.

    Raises:
        InputError: no such file, other fields, or values that can't be right.
    """
    return read_record(path, BundleFacts, LATER_FIELDS)
