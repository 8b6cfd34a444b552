"""Sensitive layer selection."""

import torch
import torch.nn.functional as F
from jsonargparse.typing import PositiveInt
from torch import Tensor, nn

from wedefense_lite.models.base import Backbone
from wedefense_lite.models.pooling import mean_over_time
from wedefense_lite.models.weighted_sum import layer_dim


class SLS(Backbone):
    """The sum of all layers, each times a gate in (0, 1) that its mean over time decides.

    Zhang, Wen and Hu, "Audio deepfake detection with self-supervised XLS-R and SLS classifier" (ACM Multimedia
    2024), as in https://github.com/QiShanZhang/SLSforASVspoof-2021-DF. On XLS-R, with the head, 23.4 M
    parameters; published, as best run (mean): 2.87 % (3.88 %) EER on ASVspoof 2021 LA, 1.92 % (2.09 %) on DF.

    Any length works. There, what is left of 201 frames after maxima over three of them and three features is
    all given to a linear layer, so that audio has 64,600 samples; here maxima over time leave ``pooled_frames``
    of any number, and just these of 201. There, too, the logits pass a SELU and a log softmax, and the input of
    the first layer is no layer (24 instead of 25).

    Args:
        input_dim: features of a frame, those of all layers one after the other.
        num_layers: how many these are (L): 13 of base encoders and 25 of large ones, the input of the first included.
        embed_dim: size of the embedding.
        pooled_frames: what the frames are reduced to.

    Raises:
        InputError: a frame has other features than those of so many layers.
    """

    def __init__(
        self,
        input_dim: int,
        num_layers: PositiveInt = 25,
        embed_dim: int = 1024,
        pooled_frames: PositiveInt = 67,
    ):
        super().__init__()
        self.num_layers, self.embed_dim, self.pooled_frames = num_layers, embed_dim, pooled_frames
        dim = layer_dim(input_dim, num_layers)
        self.gate, self.norm = nn.Linear(dim, 1), nn.BatchNorm2d(1)
        self.embed = nn.Linear(pooled_frames * (dim // 3), embed_dim)

    def forward(self, frames_BFD: Tensor, frame_lengths_B: Tensor) -> Tensor:
        layers = self.num_layers, -1
        mean_BD = mean_over_time(frames_BFD.transpose(1, 2), frame_lengths_B)
        gates_BL = self.gate(mean_BD.unflatten(1, layers)).sigmoid()[..., 0]
        mixed_BFH = torch.einsum("bl,bflh->bfh", gates_BL, frames_BFD.unflatten(2, layers))
        maps_BFP = F.max_pool1d(F.selu(self.norm(mixed_BFH[:, None]))[:, 0], 3)
        # Each utterance by itself, as their frames are divided by their own number.
        rows = zip(maps_BFP.transpose(1, 2), frame_lengths_B.tolist())
        pooled_BPF = torch.stack(
            [F.adaptive_max_pool1d(row[:, :length], self.pooled_frames) for row, length in rows]
        )
        return F.selu(self.embed(pooled_BPF.transpose(1, 2).flatten(1)))
