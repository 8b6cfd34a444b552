"""Multi-head factorized attentive pooling.

Tensor suffixes: B utterances of a batch, F frames, D features of a frame, those of all layers one
after the other, H attention heads, O features of a key or a value.
"""

import torch
from jsonargparse.typing import PositiveInt
from torch import Tensor, nn

from wedefense_lite.frontends.base import valid_mask
from wedefense_lite.models.base import Backbone
from wedefense_lite.models.weighted_sum import LayerSum


class MHFA(Backbone):
    """Heads that attend to frames by one weighted sum of the layers and pool another.

    Source: Peng et al., "An attention-based backend allowing efficient fine-tuning of transformer
    models for speaker verification" (SLT 2022, https://arxiv.org/abs/2210.01273). It agrees with
    the code of WeSpeaker and WeDefense (https://github.com/zlin0/wedefense), whose gradient
    multiplier belongs to the front end here. With the defaults there are 1.25 M parameters on 13
    layers of 768 features, 1.32 M on 25 of 1024. Published for WeDefense's utterance detection on
    PartialSpoof eval: EER 1.03 % on fine-tuned WavLM-Large, 0.80 % on fine-tuned XLSR-53, 1.38 % on
    frozen WavLM-Large; there, the mean over the features was taken from each frame.

    Args:
        input_dim: features of a frame, those of all layers one after the other.
        num_layers: layers: 13 of base encoders and 25 of large ones, the input of the first
            included.
        heads: attention heads, each with weights of its own for the frames.
        compressed_dim: features of a key or a value.
        embed_dim: size of the embedding.

    Raises:
        InputError: features of a frame that are no multiple of the layers.
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
        self.embed_dim = embed_dim
        self.num_layers = num_layers
        # "Factorized": keys and values weigh the layers independently.
        key_sum = LayerSum(input_dim, num_layers)
        value_sum = LayerSum(input_dim, num_layers)
        self.key = nn.Sequential(key_sum, nn.Linear(key_sum.dim, compressed_dim))
        self.value = nn.Sequential(value_sum, nn.Linear(value_sum.dim, compressed_dim))
        self.attention = nn.Linear(compressed_dim, heads)
        self.embed = nn.Linear(heads * compressed_dim, embed_dim)

    def forward(self, frames_BFD: Tensor, frame_lengths_B: Tensor) -> Tensor:
        mask_BF1 = valid_mask(frame_lengths_B, frames_BFD.shape[1])[..., None]
        # Softmax and sum over hundreds of frames are in float32, under autocast too.
        scores_BFH = self.attention(self.key(frames_BFD)).float()
        scores_BFH = scores_BFH.masked_fill(~mask_BF1, -torch.inf)
        weights_BHF = scores_BFH.softmax(1).transpose(1, 2)
        values_BFO = self.value(frames_BFD).float()
        pooled_BHO = weights_BHF @ values_BFO
        return self.embed(pooled_BHO.flatten(1))
