"""Pre-activation ResNet with attentive statistics, for one-class learning.

Letters: B utterances, F frames, D features of a frame, P channels, E size of the embedding.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from wedefense_lite.files import InputError
from wedefense_lite.models.base import Backbone
from wedefense_lite.models.pooling import SelfAttention, as_maps, halved
from wedefense_lite.models.resnet import stacked

BLOCKS = (2, 2, 2, 2)


class PreActBlock(nn.Module):
    """Batch norm and ReLU before each of two 3 x 3 convolutions (He et al., ECCV 2016).

    A shortcut that changes the size reads the first activation.
    """

    def __init__(self, in_channels: int, channels: int, stride: int):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.stride = stride
        self.shortcut = None
        if stride != 1 or in_channels != channels:
            self.shortcut = nn.Conv2d(in_channels, channels, 1, bias=False)

    def forward(self, maps_BPDF: Tensor) -> Tensor:
        active_BPDF = F.relu(self.bn1(maps_BPDF))
        if self.shortcut is not None:
            # The stride is outside of the convolution for the reason told in ``BasicBlock``.
            maps_BPDF = self.shortcut(active_BPDF[..., :: self.stride, :: self.stride])
        hidden_BPDF = self.conv1(active_BPDF)
        return maps_BPDF + self.conv2(F.relu(self.bn2(hidden_BPDF)))


class PreActResNet(Backbone):
    """ResNet18 with pre-activation, and mean and deviation of frames that attention weights.

    With the defaults it is the network of Zhang, Jiang and Duan, "One-class learning towards
    synthetic voice spoofing detection" (IEEE Signal Processing Letters 2021), agreeing with
    https://github.com/yzyouzhang/AIR-ASVspoof, resnet.py: 12.45 M parameters on 60 LFCC. With
    OC-softmax it has an EER of 2.19 % on ASVspoof 2019 LA eval. The official code adds noise of
    1e-5 to the weighted frames, also in scoring, which is left out here.

    Args:
        input_dim: features of a frame, at least 7.
        channels: channels of the first stage; each further stage doubles them.
        embed_dim: size of the embedding.

    Raises:
        InputError: frames of too few features for the first layer.
    """

    def __init__(self, input_dim: int, channels: int = 64, embed_dim: int = 256):
        super().__init__()
        if input_dim < 7:
            raise InputError(f"PreActResNet got frames of {input_dim} features, expected 7 or more")
        self.embed_dim = embed_dim
        stem = channels // 4
        last = channels * 2 ** (len(BLOCKS) - 1)
        self.conv1 = nn.Conv2d(1, stem, (9, 3), (3, 1), padding=(1, 1), bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.stages = stacked(PreActBlock, stem, channels, BLOCKS)
        self.halvings = len(BLOCKS) - 1
        bands = halved((input_dim + 2 - 9) // 3 + 1, self.halvings)
        # One kernel over all bands that are left.
        self.conv5 = nn.Conv2d(last, last // 2, (bands, 3), padding=(0, 1), bias=False)
        self.bn5 = nn.BatchNorm2d(last // 2)
        self.pool = SelfAttention(last // 2, deviation=True)
        self.embed = nn.Linear(last, embed_dim)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
        nn.init.kaiming_uniform_(self.embed.weight)

    def forward(self, frames_BFD: Tensor, frame_lengths_B: Tensor) -> Tensor:
        maps_BPDF = self.bn1(self.conv1(as_maps(frames_BFD)))
        maps_BPDF = self.stages(F.relu(maps_BPDF))
        # The kernel covers all bands, so that one is left.
        joined_BP1F = F.relu(self.bn5(self.conv5(maps_BPDF)))
        joined_BFP = joined_BP1F[:, :, 0].transpose(1, 2)
        lengths_B = halved(frame_lengths_B, self.halvings)
        pooled_BE = self.pool(joined_BFP, lengths_B)
        return self.embed(pooled_BE)
