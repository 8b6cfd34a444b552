"""Blocks of several models.

Letters: B utterances, F frames, D features of a frame, P channels.
"""

import torch
from torch import Tensor, nn


def conv_norm(
    in_channels: int,
    channels: int,
    kernel: int = 1,
    stride=1,
    activation=nn.ReLU,
    groups: int = 1,
    **norm,
) -> nn.Sequential:
    """Convolution over time and frequency, batch norm and activation.

    Sizes stay, or are halved and rounded up with stride 2. ``norm`` are options of the batch norm.
    """
    conv = nn.Conv2d(in_channels, channels, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels, **norm), activation())


class SqueezeExcitation(nn.Module):
    """Channels times gates in (0, 1) that are computed from the means of all channels.

    It takes maps (``BPDF``) and frames (``BPF``). Means include padded frames, as in the official
    code; batches of one length have none.

    Source: Hu et al., CVPR 2018, section 3.

    Args:
        channels: channels of the input.
        hidden: size between the two layers.
        activation: activation between the two layers.
        bias: layers with a bias.
    """

    def __init__(
        self, channels: int, hidden: int, activation: type[nn.Module] = nn.ReLU, bias: bool = True
    ):
        super().__init__()
        squeeze = nn.Linear(channels, hidden, bias)
        excite = nn.Linear(hidden, channels, bias)
        self.layers = nn.Sequential(squeeze, activation(), excite, nn.Sigmoid())

    def forward(self, maps: Tensor) -> Tensor:
        inner_axes = tuple(range(2, maps.dim()))
        gates_BP = self.layers(maps.mean(inner_axes))
        for _ in inner_axes:
            gates_BP = gates_BP[..., None]
        return maps * gates_BP


class Res2(nn.Module):
    """Groups of channels; the output of a group is added to the input of the next one.

    Source: Res2Net (Gao et al., IEEE TPAMI 2021, https://arxiv.org/abs/1904.01169), equation 1, in
    the order of its code: the last group, not the first, has no convolution.

    Args:
        branches: modules of the groups but the last.
        last: module of the last group.
        cascade: add the output of the group before; the first block of a stage doesn't, in the
            code.
    """

    def __init__(self, branches: list[nn.Module], last: nn.Module, cascade: bool = True):
        super().__init__()
        self.branches = nn.ModuleList(branches)
        self.last = last
        self.cascade = cascade

    def forward(self, maps: Tensor) -> Tensor:
        groups = maps.chunk(len(self.branches) + 1, 1)
        outputs: list[Tensor] = []
        for branch, group in zip(self.branches, groups):
            if self.cascade and outputs:
                group = group + outputs[-1]
            outputs.append(branch(group))
        outputs.append(self.last(groups[-1]))
        return torch.cat(outputs, 1)
