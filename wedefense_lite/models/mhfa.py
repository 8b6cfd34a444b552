"""Multi-head factorized attentive pooling.

Tensor suffixes: B utterances of a batch, F frames, D features of a frame, those of all layers one
after the other, H attention heads, O features of a key or a value, E embedding size.
"""

import torch
from jsonargparse.typing import PositiveInt
from torch import Tensor, nn

from wedefense_lite.frontends.base import valid_mask
from wedefense_lite.models.base import Backbone, Embedder, FrameBackbone
from wedefense_lite.models.weighted_sum import LayerSum


class Attention(Embedder):
    """Keys, values and heads of ``MHFA`` and ``FrameMHFA``.

    Args:
        input_dim: features of a frame, those of all layers one after the other.
        num_layers: layers.
        heads: attention heads.
        compressed_dim: features of a key or a value.
    """

    def __init__(self, input_dim: int, num_layers: int, heads: int, compressed_dim: int):
        super().__init__()
        self.num_layers = num_layers
        # "Factorized": keys and values weigh the layers independently.
        key_sum = LayerSum(input_dim, num_layers)
        value_sum = LayerSum(input_dim, num_layers)
        self.key = nn.Sequential(key_sum, nn.Linear(key_sum.dim, compressed_dim))
        self.value = nn.Sequential(value_sum, nn.Linear(value_sum.dim, compressed_dim))
        self.attention = nn.Linear(compressed_dim, heads)

    def attend(self, frames_BFD: Tensor, frame_lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Weights of the frames, ``BHF``, and their values, ``BFO``."""
        mask_BF1 = valid_mask(frame_lengths_B, frames_BFD.shape[1])[..., None]
        # Softmax and sum over hundreds of frames are in float32, under autocast too.
        scores_BFH = self.attention(self.key(frames_BFD)).float()
        scores_BFH = scores_BFH.masked_fill(~mask_BF1, -torch.inf)
        weights_BHF = scores_BFH.softmax(1).transpose(1, 2)
        return weights_BHF, self.value(frames_BFD).float()


class MHFA(Attention, Backbone):
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
        super().__init__(input_dim, num_layers, heads, compressed_dim)
        self.embed_dim = embed_dim
        self.embed = nn.Linear(heads * compressed_dim, embed_dim)

    def forward(self, frames_BFD: Tensor, frame_lengths_B: Tensor) -> Tensor:
        weights_BHF, values_BFO = self.attend(frames_BFD, frame_lengths_B)
        pooled_BHO = weights_BHF @ values_BFO
        return self.embed(pooled_BHO.flatten(1))


class FrameMHFA(Attention, FrameBackbone):
    """``MHFA`` without pooling: the value of each frame times the mean of its weights.

    Weights are shares of one frame among all of its audio, so embeddings get smaller as audio gets
    longer.

    Source: WeDefense, https://github.com/zlin0/wedefense, ``get_frame_emb`` in
    wedefense/models/ssl_backend/MHFA.py at 0d29584, with which it agrees but for the mean over the
    features, as ``MHFA``. No error rate is published with it.

    Args:
        input_dim: features of a frame, those of all layers one after the other.
        num_layers: layers, as in ``MHFA``.
        heads: attention heads.
        compressed_dim: features of a key or a value, and so of an embedding.
    """

    def __init__(
        self,
        input_dim: int,
        num_layers: PositiveInt = 25,
        heads: int = 32,
        compressed_dim: int = 256,
    ):
        super().__init__(input_dim, num_layers, heads, compressed_dim)
        self.embed_dim = compressed_dim

    def forward(self, frames_BFD: Tensor, frame_lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        weights_BHF, embedding_BFE = self.attend(frames_BFD, frame_lengths_B)
        return weights_BHF.mean(1)[..., None] * embedding_BFE, frame_lengths_B
