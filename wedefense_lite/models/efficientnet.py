"""EfficientNet, reduced to what a spectrogram needs."""

from functools import partial

from torch import Tensor, nn

from wedefense_lite.models.base import Backbone
from wedefense_lite.models.blocks import SqueezeExcitation, conv_norm
from wedefense_lite.models.pooling import as_maps, halved, mean_over_time

# Expansion, channels, kernel and stride of the blocks: EfficientNet-B0 with its depth times 0.2 and its
# width times 0.25, rounded as EfficientNet rounds (up to whole blocks; to multiples of eight channels).
A0 = (
    (1, 8, 3, 1),
    (6, 8, 3, 2),
    (6, 16, 5, 2),
    (6, 24, 3, 2),
    (6, 32, 5, 1),
    (6, 48, 5, 2),
    (6, 80, 3, 1),
)
STEM, TOP = 8, 320
swish_conv = partial(conv_norm, activation=nn.SiLU, eps=1e-3, momentum=0.01)


def inverted_bottleneck(
    in_channels: int, expansion: int, channels: int, kernel: int, stride: int
) -> nn.Sequential:
    """Expand, convolve each channel by itself, squeeze and excite, project (Tan and Le, ICML 2019)."""
    hidden = in_channels * expansion
    return nn.Sequential(
        swish_conv(in_channels, hidden) if expansion > 1 else nn.Identity(),
        swish_conv(hidden, hidden, kernel, stride, groups=hidden),
        SqueezeExcitation(hidden, max(1, in_channels // 4), nn.SiLU),
        swish_conv(hidden, channels, activation=nn.Identity),
    )


class EfficientNetA0(Backbone):
    """EfficientNet-A0 ("absolute zero", https://arxiv.org/abs/2012.15695) as EABN's official code makes it.

    0.21 M parameters. Only the first block could have a shortcut, and in that code it has none.
    Convolutions are padded alike at both ends. On ASVspoof 2019 PA eval, as the trunk of an attention
    branch network (:class:`EABN`), it has a published EER of 0.86 %.

    Args:
        input_dim: features of a frame.
        embed_dim: size of the embedding.
        dropout: probability before the last layer.
    """

    def __init__(self, input_dim: int, embed_dim: int = 256, dropout: float = 0.4):
        super().__init__()
        self.embed_dim = embed_dim
        widths = [STEM] + [channels for _, channels, _, _ in A0]
        blocks = [inverted_bottleneck(width, *block) for width, block in zip(widths, A0)]
        self.layers = nn.Sequential(swish_conv(1, STEM, 3, 2), *blocks, swish_conv(widths[-1], TOP))
        self.halvings = 1 + sum(stride == 2 for *_, stride in A0)
        self.embed = nn.Sequential(nn.Dropout(dropout), nn.Linear(TOP, embed_dim))

    def forward(self, frames_BFD: Tensor, frame_lengths_B: Tensor) -> Tensor:
        maps = self.layers(as_maps(frames_BFD))
        return self.embed(mean_over_time(maps.mean(2), halved(frame_lengths_B, self.halvings)))
