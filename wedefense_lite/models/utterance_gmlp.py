"""gMLP over frames, and their mean."""

from jsonargparse.typing import PositiveInt
from torch import Tensor

from wedefense_lite.models.base import Backbone
from wedefense_lite.models.gmlp import GMLP
from wedefense_lite.models.pooling import mean_over_time
from wedefense_lite.models.weighted_sum import LayerSum


class UtteranceGMLP(Backbone):
    """A weighted sum of the layers, gMLP at one resolution, and the mean over time.

    The layers of Liu et al., "Pay attention to MLPs" (NeurIPS 2021, https://arxiv.org/abs/2105.08050), in the form
    of :class:`~wedefense_lite.models.gmlp.GMLP`, which decides for each frame. No EER is published for it; it
    is simpler than PartialSpoof's branch for the utterance, which lies behind the coarsest of six resolutions.

    Args:
        input_dim: features of a frame, those of all layers one after the other.
        num_layers: how many these are: 13 of base encoders and 25 of large ones, the input of the first included.
        width: features of a frame within; the embedding is half as large.
        blocks: layers of gMLP.
        kernel: frames that a gate sees, an odd number.

    Raises:
        InputError: a frame has other features than those of so many layers.
    """

    def __init__(
        self,
        input_dim: int,
        num_layers: PositiveInt = 25,
        width: int = 256,
        blocks: int = 5,
        kernel: int = 63,
    ):
        super().__init__()
        self.sum, self.num_layers = LayerSum(input_dim, num_layers), num_layers
        self.frames = GMLP(self.sum.dim, width=width, layers=blocks, coarser=0, kernel=kernel)
        self.embed_dim = self.frames.embed_dim

    def forward(self, frames_BFD: Tensor, frame_lengths_B: Tensor) -> Tensor:
        embedding_BFE, lengths_B = self.frames(self.sum(frames_BFD), frame_lengths_B)
        return mean_over_time(embedding_BFE.transpose(1, 2), lengths_B)
