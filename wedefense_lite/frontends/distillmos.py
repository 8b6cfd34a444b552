"""The encoder of DistillMOS, whose weights come in a package of PyPI.

Letters: B utterances of a batch, T samples, F frames of 10 ms or of 20 ms, C channels, Q frequency
bins of a spectrum, W frames of a window, N windows of all utterances, D features of a frame.
"""

import importlib.util
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from jsonargparse.typing import ClosedUnitInterval, NonNegativeFloat, PositiveInt
from torch import Tensor, nn

from wedefense_lite.files import InputError
from wedefense_lite.frontends.base import Frontend, valid_mask
from wedefense_lite.frontends.encoders import read_state
from wedefense_lite.weights import load_state

INSTALL = "pip install --no-deps distillmos"
WEIGHTS = "weights/distill_mos_v7.pt"
# Sizes of the published model.
FFT_SIZE = 320
HOP_SAMPLES = 160
CHANNELS = (64, 64, 128, 256, 256, 256)
DIM = 200
HEADS = 8
DEPTH = 7
WINDOW_FRAMES = 384
# Batch norms between convolutions and transformer, one after the other.
NORMS = ("transformer_pool_attn.norm_input", "transformer_pool_attn.transformer.norm")
NORM_FLOOR = 1e-5
# Beginnings of the names of published weights. What has another one belongs to the quality score.
NAMES = {
    "cnn.cnn.": "convolutions.",
    "transformer_pool_attn.transformer.linear_proj.": "project.",
    "transformer_pool_attn.transformer.transformer_encoder.layers.": "layers.",
}


class DistillMOS(Frontend):
    """States of DistillMOS, a small encoder with published weights: a frame every 20 ms.

    Convolutions over compressed complex spectra, and a transformer, 4.05 M parameters in all. They
    were distilled from a model of speech quality on XLS-R. Source: Stahl and Gamper, "Distillation
    and pruning for scalable self-supervised representation-based speech quality assessment" (ICASSP
    2025, https://arxiv.org/abs/2502.05356), in the form of the package ``distillmos`` 0.9.1 (MIT
    licence), whose states it gives for utterances of 7.68 s. There, shorter ones are filled with
    zeros to that length, which attention sees, and longer ones cut into pieces that overlap. Here
    attention sees the utterance alone, in windows of 7.68 s.

    ``load_pretrained`` reads the weights in the installed package, of which nothing is run;
    training calls it when it starts. Checkpoints hold all weights.

    Args:
        layers: ``cnn``: output of the convolutions, 1024 features. ``last``: output of the
            transformer, 200 features. ``all``: the input of layer 1 and every layer's output. An
            integer N: the last N layer outputs. A frame is their concatenation.
        trained: what is fine-tuned: ``all``, ``none`` or the last N layers of the transformer. The
            batch norms before it are a scale and a shift with the statistics of pretraining.
        rate_factor: learning rate, as a multiple of the training's.
        dropout: probability in the transformer in training; the published model had none.

    Attributes:
        num_layers: layers in a frame.

    Raises:
        InputError: more layers than there are.
    """

    def __init__(
        self,
        layers: Literal["cnn", "last", "all"] | PositiveInt = "last",
        trained: Literal["all", "none"] | PositiveInt = "all",
        rate_factor: NonNegativeFloat = 1.0,
        dropout: ClosedUnitInterval = 0.0,
    ):
        super().__init__()
        if isinstance(layers, int) and layers > DEPTH + 1:
            raise InputError(f"DistillMOS: layers is {layers}, expected at most {DEPTH + 1}")
        if isinstance(trained, int) and (trained > DEPTH or layers == "cnn"):
            limit = 0 if layers == "cnn" else DEPTH
            raise InputError(f"DistillMOS: trained is {trained}, expected at most {limit}, or all")
        self.trained = trained
        self.rate_factor = rate_factor
        self.sample_rate = 16000
        self.hop_seconds = 2 * HOP_SAMPLES / self.sample_rate
        self.register_buffer("window", torch.hann_window(FFT_SIZE), persistent=False)
        self.convolutions = nn.Sequential()
        num_bins = FFT_SIZE // 2 + 1
        num_inputs = 2
        for number, num_outputs in enumerate(CHANNELS):
            is_first = number == 0
            is_last = number == len(CHANNELS) - 1
            stride = (1 if is_first else 2, 2 if is_last else 1)  # of frequency, of time
            convolution = nn.Conv2d(num_inputs, num_outputs, 3, stride, padding=(0, 1))
            self.convolutions.extend([convolution, nn.LeakyReLU(0.1)])
            num_bins = (num_bins - 3) // stride[0] + 1
            num_inputs = num_outputs
        self.dim = num_inputs * num_bins
        self.num_layers = 1
        # Without the transformer, nothing of it is built: its parameters would have no gradient.
        self.has_transformer = layers != "cnn"
        if self.has_transformer:
            self._add_transformer(dropout)
            if layers == "all":
                self.num_layers = DEPTH + 1
            elif isinstance(layers, int):
                self.num_layers = layers
            self.dim = self.num_layers * DIM
        self._freeze()

    def _add_transformer(self, dropout: float) -> None:
        # No batch norms: their statistics would be drawn from training data, and again for an
        # average of epochs.
        self.scale_D = nn.Parameter(torch.ones(self.dim))
        self.shift_D = nn.Parameter(torch.zeros(self.dim))
        self.project = nn.Linear(self.dim, DIM)
        self.register_buffer("positions_WD", sine_positions(WINDOW_FRAMES, DIM), persistent=False)
        self.layers = nn.ModuleList()
        for _ in range(DEPTH):
            self.layers.append(
                nn.TransformerEncoderLayer(DIM, HEADS, 2 * DIM, dropout, batch_first=True)
            )

    def _freeze(self) -> None:
        self.requires_grad_(self.trained == "all")
        if isinstance(self.trained, int):
            for layer in self.layers[-self.trained :]:
                layer.requires_grad_(True)

    def forward(self, wav_BT: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        shortest = int(lengths_B.min())
        if shortest < HOP_SAMPLES:
            raise ValueError(f"{shortest} samples are too short for a frame of {HOP_SAMPLES}")
        with torch.autocast(wav_BT.device.type, enabled=False):
            maps_BCQF = self._spectra(wav_BT.float(), lengths_B)
        frame_lengths_B = lengths_B // HOP_SAMPLES
        maps_BCQF, frame_lengths_B = self._convolve(maps_BCQF, frame_lengths_B)
        frames_BFD = maps_BCQF.flatten(1, 2).transpose(1, 2)
        if self.has_transformer:
            states = self._states(frames_BFD, frame_lengths_B)
            frames_BFD = torch.cat(states[-self.num_layers :], 2)
        mask_BF1 = valid_mask(frame_lengths_B, frames_BFD.shape[1])[..., None]
        return frames_BFD.float() * mask_BF1, frame_lengths_B

    def train(self, mode: bool = True) -> "DistillMOS":
        """Training or evaluation mode; a frozen encoder is always in evaluation mode."""
        return super().train(mode and self.trained != "none")

    def rate_factors(self) -> dict[nn.Parameter, float]:
        return dict.fromkeys(self.parameters(), self.rate_factor)

    def load_pretrained(self) -> None:
        """Load the weights that the package ``distillmos`` carries.

        Raises:
            InputError: the package isn't installed, or has other weights.
        """
        path = weights_file()
        logging.info("DistillMOS: weights of %s", path)
        published = read_state(path).get("model", {})
        weights = {}
        try:
            for name, value in published.items():
                for beginning, own in NAMES.items():
                    if name.startswith(beginning):
                        weights[own + name.removeprefix(beginning)] = value
            if self.has_transformer:
                weights["scale_D"], weights["shift_D"] = joined_norms(published)
            else:
                weights = _of_convolutions(weights)
        except (RuntimeError, LookupError, AttributeError, TypeError) as error:
            reason = "; ".join(line.strip() for line in str(error).splitlines()[:3])
            raise InputError(f"{path}: other weights than those of 0.9.1: {reason}") from error
        load_state(self, weights, path, "DistillMOS 0.9.1")

    def _spectra(self, wav_BT: Tensor, lengths_B: Tensor) -> Tensor:
        """Real and imaginary parts of spectra, ``BCQF``, of compressed magnitude."""
        peaks_B1 = wav_BT.abs().amax(1, keepdim=True)
        wav_BT = wav_BT / (peaks_B1 + 1e-8)
        # Half of what a frame is longer than its hop is mirrored at both ends of each utterance.
        margin = (FFT_SIZE - HOP_SAMPLES) // 2
        places_T = torch.arange(-margin, wav_BT.shape[1] + margin, device=wav_BT.device).abs()
        last_B1 = lengths_B[:, None] - 1
        mirrored_BT = torch.where(places_T > last_B1, 2 * last_B1 - places_T, places_T)
        wav_BT = wav_BT.gather(1, mirrored_BT.clamp_min(0))
        spectra_BQF = torch.stft(
            wav_BT, FFT_SIZE, HOP_SAMPLES, window=self.window, center=False, return_complex=True
        )
        maps_BCQF = torch.view_as_real(spectra_BQF).permute(0, 3, 1, 2)
        # A magnitude to the power of 0.3, from the power of the bin: the root of zero has no
        # gradient.
        power_B1QF = maps_BCQF.square().sum(1, keepdim=True)
        return maps_BCQF * power_B1QF.clamp_min(1e-24) ** -0.35

    def _convolve(self, maps_BCQF: Tensor, frame_lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Output of the convolutions and its lengths.

        Behind the end of an utterance stand zeros at each of them, as where it ends the batch.
        """
        for layer in self.convolutions:
            if isinstance(layer, nn.Conv2d):
                mask_BF = valid_mask(frame_lengths_B, maps_BCQF.shape[3])
                maps_BCQF = layer(maps_BCQF * mask_BF[:, None, None])
                stride = layer.stride[1]
                frame_lengths_B = (frame_lengths_B + stride - 1) // stride
            else:
                maps_BCQF = layer(maps_BCQF)
        return maps_BCQF, frame_lengths_B

    def _states(self, frames_BFD: Tensor, frame_lengths_B: Tensor) -> list[Tensor]:
        """Input of the first layer of the transformer and outputs of all, each ``BFD``."""
        num_frames = frames_BFD.shape[1]
        num_windows = math.ceil(num_frames / WINDOW_FRAMES)
        state_BFD = self.project(self.scale_D * frames_BFD + self.shift_D)
        is_valid_BF = valid_mask(frame_lengths_B, num_frames)
        if num_windows > 1:
            padding = num_windows * WINDOW_FRAMES - num_frames
            state_BFD = F.pad(state_BFD, (0, 0, 0, padding))
            is_valid_BF = F.pad(is_valid_BF, (0, padding))
        window_frames = state_BFD.shape[1] // num_windows
        state_NWD = state_BFD.reshape(-1, window_frames, DIM)
        is_valid_NW = is_valid_BF.reshape(-1, window_frames)
        # A window of padding alone attends to itself, since a softmax over nothing is NaN.
        is_empty_N1 = ~is_valid_NW.any(1, keepdim=True)
        ignored_NW = ~(is_valid_NW | is_empty_N1)
        state_NWD = state_NWD + self.positions_WD[:window_frames]
        states = [state_NWD]
        for layer in self.layers:
            state_NWD = layer(state_NWD, src_key_padding_mask=ignored_NW)
            states.append(state_NWD)
        joined = []
        for state_NWD in states:
            state_BFD = state_NWD.reshape(len(frames_BFD), -1, DIM)
            joined.append(state_BFD[:, :num_frames])
        return joined


def sine_positions(num_frames: int, dim: int) -> Tensor:
    """``positions_FD``: sines and cosines in turn, of wave lengths up to twice the frames."""
    rates_D = torch.exp(torch.arange(0, dim, 2) * (-math.log(2 * num_frames) / dim))
    angles_FD = torch.arange(num_frames)[:, None] * rates_D
    return torch.stack((angles_FD.sin(), angles_FD.cos()), 2).flatten(1)


def joined_norms(published: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Scale and shift of the batch norms of ``NORMS``, one after the other.

    Args:
        published: weights under their published names.

    Raises:
        KeyError: a norm is missing.
    """
    scale_D = torch.ones(())
    shift_D = torch.zeros(())
    for name in NORMS:
        deviation_D = (published[f"{name}.running_var"] + NORM_FLOOR).sqrt()
        gain_D = published[f"{name}.weight"] / deviation_D
        scale_D = gain_D * scale_D
        shift_D = gain_D * (shift_D - published[f"{name}.running_mean"])
        shift_D = shift_D + published[f"{name}.bias"]
    return scale_D, shift_D


def _of_convolutions(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    kept = {}
    for name, value in weights.items():
        if name.startswith("convolutions."):
            kept[name] = value
    return kept


def weights_file() -> Path:
    """The file of weights in the installed package ``distillmos``.

    Raises:
        InputError: it isn't installed.
    """
    package = importlib.util.find_spec("distillmos")
    if package is None:
        raise InputError(f"DistillMOS: its weights are in the package distillmos: {INSTALL}")
    return Path(package.origin).parent / WEIGHTS
