"""Conv-TasNet."""

from typing import Literal

import torch.nn.functional as F
from jsonargparse.typing import PositiveInt
from torch import Tensor, nn

from wedefense_lite.files import InputError
from wedefense_lite.separators.base import Separator


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(1, channels, eps=1e-8)


class _Block(nn.Module):
    """Separable dilated convolution with a residual and a skip output (the paper's figure 1 C)."""

    def __init__(self, channels: int, hidden: int, dilation: int, last: bool):
        super().__init__()
        depthwise = nn.Conv1d(hidden, hidden, 3, padding=dilation, dilation=dilation, groups=hidden)
        expanded = nn.Conv1d(channels, hidden, 1), nn.PReLU(), _norm(hidden)
        self.conv_layers = nn.Sequential(*expanded, depthwise, nn.PReLU(), _norm(hidden))
        self.res_out = None if last else nn.Conv1d(hidden, channels, 1)
        self.skip_out = nn.Conv1d(hidden, channels, 1)

    def forward(self, frames_BCF: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.conv_layers(frames_BCF)
        residual = frames_BCF if self.res_out is None else frames_BCF + self.res_out(hidden)
        return residual, self.skip_out(hidden)


class _Masks(nn.Module):
    """A mask for each talker over the features of the encoder."""

    def __init__(
        self,
        features: int,
        bottleneck: int,
        hidden: int,
        layers: int,
        stacks: int,
        talkers: int,
        activation: nn.Module,
    ):
        super().__init__()
        self.input_norm, self.input_conv = _norm(features), nn.Conv1d(features, bottleneck, 1)
        last = layers * stacks - 1
        self.conv_layers = nn.ModuleList(
            _Block(bottleneck, hidden, 2 ** (number % layers), number == last)
            for number in range(last + 1)
        )
        self.output_prelu = nn.PReLU()
        self.output_conv = nn.Conv1d(bottleneck, features * talkers, 1)
        self.mask_activate = activation
        self.num_talkers = talkers

    def forward(self, features_BNF: Tensor) -> Tensor:
        frames, total = self.input_conv(self.input_norm(features_BNF)), 0
        for block in self.conv_layers:
            frames, skip = block(frames)
            total = total + skip
        masks = self.mask_activate(self.output_conv(self.output_prelu(total)))
        return masks.unflatten(1, (self.num_talkers, -1))


class ConvTasNet(Separator):
    """Conv-TasNet (Luo and Mesgarani, "Conv-TasNet: Surpassing ideal time-frequency magnitude masking for speech
    separation", IEEE/ACM TASLP 2019, https://arxiv.org/abs/1809.07454), not causal.

    Modules have the names that torchaudio's ``ConvTasNet`` gives them, so that its weights load, those of
    ``CONVTASNET_BASE_LIBRI2MIX`` (8 kHz) included. The defaults are the published sizes, 4.98 M parameters at two
    talkers.

    Args:
        talkers: streams to make.
        sample_rate: of the audio, in Hz.
        kernel: samples of a window, an even number; windows overlap by half (L).
        features: of the encoder (N).
        bottleneck: channels of the residual and skip paths (B).
        hidden: channels within a block (H).
        layers: blocks of a stack, each of twice the dilation of the one before (X).
        stacks: of blocks (R).
        activation: of the masks.

    Raises:
        InputError: windows that can't overlap by half.
    """

    def __init__(
        self,
        talkers: PositiveInt = 2,
        sample_rate: PositiveInt = 16000,
        kernel: PositiveInt = 16,
        features: PositiveInt = 512,
        bottleneck: PositiveInt = 128,
        hidden: PositiveInt = 512,
        layers: PositiveInt = 8,
        stacks: PositiveInt = 3,
        activation: Literal["sigmoid", "relu"] = "sigmoid",
    ):
        super().__init__()
        if kernel % 2:
            raise InputError(f"windows of {kernel} samples, expected an even number")
        self.num_talkers, self.sample_rate, self.stride = talkers, sample_rate, kernel // 2
        framing = {
            "kernel_size": kernel,
            "stride": self.stride,
            "padding": self.stride,
            "bias": False,
        }
        made = nn.Sigmoid() if activation == "sigmoid" else nn.ReLU()
        self.encoder = nn.Conv1d(1, features, **framing)
        self.mask_generator = _Masks(features, bottleneck, hidden, layers, stacks, talkers, made)
        self.decoder = nn.ConvTranspose1d(features, 1, **framing)

    def forward(self, wav_BT: Tensor) -> Tensor:
        samples = wav_BT.shape[1]
        features_BNF = self.encoder(F.pad(wav_BT, (0, -samples % self.stride))[:, None])
        masked_BKNF = self.mask_generator(features_BNF) * features_BNF[:, None]
        streams = self.decoder(masked_BKNF.flatten(0, 1))[:, 0, :samples]
        return streams.unflatten(0, (-1, self.num_talkers))
