"""Conformer with a class token and head tokens.

Letters: B utterances, F frames, D features of a frame, E features within, H attention heads, T
tokens: the class token and the frames, with head tokens where said, O features of a head.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wedefense_lite.files import InputError
from wedefense_lite.frontends.base import valid_mask
from wedefense_lite.models.base import Backbone
from wedefense_lite.models.conformer import ConvolutionModule, FeedForward


def sinusoids(frames: int, dim: int, device: torch.device) -> Tensor:
    """``positions_FE`` of Vaswani et al. (2017), section 3.5: sine and cosine alternate."""
    number_E = torch.arange(dim, device=device)
    rate_E = 10000.0 ** (-2 * (number_E // 2) / dim)
    angle_FE = torch.arange(frames, device=device)[:, None] * rate_E
    return torch.where(number_E % 2 == 0, angle_FE.sin(), angle_FE.cos())


class HeadTokenAttention(nn.Module):
    """Self-attention in which each head has a token made of its features' mean over time.

    The class token gets the mean of the head tokens and of the frames beside its own result.

    Source: Truong et al. (see ``TCM``), after Zheng et al., "Head token for vision transformers"
    (https://arxiv.org/abs/2210.05958).

    Args:
        dim: features of a token.
        heads: attention heads; tokens have as many features for each.
    """

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        head_dim = dim // heads
        self.norm = nn.LayerNorm(dim)
        self.position_HE = nn.Parameter(torch.zeros(heads, dim))
        self.to_heads = nn.Linear(head_dim, dim)
        self.head_norm = nn.LayerNorm(head_dim)
        self.query_key_value = nn.Linear(dim, 3 * dim, bias=False)
        self.project = nn.Linear(dim, dim)

    def forward(self, tokens_BTE: Tensor, mask_BT1: Tensor) -> Tensor:
        """Class token and frames behind the layer."""
        size = tokens_BTE.shape[1]
        normed_BTE = self.norm(tokens_BTE)
        count_B1 = mask_BT1.sum(1)
        mean_BE = (normed_BTE * mask_BT1).sum(1) / count_B1
        mean_BHO = mean_BE.unflatten(1, (self.heads, -1))
        heads_BHHO = self.to_heads(mean_BHO).unflatten(2, (self.heads, -1))
        heads_BHE = F.gelu(self.head_norm(heads_BHHO)).flatten(2) + self.position_HE
        joined_BTE = torch.cat((normed_BTE, heads_BHE), 1)
        is_head_BH = torch.ones_like(heads_BHE[..., 0], dtype=torch.bool)
        allowed_BT = torch.cat((mask_BT1[..., 0], is_head_BH), 1)
        packed_BTE = self.query_key_value(joined_BTE)
        query, key, value = packed_BTE.unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended_BHTO = F.scaled_dot_product_attention(
            query, key, value, attn_mask=allowed_BT[:, None, None]
        )
        output_BTE = self.project(attended_BHTO.transpose(1, 2).flatten(2))
        class_B1E, frames_BFE, heads_BHE = output_BTE.split((1, size - 1, self.heads), 1)
        frame_sum_B1E = (frames_BFE * mask_BT1[:, 1:]).sum(1, keepdim=True)
        frame_mean_B1E = frame_sum_B1E / (count_B1 - 1)[:, None]
        class_B1E = class_B1E + heads_BHE.mean(1, keepdim=True) + frame_mean_B1E
        return tokens_BTE + torch.cat((class_B1E, frames_BFE), 1)


class TCMBlock(nn.Module):
    """Conformer block with head tokens, and a layer norm at its end.

    Args:
        dim: features of a token.
        heads: attention heads.
        kernel: tokens of the convolution, an odd number.
    """

    def __init__(self, dim: int, heads: int, kernel: int):
        super().__init__()
        self.first = FeedForward(dim, 4 * dim)
        self.attention = HeadTokenAttention(dim, heads)
        self.convolution = ConvolutionModule(dim, kernel, expansion=2)
        self.second = FeedForward(dim, 4 * dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, tokens_BTE: Tensor, mask_BT1: Tensor) -> Tensor:
        tokens_BTE = self.attention(self.first(tokens_BTE), mask_BT1)
        tokens_BTE = self.second(self.convolution(tokens_BTE, mask_BT1))
        return self.norm(tokens_BTE)


class TCM(Backbone):
    """Conformer over frames that a linear layer reduces; a class token is the embedding.

    Source: Truong et al., "Temporal-channel modeling in multi-head self-attention for synthetic
    speech detection" (Interspeech 2024, https://arxiv.org/abs/2406.17376), agreeing with
    https://github.com/ductuantruong/tcm_add. Published on a fine-tuned XLS-R, best run: 1.03 % EER
    on ASVspoof 2021 LA, 2.06 % on DF.

    Args:
        input_dim: features of a frame.
        embed_dim: features within, and of the embedding.
        blocks: blocks of the conformer.
        heads: attention heads.
        kernel: tokens of the convolutions, an odd number.

    Raises:
        InputError: features within that are no multiple of the heads.
    """

    def __init__(
        self,
        input_dim: int,
        embed_dim: int = 144,
        blocks: int = 4,
        heads: int = 4,
        kernel: int = 31,
    ):
        super().__init__()
        if embed_dim % heads:
            raise InputError(f"embed_dim is {embed_dim}, expected a multiple of {heads} heads")
        self.embed_dim = embed_dim
        self.project = nn.Linear(input_dim, embed_dim)
        self.norm = nn.BatchNorm2d(1)
        self.class_token = nn.Parameter(torch.rand(1, embed_dim))
        self.blocks = nn.ModuleList(TCMBlock(embed_dim, heads, kernel) for _ in range(blocks))

    def forward(self, frames_BFD: Tensor, frame_lengths_B: Tensor) -> Tensor:
        # A map of one channel, with one mean and deviation for all of its features.
        frames_BFE = F.selu(self.norm(self.project(frames_BFD)[:, None]))[:, 0]
        count = frames_BFE.shape[1]
        frames_BFE = frames_BFE + sinusoids(count, self.embed_dim, frames_BFE.device)
        tokens_BTE = F.pad(frames_BFE, (0, 0, 1, 0))
        is_class_T1 = torch.arange(count + 1, device=frames_BFE.device)[:, None] == 0
        tokens_BTE = torch.where(is_class_T1, self.class_token, tokens_BTE)
        mask_BT1 = valid_mask(frame_lengths_B + 1, count + 1)[..., None]
        for block in self.blocks:
            tokens_BTE = block(tokens_BTE, mask_BT1)
        return tokens_BTE[:, 0]
