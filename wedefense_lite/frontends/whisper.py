"""The encoder of Whisper.

Letters: B utterances of a batch, T samples, N windows of all utterances, W samples of a window, F
frames, D features of a frame, M mel filters, Q frequency bins of a spectrum.
"""

import logging
import math
import re
from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from jsonargparse.typing import ClosedUnitInterval, NonNegativeFloat, PositiveInt
from torch import Tensor, nn

from wedefense_lite.files import InputError, read_json
from wedefense_lite.frontends import encoders
from wedefense_lite.frontends.base import Frontend, valid_mask
from wedefense_lite.weights import load_state

FFT_SIZE = 400
HOP_SAMPLES = 160
FRAME_SAMPLES = 2 * HOP_SAMPLES
# Sizes of whisper-base, in the words of the hub's config.json.
BASE = {
    "d_model": 512,
    "encoder_layers": 6,
    "encoder_attention_heads": 8,
    "encoder_ffn_dim": 2048,
    "num_mel_bins": 80,
    "max_source_positions": 1500,
}


def _sizes(width: int, depth: int, heads: int, num_mels: int = 80) -> dict:
    return {
        "d_model": width,
        "encoder_layers": depth,
        "encoder_attention_heads": heads,
        "encoder_ffn_dim": 4 * width,
        "num_mel_bins": num_mels,
    }


# Published models that can be built without their config.json; tiny.en has the sizes of tiny.
PUBLISHED = {
    "openai/whisper-tiny": _sizes(384, 4, 6),
    "openai/whisper-base": BASE,
    "openai/whisper-small": _sizes(768, 12, 12),
    "openai/whisper-medium": _sizes(1024, 24, 16),
    "openai/whisper-large-v2": _sizes(1280, 32, 20),
    "openai/whisper-large-v3": _sizes(1280, 32, 20, 128),
    "openai/whisper-large-v3-turbo": _sizes(1280, 32, 20, 128),
}


class Whisper(Frontend):
    """States of Whisper's encoder: a frame every 20 ms.

    Source: Radford et al., "Robust speech recognition via large-scale weak supervision" (ICML 2023,
    https://arxiv.org/abs/2212.04356), as ``transformers`` computes it, its log-mel spectra
    included; for spoof detection, Kawa et al., "Improved deepfake detection using Whisper features"
    (Interspeech 2023, https://arxiv.org/abs/2306.01428). The encoder was trained on windows of 30
    s, filled with zeros, which attention sees. ``load_pretrained`` loads the published weights;
    training calls it when it starts. Checkpoints hold all weights.

    Args:
        model: name as on the hub, such as openai/whisper-base; files are looked for as for ``SSL``.
        sizes: changes to the model's sizes, in the words of its ``config.json``. Sizes of a model
            that isn't built in are read from that file and kept with the experiment.
        layers: ``last``: final output (with norm). ``all``: the input of layer 1 and every layer's
            output, the last with norm. An integer N: the last N of these. A frame is their
            concatenation.
        trained: what is fine-tuned: ``all``, ``none`` or the last N layers. With ``none`` the
            encoder stays in evaluation mode.
        rate_factor: learning rate, as a multiple of the training's.
        dropout: probability in the layers in training; there was none in pretraining.
        window_seconds: windows that the encoder sees, one after the other, up to the 30 s of
            pretraining; each is filled with zeros. Shorter ones are faster.

    Attributes:
        num_layers: layers in a frame.

    Raises:
        InputError: unknown model or option, or ``transformers`` is missing.
    """

    def __init__(
        self,
        model: str,
        sizes: dict | None = None,
        layers: Literal["last", "all"] | PositiveInt = "last",
        trained: Literal["all", "none"] | PositiveInt = "all",
        rate_factor: NonNegativeFloat = 1.0,
        dropout: ClosedUnitInterval = 0.0,
        window_seconds: NonNegativeFloat = 30.0,
    ):
        super().__init__()
        published = model.removesuffix(".en")
        if sizes is None and published not in PUBLISHED:
            sizes = find_sizes(model)
            self.resolved = {"sizes": sizes}
        shape = BASE | PUBLISHED.get(published, {}) | (sizes or {})
        unknown = ", ".join(sorted(shape.keys() - BASE.keys()))
        if unknown:
            raise InputError(f"{model}: sizes has {unknown}, expected some of {', '.join(BASE)}")
        depth = shape["encoder_layers"]
        encoders.check_at_most(model, "layers", layers, depth + 1)
        encoders.check_at_most(model, "trained", trained, depth)
        self.model = model
        self.trained = trained
        self.rate_factor = rate_factor
        self.sample_rate = 16000
        self.hop_seconds = FRAME_SAMPLES / self.sample_rate
        self.num_layers = encoders.count_layers(layers, depth)
        self.dim = self.num_layers * shape["d_model"]
        window_frames = round(window_seconds / self.hop_seconds)
        if not 1 <= window_frames <= shape["max_source_positions"]:
            longest = shape["max_source_positions"] * self.hop_seconds
            raise InputError(
                f"{model}: window_seconds is {window_seconds}, expected up to {longest:g}"
            )
        self.window_samples = window_frames * FRAME_SAMPLES
        library = encoders.import_transformers()
        config = library.WhisperConfig(**shape, dropout=dropout, attention_dropout=dropout)
        self.network = library.models.whisper.modeling_whisper.WhisperEncoder(config)
        filters_QM = library.audio_utils.mel_filter_bank(
            FFT_SIZE // 2 + 1, shape["num_mel_bins"], 0.0, 8000.0, 16000, "slaney", "slaney"
        )
        self.register_buffer("filters_MQ", torch.tensor(filters_QM.T).float(), persistent=False)
        self.register_buffer("window", torch.hann_window(FFT_SIZE), persistent=False)
        self._freeze(depth)

    def _freeze(self, depth: int) -> None:
        num_trained = depth + 1
        if isinstance(self.trained, int):
            num_trained = self.trained
        elif self.trained == "none":
            num_trained = 0
        self.network.requires_grad_(num_trained > depth)
        for layer in self.network.layers[max(0, depth - num_trained) :]:
            layer.requires_grad_(True)
        self.network.layer_norm.requires_grad_(num_trained > 0)
        # Sines, which were never trained.
        self.network.embed_positions.requires_grad_(False)

    def forward(self, wav_BT: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        num_windows = math.ceil(wav_BT.shape[1] / self.window_samples)
        padding = num_windows * self.window_samples - wav_BT.shape[1]
        wav_NW = F.pad(wav_BT, (0, padding)).reshape(-1, self.window_samples)
        with torch.autocast(wav_BT.device.type, enabled=False):
            mels_NMF = self._log_mels(wav_NW.float())
        states = self._states(mels_NMF)
        frames_NFD = torch.cat(states[-self.num_layers :], 2).float()
        frames_BFD = frames_NFD.reshape(len(wav_BT), -1, self.dim)
        frame_lengths_B = (lengths_B + FRAME_SAMPLES - 1) // FRAME_SAMPLES
        frames_BFD = frames_BFD[:, : math.ceil(wav_BT.shape[1] / FRAME_SAMPLES)]
        mask_BF1 = valid_mask(frame_lengths_B, frames_BFD.shape[1])[..., None]
        return frames_BFD * mask_BF1, frame_lengths_B

    def train(self, mode: bool = True) -> "Whisper":
        """Training or evaluation mode; a frozen encoder is always in evaluation mode."""
        return super().train(mode and self.trained != "none")

    def blocks(self) -> list[nn.Module]:
        return list(self.network.layers)

    def rate_factors(self) -> dict[nn.Parameter, float]:
        return dict.fromkeys(self.parameters(), self.rate_factor)

    def load_pretrained(self) -> None:
        """Load the weights that the model was published with.

        Raises:
            InputError: no weights, damaged ones, or those of another model.
        """
        path = encoders.find_weights(self.model)
        logging.info("%s: weights of %s", self.model, path)
        weights = encoder_weights(encoders.read_state(path))
        load_state(self.network, weights, path, self.model)

    def _log_mels(self, wav_NW: Tensor) -> Tensor:
        """Log-mel spectra ``NMF`` of windows, not more than 80 dB below the highest value."""
        spectra_NQF = torch.stft(
            wav_NW, FFT_SIZE, HOP_SAMPLES, window=self.window, return_complex=True
        )
        # Squares of the parts, since the magnitude of zero has no gradient.
        power_NQF = torch.view_as_real(spectra_NQF[..., :-1]).square().sum(3)
        mels_NMF = (self.filters_MQ @ power_NQF).clamp_min(1e-10).log10()
        highest_N11 = mels_NMF.amax((1, 2), keepdim=True)
        return (torch.maximum(mels_NMF, highest_N11 - 8) + 4) / 4

    def _states(self, mels_NMF: Tensor) -> list[Tensor]:
        """Input of the first layer and outputs of all, the last with the final norm.

        The library's own ``forward`` takes windows of 30 s alone.
        """
        network = self.network
        state_NDF = F.gelu(network.conv1(mels_NMF))
        state_NFD = F.gelu(network.conv2(state_NDF)).transpose(1, 2)
        state_NFD = state_NFD + network.embed_positions.weight[: state_NFD.shape[1]]
        state_NFD = F.dropout(state_NFD, network.dropout, self.training)
        states = [state_NFD]
        for layer in network.layers:
            state_NFD = layer(state_NFD, None)
            states.append(state_NFD)
        states[-1] = network.layer_norm(states[-1])
        return states


def find_sizes(model: str) -> dict:
    """The sizes in a model's ``config.json``.

    Raises:
        InputError: no such file, or one of something else.
    """
    path = encoders.find_file(model, ("config.json",))
    config = read_json(path)
    model_type = config.get("model_type") if isinstance(config, dict) else None
    if model_type != "whisper":
        raise InputError(f"{path}: model_type is {model_type!r}, expected whisper")
    return {name: config.get(name, value) for name, value in BASE.items()}


def encoder_weights(state: Mapping) -> dict[str, Tensor]:
    """Weights of the encoder under its own names, from a state dict of the whole model or of it."""
    prefix = re.compile(r"^(model\.)?encoder\.")
    has_prefix = any(prefix.match(str(name)) for name in state)
    weights = {}
    for name, value in state.items():
        if not has_prefix or prefix.match(str(name)):
            weights[prefix.sub("", str(name))] = value
    return weights
