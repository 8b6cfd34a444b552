"""A weighted sum of an encoder's layers.

Tensor suffixes: B utterances of a batch, F frames, D features of a frame, those of all layers one
after the other, L layers of an encoder, J features of one layer, E embedding size.
"""

from typing import Literal

import torch
from jsonargparse.typing import PositiveInt
from torch import Tensor, nn

from wedefense_lite.files import InputError
from wedefense_lite.models.base import Backbone
from wedefense_lite.models.pooling import mean_over_time, statistics_pooling


def layer_dim(input_dim: int, num_layers: int) -> int:
    """Features of one layer, when a frame has those of all layers, one after the other.

    Args:
        input_dim: features of a frame.
        num_layers: layers.

    Raises:
        InputError: features of a frame that are no multiple of the layers.
    """
    if input_dim % num_layers:
        raise InputError(
            f"num_layers is {num_layers}, but a frame has {input_dim} features, no multiple of it"
        )
    return input_dim // num_layers


class LayerSum(nn.Module):
    """The mean of all layers, with weights that are learned and begin equal.

    Args:
        input_dim: features of a frame, those of all layers one after the other (D).
        num_layers: layers (L).

    Attributes:
        dim: features of a layer (J), and of the sum.
    """

    def __init__(self, input_dim: int, num_layers: int):
        super().__init__()
        self.dim = layer_dim(input_dim, num_layers)
        self.weights_L = nn.Parameter(torch.zeros(num_layers))  # equal shares after the softmax

    def forward(self, frames_BFD: Tensor) -> Tensor:
        """The sum of the layers, ``BFJ``, with the softmax of the weights as their shares."""
        shares_L = self.weights_L.softmax(0)
        layers_BFLJ = frames_BFD.unflatten(2, (len(self.weights_L), self.dim))
        return shares_L @ layers_BFLJ


class WeightedSum(Backbone):
    """A weighted sum of the layers, a linear layer, and pooling over time.

    Source: the model that SUPERB puts on an encoder to classify utterances (Yang et al., "SUPERB:
    Speech processing universal performance benchmark", Interspeech 2021,
    https://arxiv.org/abs/2105.01051, section 4).

    Args:
        input_dim: features of a frame, those of all layers one after the other.
        num_layers: layers: 13 of base encoders and 25 of large ones, the input of the first
            included.
        embed_dim: size of the linear layer.
        pooling: mean, or mean and standard deviation, which makes the embedding twice as large.

    Raises:
        InputError: features of a frame that are no multiple of the layers.
    """

    def __init__(
        self,
        input_dim: int,
        num_layers: PositiveInt = 25,
        embed_dim: int = 256,
        pooling: Literal["mean", "statistics"] = "mean",
    ):
        super().__init__()
        self.num_layers = num_layers
        self.sum = LayerSum(input_dim, num_layers)
        self.project = nn.Linear(self.sum.dim, embed_dim)
        self.pooling = pooling
        self.embed_dim = 2 * embed_dim if pooling == "statistics" else embed_dim

    def forward(self, frames_BFD: Tensor, frame_lengths_B: Tensor) -> Tensor:
        projected_BEF = self.project(self.sum(frames_BFD)).transpose(1, 2)
        if self.pooling == "mean":
            return mean_over_time(projected_BEF, frame_lengths_B)
        # Statistics are those of maps ``BPDF``: here one channel, with the embedding as its bands.
        return statistics_pooling(projected_BEF[:, None], frame_lengths_B)
