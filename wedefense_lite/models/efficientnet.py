"""EfficientNet of a size for spectrograms.

Letters: B utterances, F frames, D features of a frame, P channels.
"""

from functools import partial

from torch import Tensor, nn

from wedefense_lite.models.base import Backbone
from wedefense_lite.models.blocks import SqueezeExcitation, conv_norm
from wedefense_lite.models.pooling import as_maps, halved, mean_over_time

# Expansion, channels, kernel and stride of each block: EfficientNet-B0 with .2 of its depth and .25
# of its width, rounded as in EfficientNet (up to whole blocks, and to multiples of eight channels).
A0 = (
    (1, 8, 3, 1),
    (6, 8, 3, 2),
    (6, 16, 5, 2),
    (6, 24, 3, 2),
    (6, 32, 5, 1),
    (6, 48, 5, 2),
    (6, 80, 3, 1),
)
STEM = 8  # channels of the first layer
TOP = 320  # channels of the last one
swish_conv = partial(conv_norm, activation=nn.SiLU, eps=1e-3, momentum=0.01)


def inverted_bottleneck(
    in_channels: int, expansion: int, channels: int, kernel: int, stride: int
) -> nn.Sequential:
    """Expansion, depthwise convolution, squeeze-and-excitation, projection (Tan and Le, ICML
    2019).
    """
    hidden = in_channels * expansion
    return nn.Sequential(
        swish_conv(in_channels, hidden) if expansion > 1 else nn.Identity(),
        swish_conv(hidden, hidden, kernel, stride, groups=hidden),
        SqueezeExcitation(hidden, max(1, in_channels // 4), nn.SiLU),
        swish_conv(hidden, channels, activation=nn.Identity),
    )


class EfficientNetA0(Backbone):
    """EfficientNet-A0 ("absolute zero"), 0.21 M parameters.

    Only its first block could have a shortcut; it has none in the official code. Convolutions have
    the same padding at both ends. As the trunk of an attention branch network (``EABN``) it has a
    published EER of 0.86 % on ASVspoof 2019 PA eval.

    Source: https://arxiv.org/abs/2012.15695, in the form of the official code of EABN.

    Args:
        input_dim: features of a frame.
        embed_dim: size of the embedding.
        dropout: probability before the last layer.
    """

    def __init__(self, input_dim: int, embed_dim: int = 256, dropout: float = 0.4):
        super().__init__()
        self.embed_dim = embed_dim
        widths = [STEM] + [channels for _, channels, _, _ in A0]
        blocks = []
        for in_channels, (expansion, channels, kernel, stride) in zip(widths, A0):
            blocks.append(inverted_bottleneck(in_channels, expansion, channels, kernel, stride))
        self.layers = nn.Sequential(swish_conv(1, STEM, 3, 2), *blocks, swish_conv(widths[-1], TOP))
        strides = [stride for _, _, _, stride in A0]
        self.halvings = 1 + strides.count(2)
        self.embed = nn.Sequential(nn.Dropout(dropout), nn.Linear(TOP, embed_dim))

    def forward(self, frames_BFD: Tensor, frame_lengths_B: Tensor) -> Tensor:
        maps_BPDF = self.layers(as_maps(frames_BFD))
        lengths_B = halved(frame_lengths_B, self.halvings)
        return self.embed(mean_over_time(maps_BPDF.mean(2), lengths_B))
