"""Multi-head factorized attentive pooling."""

import torch
from jsonargparse.typing import PositiveInt
from torch import Tensor, nn

from wedefense_lite.frontends.base import valid_mask
from wedefense_lite.models.base import Backbone
from wedefense_lite.models.weighted_sum import LayerSum


class MHFA(Backbone):
    """Heads that attend to frames by one weighted sum of the layers and gather from another.

    Peng et al., "An attention-based backend allowing efficient fine-tuning of transformer models for speaker
    verification" (SLT 2022, https://arxiv.org/abs/2210.01273), agreeing with the code of WeSpeaker and WeDefense
    (https://github.com/zlin0/wedefense), whose gradient multiplier is the front end's here. With the defaults
    1.25 M parameters on 13 layers of 768 features, 1.32 M on 25 of 1024. Published for WeDefense's utterance
    detection on PartialSpoof eval: EER 1.03 % on fine-tuned WavLM-Large, 0.80 % on fine-tuned XLSR-53, 1.38 %
    on frozen WavLM-Large; there, the mean over the features was taken from each frame.

    Args:
        input_dim: features of a frame, those of all layers one after the other.
        num_layers: how many these are: 13 of base encoders and 25 of large ones, the input of the first included.
        heads: sets of weights for the frames (N).
        compressed_dim: features that keys and values are reduced to (C).
        embed_dim: size of the embedding.

    Raises:
        InputError: a frame has other features than those of so many layers.
    """

    def __init__(
        self,
        input_dim: int,
        num_layers: PositiveInt = 25,
        heads: int = 32,
        compressed_dim: int = 128,
        embed_dim: int = 256,
    ):
        super().__init__()
        self.embed_dim, self.num_layers = embed_dim, num_layers
        sums = [LayerSum(input_dim, num_layers) for _ in range(2)]
        self.key, self.value = (
            nn.Sequential(sum_, nn.Linear(sum_.dim, compressed_dim)) for sum_ in sums
        )
        self.attention = nn.Linear(compressed_dim, heads)
        self.embed = nn.Linear(heads * compressed_dim, embed_dim)

    def forward(self, frames_BFD: Tensor, frame_lengths_B: Tensor) -> Tensor:
        mask_BF1 = valid_mask(frame_lengths_B, frames_BFD.shape[1])[..., None]
        scores_BFN = self.attention(self.key(frames_BFD)).float().masked_fill(~mask_BF1, -torch.inf)
        pooled_BNC = scores_BFN.softmax(1).transpose(1, 2) @ self.value(frames_BFD).float()
        return self.embed(pooled_BNC.flatten(1))
