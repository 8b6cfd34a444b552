"""Nes2Net: Res2Net blocks in the groups of a Res2Net."""

import torch
import torch.nn.functional as F
from jsonargparse.typing import PositiveInt
from torch import Tensor, nn

from wedefense_lite.files import InputError
from wedefense_lite.models.base import Backbone
from wedefense_lite.models.blocks import Res2
from wedefense_lite.models.ecapa import SERes2Block, hierarchy
from wedefense_lite.models.pooling import mean_over_time

DILATION = 2


class Nes2Net(Backbone):
    """A hierarchy of groups of features, each a block of a smaller hierarchy, and their mean over time.

    Liu et al., "Nes2Net: A lightweight nested architecture for foundation model driven speech anti-spoofing"
    (IEEE TIFS 2025, https://arxiv.org/abs/2504.05657), as in https://github.com/Liu-Tianchi/Nes2Net with mean
    pooling and gates that are not squeezed (``SE_ratio`` 1). It takes the features of a large encoder's last
    layer as they are, no projection before it; with the head 0.51 M parameters.

    Args:
        input_dim: features of a frame, also the size of the embedding.
        scale: groups, and groups of a group.

    Raises:
        InputError: features that don't make so many groups.
    """

    groups = staticmethod(hierarchy)

    def __init__(self, input_dim: int, scale: PositiveInt = 8):
        super().__init__()
        if input_dim % scale**2:
            raise InputError(
                f"a frame has {input_dim} features, expected a multiple of {scale**2}: scale is {scale}"
            )
        self.embed_dim, width = input_dim, input_dim // scale
        blocks = [
            SERes2Block(width, self.groups(width, DILATION, scale), hidden=width)
            for _ in range(scale - 1)
        ]
        nested = [nn.Sequential(block, nn.ReLU(), nn.BatchNorm1d(width)) for block in blocks]
        self.layers = nn.Sequential(Res2(nested, nn.Identity()), nn.BatchNorm1d(input_dim))

    def forward(self, frames_BFD: Tensor, frame_lengths_B: Tensor) -> Tensor:
        return mean_over_time(F.relu(self.layers(frames_BFD.transpose(1, 2))), frame_lengths_B)


class Stack(nn.Module):
    """Groups that are stacked instead of added: each joins those before it, and all are convolved again.

    What a group gives is a sum of the stack with weights that are learned and begin equal.

    Args:
        channels: of all groups together.
        dilation: of the convolutions over time.
        scale: groups; the last begins the stack, and is given as it is.
    """

    def __init__(self, channels: int, dilation: int, scale: int):
        super().__init__()
        width, options = channels // scale, {"padding": (dilation, 0), "dilation": (dilation, 1)}
        convs = [nn.Conv2d(width, width, (3, 1), **options) for _ in range(scale - 1)]
        self.branches = nn.ModuleList(
            nn.Sequential(conv, nn.ReLU(), nn.BatchNorm2d(width)) for conv in convs
        )
        self.weights = nn.ParameterList(
            torch.full((size,), 1 / size) for size in range(2, scale + 1)
        )

    def forward(self, frames_BCF: Tensor) -> Tensor:
        *groups, last = frames_BCF.chunk(len(self.weights) + 1, 1)
        stack_BWFN, found = last[..., None], []
        for branch, weight_N, group in zip(self.branches, self.weights, groups):
            stack_BWFN = branch(torch.cat((stack_BWFN, group[..., None]), 3))
            found.append(stack_BWFN @ weight_N)
        return torch.cat((*found, last), 1)


class Nes2NetX(Nes2Net):
    """Nes2Net with groups that are stacked and weighted in the smaller hierarchies (section III of the paper).

    As in https://github.com/Liu-Tianchi/Nes2Net_ASVspoof_ITW. With the head, on the 1024 features of XLS-R,
    512,039 parameters. Published, best run (mean) of a fine-tuned XLS-R: 1.73 % (1.95 %) EER on ASVspoof 2021
    LA, 1.65 % (1.91 %) on DF, 5.52 % (6.60 %) on In-the-Wild.

    Args:
        input_dim: features of a frame, also the size of the embedding.
        scale: groups, and groups of a group.

    Raises:
        InputError: features that don't make so many groups.
    """

    groups = Stack
