"""Blocks that several backbones are made of."""

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
    """A convolution over time and frequency that halves sizes with stride 2 (rounding up), batch norm,
    and an activation. ``norm`` are options of the batch norm."""
    conv = nn.Conv2d(in_channels, channels, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels, **norm), activation())


class SqueezeExcitation(nn.Module):
    """Each channel times a gate in (0, 1) that is computed from the means of all channels.

    Hu et al., CVPR 2018, section 3. One implementation serves maps (``BCDF``) and frames (``BCF``).
    The mean takes in whatever frames there are, padded ones too; batches of one length have none.

    Args:
        channels: channels of the input.
        hidden: size between the two layers.
        activation: between the two layers.
        bias: whether the layers have one.
    """

    def __init__(
        self, channels: int, hidden: int, activation: type[nn.Module] = nn.ReLU, bias: bool = True
    ):
        super().__init__()
        squeeze, excite = nn.Linear(channels, hidden, bias), nn.Linear(hidden, channels, bias)
        self.layers = nn.Sequential(squeeze, activation(), excite, nn.Sigmoid())

    def forward(self, maps: Tensor) -> Tensor:
        gates_BC = self.layers(maps.mean(tuple(range(2, maps.dim()))))
        return maps * gates_BC[(...,) + (None,) * (maps.dim() - 2)]


class Res2(nn.Module):
    """Groups of channels, each convolved after the result of the group before was added to it.

    Gao et al., IEEE TPAMI 2021 (https://arxiv.org/abs/1904.01169), equation 1, but in the order of its
    code: the last group is the one that no convolution sees.

    Args:
        branches: one for each group but the last.
        last: what is done to the last group.
        cascade: add the result of the group before; the first block of a stage doesn't, in its code.
    """

    def __init__(self, branches: list[nn.Module], last: nn.Module, cascade: bool = True):
        super().__init__()
        self.branches, self.last, self.cascade = nn.ModuleList(branches), last, cascade

    def forward(self, maps: Tensor) -> Tensor:
        *groups, last = maps.chunk(len(self.branches) + 1, 1)
        found: list[Tensor] = []
        for branch, group in zip(self.branches, groups):
            found.append(branch(group + found[-1] if self.cascade and found else group))
        return torch.cat((*found, self.last(last)), 1)
