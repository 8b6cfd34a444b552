"""Attributions: the share of each cell of a spectrogram in the evidence for spoof.

The explained function takes the levels of the cells of a spectrogram, puts the phases of the
recording back, and gives the waveform to the system. So every system is explained on one grid,
whatever its front end takes, and differences of its features play no role. Levels are natural
logarithms of the magnitude over a floor of -80 dB below the loudest cell, at least 0; level 0 is
the baseline of all methods, silence in that cell.

Letters: B utterances, T samples, Q bins of frequency, F frames, P channels of a map, D features and
G frames of a front end.
"""

import logging
import math
from collections.abc import Callable
from types import ModuleType
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from wedefense_lite.explain.mask import FFT_SIZE, HOP, stft
from wedefense_lite.files import InputError
from wedefense_lite.frontends.base import Frontend
from wedefense_lite.frontends.spectral import Fbank, LogSpectrogram
from wedefense_lite.labels import BONAFIDE, SPOOF
from wedefense_lite.systems.batch import Batch
from wedefense_lite.systems.tasks import Detection

Method = Literal[
    "input_x_gradient",
    "integrated_gradients",
    "smooth_grad",
    "grad_cam",
    "occlusion",
    "random",
]
METHODS: tuple[Method, ...] = Method.__args__
INSTALL = "pip install 'wedefense_lite[explain]'"
FLOOR = 1e-4  # of the loudest cell: -80 dB
# Steps from silence, tried until the sum is right.
IG_STEPS = (64, 256, 1024)
LARGEST_INCOMPLETENESS = 0.01
BATCH = 8  # spectrograms at once
SMOOTH_SAMPLES = 16
SMOOTH_DEVIATION = 0.1  # of the highest level, as in the paper of SmoothGrad
OCCLUDED = (64, 16)  # bins and frames of a patch: 1 kHz and 0.26 s
OCCLUSION_STRIDE = (32, 8)


def captum_attr() -> ModuleType:
    """Module of captum with the methods.

    Raises:
        InputError: it isn't installed.
    """
    try:
        from captum import attr
    except ImportError as error:
        raise InputError(f"captum can't be imported ({error}): {INSTALL}") from error
    return attr


class Explained(nn.Module):
    """Evidence for spoof of a recording, as a function of the levels of its spectrogram.

    Args:
        task: detector, in evaluation mode.
        batch: the recording as the detector takes it: one utterance.

    Attributes:
        levels_QF: its levels.
    """

    def __init__(self, task: Detection, batch: Batch):
        super().__init__()
        self.task = task
        self.batch = batch
        spectrum_QF = stft(batch.wav_BT[0])
        magnitude_QF = spectrum_QF.abs()
        self.floor = float(FLOOR * magnitude_QF.max())
        self.phase_QF = spectrum_QF.angle()
        self.levels_QF = (magnitude_QF / self.floor).clamp_min(1).log()

    def forward(self, levels_BQF: Tensor) -> Tensor:
        """Logit of spoof minus that of bona fide ``B``, of levels ``(B, Q, F)``."""
        size = len(levels_BQF)
        magnitude_BQF = self.floor * levels_BQF.exp()
        spectrum_BQF = torch.polar(magnitude_BQF, self.phase_QF.expand(size, -1, -1))
        window = torch.hann_window(FFT_SIZE, device=levels_BQF.device)
        samples = self.batch.wav_BT.shape[1]
        wav_BT = torch.istft(spectrum_BQF, FFT_SIZE, HOP, window=window, length=samples)
        batch = Batch(
            self.batch.keys * size,
            wav_BT,
            self.batch.lengths_B.expand(size),
            self.batch.labels_B.expand(size),
        )
        logits_BC = self.task.logits(batch)
        return logits_BC[:, SPOOF] - logits_BC[:, BONAFIDE]


def map_layers(explained: Explained) -> list[str]:
    """Layers of the model whose output is a time-frequency map ``(B, P, D, G)``, in running order.

    Args:
        explained: the recording that is run through them.
    """
    names: list[str] = []
    handles = []
    for name, module in explained.task.model.named_modules():

        def note(_module, _inputs, output, name=name):
            is_map = isinstance(output, Tensor) and output.ndim == 4 and min(output.shape[2:]) > 1
            if name and is_map:
                names.append(name)

        handles.append(module.register_forward_hook(note))
    try:
        with torch.no_grad():
            explained(explained.levels_QF[None])
    finally:
        for handle in handles:
            handle.remove()
    return names


def named_layer(explained: Explained, name: str | None) -> tuple[str, nn.Module]:
    """Layer for Grad-CAM.

    Args:
        explained: the recording.
        name: name within the model, such as ``layers.3``; None is the last one with a map.

    Raises:
        InputError: no such layer, or one without a map; lists those that have one.
    """
    names = map_layers(explained)
    model = type(explained.task.model).__name__
    if not names:
        raise InputError(f"{model} has no layer with a time-frequency map: no grad_cam")
    if name is None:
        name = names[-1]
    if name not in names:
        listed = ", ".join(dict.fromkeys(names))
        raise InputError(f"layer {name!r} of {model} has no time-frequency map, expected {listed}")
    return name, explained.task.model.get_submodule(name)


def feature_hertz(frontend: Frontend) -> np.ndarray | None:
    """Frequency ``D`` of each feature in Hz; None for features that are of no frequency."""
    if isinstance(frontend, Fbank):
        filters_QD = frontend.filters_QD.double().cpu().numpy()
        hertz_Q = np.linspace(0, frontend.sample_rate / 2, len(filters_QD))
        return hertz_Q @ filters_QD / filters_QD.sum(axis=0)
    if isinstance(frontend, LogSpectrogram):
        return np.linspace(0, frontend.sample_rate / 2, frontend.dim)
    return None


def onto_grid(map_DG: Tensor, frontend: Frontend, bins: int, frames: int) -> np.ndarray:
    """Map of a layer on the grid ``(Q, F)`` of a spectrogram.

    Time is interpolated. So is frequency where the features of the front end are of frequencies;
    elsewhere the rows of a map are no bands, and each frame has their mean in all bins.

    Args:
        map_DG: the map; it may be coarser than the features and frames.
        frontend: front end of the system.
        bins: Q.
        frames: F.
    """
    hertz_D = feature_hertz(frontend)
    if hertz_D is None:
        map_DG = map_DG.mean(0, keepdim=True)
        hertz_D = np.zeros(1)
    resized = functional.interpolate(
        map_DG[None, None], size=(len(hertz_D), frames), mode="bilinear", align_corners=False
    )
    map_DF = resized[0, 0].cpu().numpy()
    hertz_Q = np.linspace(0, frontend.sample_rate / 2, bins)
    columns = [np.interp(hertz_Q, hertz_D, map_DF[:, frame]) for frame in range(frames)]
    return np.stack(columns, axis=1)


def attribute(
    explained: Explained,
    method: Method,
    layer: str | None = None,
    seed: int = 0,
    completes: bool = True,
) -> np.ndarray:
    """Attribution ``(Q, F)`` of a method; positive where a cell speaks for spoof.

    - ``input_x_gradient``: level times gradient.
    - ``integrated_gradients``: level times the mean gradient on the way from silence; sums to the
      evidence over that of silence (Sundararajan et al., 2017).
    - ``smooth_grad``: mean gradient of noisy levels (Smilkov et al., 2017).
    - ``grad_cam``: positive part of a layer's maps, weighted by their mean gradients (Selvaraju et
      al., 2017).
    - ``occlusion``: what the evidence loses by silence in a patch (Zeiler and Fergus, 2014).
    - ``random``: normal noise, the control.

    Args:
        explained: the recording.
        method: name of the method.
        layer: layer of ``grad_cam``; None for the last one with a map.
        seed: seed of the noise of ``smooth_grad`` and ``random``.
        completes: whether ``integrated_gradients`` takes more steps until its sum is right, and
            says where it stays wrong.

    Raises:
        InputError: a layer without a map.
    """
    levels_BQF = explained.levels_QF[None].clone().requires_grad_()
    if method == "random":
        return np.random.default_rng(seed).standard_normal(levels_BQF.shape[1:])
    if method == "grad_cam":
        _, module = named_layer(explained, layer)
        map_BPDG = (
            captum_attr()
            .LayerGradCam(explained, module)
            .attribute(levels_BQF, relu_attributions=True)
        )
        bins, frames = levels_BQF.shape[1:]
        return onto_grid(map_BPDG.detach()[0, 0], explained.task.frontend, bins, frames)
    if method == "integrated_gradients":
        attribution_BQF = _integrated_gradients(explained, levels_BQF, completes)
    else:
        attribution_BQF = GRADIENT_METHODS[method](explained, levels_BQF, seed)
    return attribution_BQF.detach()[0].cpu().numpy()


def _input_x_gradient(explained: Explained, levels_BQF: Tensor, _seed: int) -> Tensor:
    return captum_attr().InputXGradient(explained).attribute(levels_BQF)


def _integrated_gradients(explained: Explained, levels_BQF: Tensor, completes: bool) -> Tensor:
    method = captum_attr().IntegratedGradients(explained)
    for steps in IG_STEPS:
        attribution_BQF = method.attribute(levels_BQF, n_steps=steps, internal_batch_size=BATCH)
        error = completeness_error(explained, attribution_BQF.detach()[0].cpu().numpy())
        if error <= LARGEST_INCOMPLETENESS or not completes:
            return attribution_BQF
    logging.warning(
        "%.1f %% of the evidence are missing from integrated gradients of %d steps",
        100 * error,
        steps,
    )
    return attribution_BQF


def _smooth_grad(explained: Explained, levels_BQF: Tensor, seed: int) -> Tensor:
    torch.manual_seed(seed)  # captum draws from the global generator
    return (
        captum_attr()
        .NoiseTunnel(captum_attr().Saliency(explained))
        .attribute(
            levels_BQF,
            nt_samples=SMOOTH_SAMPLES,
            nt_samples_batch_size=BATCH,
            stdevs=SMOOTH_DEVIATION * float(levels_BQF.detach().max()),
            abs=False,
        )
    )


def _occlusion(explained: Explained, levels_BQF: Tensor, _seed: int) -> Tensor:
    shape = levels_BQF.shape[1:]
    # A recording may be shorter than a patch.
    patch = tuple(min(size, whole) for size, whole in zip(OCCLUDED, shape))
    stride = tuple(min(step, size) for step, size in zip(OCCLUSION_STRIDE, patch))
    with torch.no_grad():
        return (
            captum_attr()
            .Occlusion(explained)
            .attribute(
                levels_BQF,
                sliding_window_shapes=patch,
                strides=stride,
                perturbations_per_eval=BATCH,
            )
        )


GRADIENT_METHODS: dict[str, Callable[[Explained, Tensor, int], Tensor]] = {
    "input_x_gradient": _input_x_gradient,
    "smooth_grad": _smooth_grad,
    "occlusion": _occlusion,
}


def randomise_weights(task: Detection, seed: int = 0) -> None:
    """Replace the trained weights by random ones, each tensor by a permutation of its values.

    An explanation that stays the same shows the input and not the model (Adebayo et al., 2018).

    Args:
        task: detector, which is changed.
        seed: seed of the permutations.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in task.parameters():
            order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
            parameter.copy_(parameter.flatten()[order].reshape(parameter.shape))


def completeness_error(explained: Explained, attribution_QF: np.ndarray) -> float:
    """How far the sum of an attribution is from the evidence over that of silence, as its share."""
    with torch.no_grad():
        levels_BQF = explained.levels_QF[None]
        difference = float(explained(levels_BQF) - explained(torch.zeros_like(levels_BQF)))
    return abs(float(attribution_QF.sum()) - difference) / max(abs(difference), math.ulp(1.0))
