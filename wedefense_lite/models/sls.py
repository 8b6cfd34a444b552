"""Sensitive layer selection.

Tensor suffixes: B utterances of a batch, F frames, D features of a frame, those of all layers one
after the other, L layers of an encoder, J features of one layer, R a third of these.
"""

import torch
import torch.nn.functional as F
from jsonargparse.typing import PositiveInt
from torch import Tensor, nn

from wedefense_lite.models.base import Backbone
from wedefense_lite.models.pooling import mean_over_time
from wedefense_lite.models.weighted_sum import layer_dim

POOLED_FEATURES = 3  # features of a maximum, as in the official code


class SLS(Backbone):
    """The sum of all layers, each times a gate in (0, 1) that its mean over time decides.

    Source: Zhang, Wen and Hu, "Audio deepfake detection with self-supervised XLS-R and SLS
    classifier" (ACM Multimedia 2024), as in
    https://github.com/QiShanZhang/SLSforASVspoof-2021-DF. On XLS-R there are 23.4 M parameters
    with the head. Published, as best run (mean): 2.87 % (3.88 %) EER on ASVspoof 2021 LA, 1.92 %
    (2.09 %) on DF.

    It agrees with that code for 64,600 samples, on the outputs of 24 layers without a final norm
    (``layers: 24`` of the front end) and with SELU on the logits (``selu`` of ``CrossEntropy``).
    Here any length works: the official code takes maxima over three frames and three features, and
    gives all 67 that are left of 201 frames to a linear layer; here maxima over time leave
    ``pooled_frames`` of any number of frames, and the same ones of 201.

    Args:
        input_dim: features of a frame, those of all layers one after the other.
        num_layers: layers: 24 of large encoders as published, 25 with the input of the first.
        embed_dim: size of the embedding.
        pooled_frames: frames that the maxima over time leave.

    Raises:
        InputError: features of a frame that are no multiple of the layers.
    """

    def __init__(
        self,
        input_dim: int,
        num_layers: PositiveInt = 25,
        embed_dim: int = 1024,
        pooled_frames: PositiveInt = 67,
    ):
        super().__init__()
        self.num_layers = num_layers
        self.embed_dim = embed_dim
        self.pooled_frames = pooled_frames
        self.dim = layer_dim(input_dim, num_layers)
        self.gate = nn.Linear(self.dim, 1)
        self.norm = nn.BatchNorm2d(1)
        self.embed = nn.Linear(pooled_frames * (self.dim // POOLED_FEATURES), embed_dim)

    def forward(self, frames_BFD: Tensor, frame_lengths_B: Tensor) -> Tensor:
        mean_BD = mean_over_time(frames_BFD.transpose(1, 2), frame_lengths_B)
        mean_BLJ = mean_BD.unflatten(1, (self.num_layers, self.dim))
        gates_BL = self.gate(mean_BLJ).sigmoid()[..., 0]
        layers_BFLJ = frames_BFD.unflatten(2, (self.num_layers, self.dim))
        sum_BFJ = torch.einsum("bl,bflj->bfj", gates_BL, layers_BFLJ)
        # The sum is a map of one channel, with one mean and deviation for all of its features.
        normed_BFJ = F.selu(self.norm(sum_BFJ[:, None]))[:, 0]
        maxima_BRF = F.max_pool1d(normed_BFJ, POOLED_FEATURES).transpose(1, 2)
        pooled = []
        # Each utterance by itself: its frames are divided by their own number, without padding.
        for maxima_RF, length in zip(maxima_BRF, frame_lengths_B.tolist()):
            pooled.append(F.adaptive_max_pool1d(maxima_RF[:, :length], self.pooled_frames))
        pooled_BFR = torch.stack(pooled).transpose(1, 2)
        return F.selu(self.embed(pooled_BFR.flatten(1)))
