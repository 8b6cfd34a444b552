"""Explanations of recordings by several methods, with what measures them.

Letters: T samples, Q bins of frequency, F frames.
"""

import copy
import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wedefense_lite.explain.attribution import (
    Explained,
    Method,
    attribute,
    named_layer,
    randomise_weights,
)
from wedefense_lite.explain.mask import Difference, truth_mask
from wedefense_lite.explain.measures import against_mask, perturbation_curves
from wedefense_lite.files import InputError
from wedefense_lite.scoring.bundle import Detector
from wedefense_lite.systems.batch import Batch

# Of the longer recording of a pair: a larger difference is one of timing.
LARGEST_DIFFERENCE = 0.1
RANDOMISED = "randomised weights"
# By method, and by method and control, the measures by name.
Measures = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Pair:
    """Recordings that are explained.

    Attributes:
        name: name in results.
        fake: recording that is explained.
        real: the real speech that it was vocoded from; None where it is unknown.
    """

    name: str
    fake: str
    real: str | None


@dataclass(frozen=True)
class Explanation:
    """Explanation of a recording.

    Attributes:
        spectra: levels ``(Q, F)`` by name: ``real`` and ``fake``, or ``explained``.
        mask_QF: ground truth; None without a real recording.
        attributions: attributions ``(Q, F)`` by method.
        measures: measures of these and of the controls.
    """

    spectra: dict[str, np.ndarray]
    mask_QF: np.ndarray | None
    attributions: dict[str, np.ndarray]
    measures: Measures


class Explainer:
    """Methods that explain the recordings of a detector.

    Args:
        detector: the detector.
        methods: names of methods.
        layer: layer of ``grad_cam``; None for the last one with a map.
        difference: of real and vocoded spectrograms.
        curves: whether deletion and insertion curves are measured.
        max_seconds: longest part of a recording that is explained, from its begin on.

    Attributes:
        layer: layer of ``grad_cam``, once a recording was explained by it.
    """

    def __init__(
        self,
        detector: Detector,
        methods: Sequence[Method],
        layer: str | None = None,
        difference: Difference = "absolute",
        curves: bool = True,
        max_seconds: float = 10.0,
    ):
        self.detector = detector
        self.methods = methods
        self.layer = layer
        self.difference: Difference = difference
        self.curves = curves
        self.rate = detector.data.sample_rate
        self.longest = round(max_seconds * self.rate)
        self._randomised = copy.deepcopy(detector.task)
        randomise_weights(self._randomised)
        self._has_layer = False

    def explain(self, pair: Pair, seed: int = 0) -> Explanation:
        """Explanation of a recording.

        Args:
            pair: the recording, perhaps with the real one.
            seed: seed of noise.

        Raises:
            InputError: audio that can't be read, lengths that differ too much, or a layer without a
                map.
        """
        fake_T = self.detector.samples(pair.fake)[: self.longest]
        real_T = None
        if pair.real is not None:
            real_T = self.detector.samples(pair.real)[: self.longest]
            _check_lengths(pair, len(real_T), len(fake_T))
            count = min(len(real_T), len(fake_T))
            real_T = real_T[:count]
            fake_T = fake_T[:count]
        batch = self._batch(fake_T)
        explained = Explained(self.detector.task, batch)
        self._find_layer(explained)

        # The truth: both recordings as the detector takes them, cut, repeated or filtered.
        mask_QF = None
        spectra = {"explained": explained.levels_QF.cpu().numpy()}
        if real_T is not None:
            real_batch = self._batch(real_T)
            real_levels_QF = Explained(self.detector.task, real_batch).levels_QF
            spectra = {"real": real_levels_QF.cpu().numpy(), "fake": spectra["explained"]}
            real_wav_T = real_batch.wav_BT[0].cpu().numpy()
            fake_wav_T = batch.wav_BT[0].cpu().numpy()
            mask_QF = truth_mask(real_wav_T, fake_wav_T, self.difference)

        attributions = {}
        measures: Measures = {}
        for method in self.methods:
            values_QF = attribute(explained, method, self.layer, seed)
            attributions[method] = values_QF
            measures[method] = self._measure(explained, values_QF, mask_QF)
        random_QF = attribute(explained, "random", seed=seed)
        measures["random"] = self._measure(explained, random_QF, mask_QF)
        if mask_QF is not None:
            control = Explained(self._randomised, batch)
            for method in self.methods:
                # Its sum says nothing of the model: no more steps for it.
                values_QF = attribute(control, method, self.layer, seed, completes=False)
                measures[f"{method}, {RANDOMISED}"] = against_mask(values_QF, mask_QF)
        return Explanation(spectra, mask_QF, attributions, measures)

    def _batch(self, wav_T: np.ndarray) -> Batch:
        return self.detector.batch((np.float32(wav_T), self.rate))

    def _find_layer(self, explained: Explained) -> None:
        """Check the layer of ``grad_cam`` with the first recording, and say which one it is."""
        if "grad_cam" in self.methods and not self._has_layer:
            self.layer, _ = named_layer(explained, self.layer)
            self._has_layer = True
            logging.info("grad_cam of the layer %s of the model", self.layer)

    def _measure(
        self, explained: Explained, values_QF: np.ndarray, mask_QF: np.ndarray | None
    ) -> dict[str, float]:
        measures = {}
        if mask_QF is not None:
            measures |= against_mask(values_QF, mask_QF)
        if self.curves:
            measures |= perturbation_curves(explained, values_QF)
        return measures


def _check_lengths(pair: Pair, real_count: int, fake_count: int) -> None:
    """Refuse a pair whose lengths differ too much to be the same words at the same time.

    Raises:
        InputError: names the pair.
    """
    longer = max(real_count, fake_count)
    if abs(real_count - fake_count) > LARGEST_DIFFERENCE * longer:
        raise InputError(
            f"{pair.name}: {fake_count} samples, but {real_count} of {pair.real}, expected the "
            "same words at the same time"
        )
