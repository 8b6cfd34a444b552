"""Nes2Net: Res2Net blocks in the groups of a Res2Net.

Tensor suffixes: B utterances of a batch, F frames of the front end, D features of a frame, P
channels over time, U groups in a stack.
"""

import torch
import torch.nn.functional as F
from jsonargparse.typing import PositiveInt
from torch import Tensor, nn

from wedefense_lite.files import InputError
from wedefense_lite.models.base import Backbone
from wedefense_lite.models.blocks import Res2
from wedefense_lite.models.ecapa import SERes2Block, hierarchy
from wedefense_lite.models.pooling import mean_over_time

DILATION = 2  # of every convolution over time in the official code


class Nes2Net(Backbone):
    """A hierarchy of groups of features, each a block with a smaller hierarchy, and the mean.

    Source: Liu et al., "Nes2Net: A lightweight nested architecture for foundation model driven
    speech anti-spoofing" (IEEE TIFS 2025, https://arxiv.org/abs/2504.05657). It agrees with
    https://github.com/Liu-Tianchi/Nes2Net, with mean pooling over time and gates without a squeeze
    (``SE_ratio`` 1). It takes the features of a large encoder's last layer as they are, without a
    projection before it. With the head there are 0.51 M parameters.

    Args:
        input_dim: features of a frame, also the size of the embedding.
        scale: groups, and groups of a group.

    Raises:
        InputError: features that don't make so many groups.
    """

    groups = staticmethod(hierarchy)  # the smaller hierarchy: a subclass has another

    def __init__(self, input_dim: int, scale: PositiveInt = 8):
        super().__init__()
        if input_dim % scale**2:
            raise InputError(
                f"a frame has {input_dim} features, expected a multiple of {scale**2}: "
                f"scale is {scale}"
            )
        self.embed_dim = input_dim
        width = input_dim // scale
        nested = []
        for _ in range(scale - 1):  # the last group has no block
            block = SERes2Block(width, self.groups(width, DILATION, scale), hidden=width)
            nested.append(nn.Sequential(block, nn.ReLU(), nn.BatchNorm1d(width)))
        self.layers = nn.Sequential(Res2(nested, nn.Identity()), nn.BatchNorm1d(input_dim))

    def forward(self, frames_BFD: Tensor, frame_lengths_B: Tensor) -> Tensor:
        hidden_BDF = F.relu(self.layers(frames_BFD.transpose(1, 2)))
        return mean_over_time(hidden_BDF, frame_lengths_B)


class Stack(nn.Module):
    """Groups that are stacked instead of added.

    Each group joins a stack with the groups before it, and a convolution over time goes over the
    whole stack again. The output of a group is a weighted sum of the stack; the weights are learned
    and begin equal.

    Args:
        channels: channels of all groups together.
        dilation: dilation of the convolutions over time.
        scale: groups; the last begins the stack, and passes unchanged.
    """

    def __init__(self, channels: int, dilation: int, scale: int):
        super().__init__()
        width = channels // scale
        self.branches = nn.ModuleList()
        for _ in range(scale - 1):
            # A kernel of 3 frames x 1 group: groups of a stack share it, and do not mix.
            conv = nn.Conv2d(width, width, (3, 1), padding=(dilation, 0), dilation=(dilation, 1))
            self.branches.append(nn.Sequential(conv, nn.ReLU(), nn.BatchNorm2d(width)))
        self.weights = nn.ParameterList()
        for size in range(2, scale + 1):
            self.weights.append(torch.full((size,), 1 / size))

    def forward(self, frames_BPF: Tensor) -> Tensor:
        *groups, last_BPF = frames_BPF.chunk(len(self.weights) + 1, 1)
        stack_BPFU = last_BPF[..., None]
        outputs = []
        for branch, weight_U, group_BPF in zip(self.branches, self.weights, groups):
            stack_BPFU = branch(torch.cat((stack_BPFU, group_BPF[..., None]), 3))
            outputs.append(stack_BPFU @ weight_U)
        return torch.cat((*outputs, last_BPF), 1)


class Nes2NetX(Nes2Net):
    """Nes2Net with groups that are stacked and weighted in the smaller hierarchies.

    Source: section III of the paper of Nes2Net, and
    https://github.com/Liu-Tianchi/Nes2Net_ASVspoof_ITW. With the head, on the 1024 features of
    XLS-R, there are 512,039 parameters. Published, best run (mean) of a fine-tuned XLS-R: 1.73 %
    (1.95 %) EER on ASVspoof 2021 LA, 1.65 % (1.91 %) on DF, 5.52 % (6.60 %) on In-the-Wild.

    Args:
        input_dim: features of a frame, also the size of the embedding.
        scale: groups, and groups of a group.

    Raises:
        InputError: features that don't make so many groups.
    """

    groups = Stack
