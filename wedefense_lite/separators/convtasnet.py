"""Conv-TasNet.

Letters: B mixtures, T samples, F windows, L samples of a window, S samples of a stride, D features
of a window, P channels, K talkers.
"""

from typing import Literal

import torch.nn.functional as F
from jsonargparse.typing import PositiveInt
from torch import Tensor, nn

from wedefense_lite.files import InputError
from wedefense_lite.separators.base import Separator


def _norm(channels: int) -> nn.GroupNorm:
    """Global layer norm of the paper: one group over channels and time."""
    return nn.GroupNorm(1, channels, eps=1e-8)


class _Block(nn.Module):
    """Separable dilated convolution with a residual and a skip output (figure 1 C of the paper)."""

    def __init__(self, channels: int, hidden: int, dilation: int, last: bool):
        super().__init__()
        depthwise = nn.Conv1d(hidden, hidden, 3, padding=dilation, dilation=dilation, groups=hidden)
        self.conv_layers = nn.Sequential(
            nn.Conv1d(channels, hidden, 1),
            nn.PReLU(),
            _norm(hidden),
            depthwise,
            nn.PReLU(),
            _norm(hidden),
        )
        # Nothing reads the residual output of the last block.
        self.res_out = None if last else nn.Conv1d(hidden, channels, 1)
        self.skip_out = nn.Conv1d(hidden, channels, 1)

    def forward(self, frames_BPF: Tensor) -> tuple[Tensor, Tensor]:
        hidden_BPF = self.conv_layers(frames_BPF)
        residual_BPF = frames_BPF
        if self.res_out is not None:
            residual_BPF = frames_BPF + self.res_out(hidden_BPF)
        return residual_BPF, self.skip_out(hidden_BPF)


class _Masks(nn.Module):
    """Mask of each talker over the features of the encoder."""

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
        self.input_norm = _norm(features)
        self.input_conv = nn.Conv1d(features, bottleneck, 1)
        last = layers * stacks - 1
        self.conv_layers = nn.ModuleList(
            _Block(bottleneck, hidden, 2 ** (number % layers), number == last)
            for number in range(last + 1)
        )
        self.output_prelu = nn.PReLU()
        self.output_conv = nn.Conv1d(bottleneck, features * talkers, 1)
        self.mask_activate = activation
        self.num_talkers = talkers

    def forward(self, features_BDF: Tensor) -> Tensor:
        """``masks_BKDF``."""
        frames_BPF = self.input_conv(self.input_norm(features_BDF))
        skips_BPF = 0
        for block in self.conv_layers:
            frames_BPF, skip_BPF = block(frames_BPF)
            skips_BPF = skips_BPF + skip_BPF
        masks_BPF = self.mask_activate(self.output_conv(self.output_prelu(skips_BPF)))
        return masks_BPF.unflatten(1, (self.num_talkers, -1))


class ConvTasNet(Separator):
    """Conv-TasNet, not causal.

    Modules have the names of torchaudio's ``ConvTasNet``, so its weights load, among them
    ``CONVTASNET_BASE_LIBRI2MIX`` (8 kHz). The defaults are the published sizes: 4.98 M parameters
    with two talkers.

    Source: Luo and Mesgarani, "Conv-TasNet: Surpassing ideal time-frequency magnitude masking for
    speech separation", IEEE/ACM TASLP 2019, https://arxiv.org/abs/1809.07454. Letters in brackets
    are those of its table I.

    Args:
        talkers: number of streams.
        sample_rate: rate of the audio, Hz.
        kernel: samples of a window, an even number; windows overlap by half (L).
        features: features of the encoder (N).
        bottleneck: channels of the residual and skip paths (B).
        hidden: channels within a block (H).
        layers: blocks of a stack; each has twice the dilation of the block before (X).
        stacks: number of stacks (R).
        activation: activation of the masks.

    Raises:
        InputError: an odd kernel.
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
        self.num_talkers = talkers
        self.sample_rate = sample_rate
        self.stride = kernel // 2
        framing = {
            "kernel_size": kernel,
            "stride": self.stride,
            "padding": self.stride,
            "bias": False,
        }
        mask_activation = nn.Sigmoid() if activation == "sigmoid" else nn.ReLU()
        self.encoder = nn.Conv1d(1, features, **framing)
        self.mask_generator = _Masks(
            features, bottleneck, hidden, layers, stacks, talkers, mask_activation
        )
        self.decoder = nn.ConvTranspose1d(features, 1, **framing)

    def forward(self, wav_BT: Tensor) -> Tensor:
        samples = wav_BT.shape[1]
        # Whole strides, so that the decoder gives at least as many samples back.
        padded_BT = F.pad(wav_BT, (0, -samples % self.stride))
        features_BDF = self.encoder(padded_BT[:, None])
        masked_BKDF = self.mask_generator(features_BDF) * features_BDF[:, None]
        return self._decode(masked_BKDF)[:, :, :samples]

    def _decode(self, masked_BKDF: Tensor) -> Tensor:
        """``streams_BKT`` of whole strides: what the decoder itself would give.

        On a CPU PyTorch's transposed convolution is set up anew for each length, which takes
        longer than the rest of a small model. Windows overlap by half, so that a product with the
        weights and one addition do the same.
        """
        weights_DL = self.decoder.weight[:, 0]
        windows_BKLF = weights_DL.T @ masked_BKDF
        # Padding drops the first half of the first window and the second half of the last one.
        ends_BKSF = windows_BKLF[:, :, self.stride :, :-1]
        beginnings_BKSF = windows_BKLF[:, :, : self.stride, 1:]
        strides_BKFS = (ends_BKSF + beginnings_BKSF).transpose(2, 3)
        return strides_BKFS.flatten(2)
