"""gMLP over frames, and their mean.

Tensor suffixes: B utterances of a batch, F frames, D features of a frame, those of all layers one
after the other, E embedding size.
"""

from jsonargparse.typing import PositiveInt
from torch import Tensor

from wedefense_lite.models.base import Backbone
from wedefense_lite.models.gmlp import GMLP
from wedefense_lite.models.pooling import mean_over_time
from wedefense_lite.models.weighted_sum import LayerSum


class UtteranceGMLP(Backbone):
    """A weighted sum of the layers, gMLP at one resolution, and the mean over time.

    Source: the layers of Liu et al., "Pay attention to MLPs" (NeurIPS 2021,
    https://arxiv.org/abs/2105.08050), in the form of ``wedefense_lite.models.gmlp.GMLP``,
    which decides for each frame. No EER is published for it. It is simpler than PartialSpoof's
    branch for the utterance, which lies behind the coarsest of six resolutions.

    Args:
        input_dim: features of a frame, those of all layers one after the other.
        num_layers: layers: 13 of base encoders and 25 of large ones, the input of the first
            included.
        width: features of a frame within; the embedding is half as large.
        blocks: layers of gMLP.
        kernel: frames that a gate sees, an odd number.

    Raises:
        InputError: features of a frame that are no multiple of the layers.
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
        self.num_layers = num_layers
        self.sum = LayerSum(input_dim, num_layers)
        # No coarser resolutions: each needs labels of frames, which utterances don't have.
        self.frames = GMLP(self.sum.dim, width=width, layers=blocks, coarser=0, kernel=kernel)
        self.embed_dim = self.frames.embed_dim

    def forward(self, frames_BFD: Tensor, frame_lengths_B: Tensor) -> Tensor:
        embedding_BFE, lengths_B = self.frames(self.sum(frames_BFD), frame_lengths_B)
        return mean_over_time(embedding_BFE.transpose(1, 2), lengths_B)
