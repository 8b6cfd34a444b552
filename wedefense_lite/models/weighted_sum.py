"""A weighted sum of an encoder's layers."""

from typing import Literal

import torch
from jsonargparse.typing import PositiveInt
from torch import Tensor, nn

from wedefense_lite.files import InputError
from wedefense_lite.models.base import Backbone
from wedefense_lite.models.pooling import mean_over_time, statistics_pooling


def layer_dim(input_dim: int, num_layers: int) -> int:
    """Features of one layer, when a frame has those of all layers, one after the other.

    Raises:
        InputError: a frame has other features than those of so many layers.
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
        num_layers: how many these are (L).

    Attributes:
        dim: features of a layer (H), and of the sum.
    """

    def __init__(self, input_dim: int, num_layers: int):
        super().__init__()
        self.dim = layer_dim(input_dim, num_layers)
        self.weights_L = nn.Parameter(torch.zeros(num_layers))

    def forward(self, frames_BFD: Tensor) -> Tensor:
        """``frames_BFH``; the softmax of the weights is what each layer counts."""
        return self.weights_L.softmax(0) @ frames_BFD.unflatten(2, (len(self.weights_L), self.dim))


class WeightedSum(Backbone):
    """A weighted sum of the layers, a linear layer, and pooling over time.

    What SUPERB puts on an encoder to classify utterances (Yang et al., "SUPERB: Speech processing universal
    performance benchmark", Interspeech 2021, https://arxiv.org/abs/2105.01051, section 4).

    Args:
        input_dim: features of a frame, those of all layers one after the other.
        num_layers: how many these are: 13 of base encoders and 25 of large ones, the input of the first included.
        embed_dim: size of the linear layer.
        pooling: mean, or mean and standard deviation, which makes the embedding twice as large.

    Raises:
        InputError: a frame has other features than those of so many layers.
    """

    def __init__(
        self,
        input_dim: int,
        num_layers: PositiveInt = 25,
        embed_dim: int = 256,
        pooling: Literal["mean", "statistics"] = "mean",
    ):
        super().__init__()
        self.sum, self.num_layers = LayerSum(input_dim, num_layers), num_layers
        self.project = nn.Linear(self.sum.dim, embed_dim)
        self.pooling, self.embed_dim = pooling, embed_dim * (1 + (pooling == "statistics"))

    def forward(self, frames_BFD: Tensor, frame_lengths_B: Tensor) -> Tensor:
        projected_BEF = self.project(self.sum(frames_BFD)).transpose(1, 2)
        if self.pooling == "mean":
            return mean_over_time(projected_BEF, frame_lengths_B)
        return statistics_pooling(projected_BEF[:, None], frame_lengths_B)
