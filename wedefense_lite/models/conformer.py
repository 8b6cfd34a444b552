"""Parts of conformers.

Letters: B utterances, F frames, E features of a frame.
"""

import torch.nn.functional as F
from torch import Tensor, nn


class FeedForward(nn.Module):
    """Layer norm, two linear layers with SiLU between them; half of the result is added.

    Source: Gulati et al., "Conformer: Convolution-augmented transformer for speech recognition"
    (Interspeech 2020), figure 4.

    Args:
        dim: features of a frame.
        hidden: size between the two layers.
        dropout: probability behind each layer.
    """

    def __init__(self, dim: int, hidden: int, dropout: float = 0.0):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.expand = nn.Linear(dim, hidden)
        self.reduce = nn.Linear(hidden, dim)
        self.drop = nn.Dropout(dropout)

    def forward(self, frames_BFE: Tensor) -> Tensor:
        hidden_BFE = self.drop(F.silu(self.expand(self.norm(frames_BFE))))
        return frames_BFE + 0.5 * self.drop(self.reduce(hidden_BFE))


class ConvolutionModule(nn.Module):
    """Layer norm, a gated linear unit, a depthwise convolution over time, batch norm, SiLU and a
    linear layer, added to the input (figure 2 there).

    Args:
        dim: features of a frame.
        kernel: frames of the convolution, an odd number.
        expansion: channels of the convolution, over the features of a frame.
        dropout: probability at the end.
    """

    def __init__(self, dim: int, kernel: int, expansion: int = 1, dropout: float = 0.0):
        super().__init__()
        channels = expansion * dim
        self.norm = nn.LayerNorm(dim)
        self.enter = nn.Conv1d(dim, 2 * channels, 1)
        self.conv = nn.Conv1d(channels, channels, kernel, padding=kernel // 2, groups=channels)
        self.batch_norm = nn.BatchNorm1d(channels)
        self.leave = nn.Conv1d(channels, dim, 1)
        self.drop = nn.Dropout(dropout)

    def forward(self, frames_BFE: Tensor, mask_BF1: Tensor) -> Tensor:
        """Frames behind the module; ``mask_BF1`` is false for padded frames."""
        gated_BEF = F.glu(self.enter(self.norm(frames_BFE).transpose(1, 2)), 1)
        # Padded frames are not zero: the norm and the layer have biases.
        convolved_BEF = self.conv(gated_BEF * mask_BF1.transpose(1, 2))
        hidden_BEF = self.leave(F.silu(self.batch_norm(convolved_BEF)))
        return frames_BFE + self.drop(hidden_BEF).transpose(1, 2)
