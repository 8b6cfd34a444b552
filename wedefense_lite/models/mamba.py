"""Two columns of Mamba blocks, one over the frames, one over the frames in reversed order.

Letters: B utterances, F frames, D features of a frame, E features within.
"""

import torch
import torch.nn.functional as F
from jsonargparse.typing import ClosedUnitInterval, PositiveInt
from torch import Tensor, nn

from wedefense_lite.frontends.base import valid_mask
from wedefense_lite.frontends.encoders import import_transformers
from wedefense_lite.models.base import Backbone

EPSILON = 1e-5  # of all norms


class MambaBlock(nn.Module):
    """Root-mean-square norm and a selective state space, both in a branch beside the frames.

    The state space is that of ``transformers``, which computes it without special kernels, one
    frame after the other.

    Args:
        dim: features within.
        depth: blocks by whose root the weights that leave the branch are divided at first.
    """

    def __init__(self, dim: int, depth: int):
        super().__init__()
        library = import_transformers()
        # The sizes of mamba-ssm: 16 states, a convolution over 4 frames, twice the features.
        config = library.MambaConfig(
            hidden_size=dim, state_size=16, conv_kernel=4, expand=2, num_hidden_layers=1
        )
        self.norm = nn.RMSNorm(dim, eps=EPSILON)
        self.mixer = library.models.mamba.modeling_mamba.MambaMixer(config, layer_idx=0)
        with torch.no_grad():
            self.mixer.out_proj.weight /= depth**0.5

    def forward(self, frames_BFE: Tensor) -> Tensor:
        return frames_BFE + self.mixer(self.norm(frames_BFE))


class MambaColumn(nn.Module):
    """Blocks over frames, what goes in once more behind them, and a weighted mean over time.

    Args:
        dim: features within.
        blocks: number of blocks.
    """

    def __init__(self, dim: int, blocks: int):
        super().__init__()
        self.blocks = nn.ModuleList(MambaBlock(dim, blocks + 1) for _ in range(blocks))
        self.attention = nn.Linear(dim, 1)

    def forward(self, frames_BFE: Tensor, norm: nn.Module, mask_BF1: Tensor) -> Tensor:
        """``mean_BE`` over the valid frames behind a norm, which both columns share."""
        states_BFE = frames_BFE
        for block in self.blocks:
            states_BFE = block(states_BFE)
        states_BFE = norm(frames_BFE + states_BFE)
        scores_BF1 = self.attention(states_BFE).masked_fill(~mask_BF1, -torch.inf)
        return (scores_BF1.softmax(1) * states_BFE).sum(1)


def reverse(frames_BFE: Tensor, lengths_B: Tensor) -> Tensor:
    """Frames of each utterance from its last to its first; the padding stays behind them."""
    count = frames_BFE.shape[1]
    number_F = torch.arange(count, device=frames_BFE.device)
    reversed_BF = lengths_B[:, None] - 1 - number_F
    order_BF = torch.where(valid_mask(lengths_B, count), reversed_BF, number_F)
    return frames_BFE.gather(1, order_BF[..., None].expand_as(frames_BFE))


class DualColumnMamba(Backbone):
    """Bidirectional Mamba over frames that a linear layer reduces: XLSR-Mamba.

    Source: Xiao and Das, "XLSR-Mamba: a dual-column bidirectional state space model for spoofing
    attack detection" (IEEE Signal Processing Letters 2025, https://arxiv.org/abs/2411.10027), in
    the form of https://github.com/swagshaw/XLSR-Mamba. There, what goes into a column is added to
    the input of its sixth block, and the output of that block is not used; so it isn't here, and a
    column has five. Published on a fine-tuned XLS-R: 0.93 % EER on ASVspoof 2021 LA, 1.88 % on DF.

    Blocks are computed in float32, frame by frame: in half of the bits, errors would add up.

    Args:
        input_dim: features of a frame.
        embed_dim: features within, and of the embedding.
        blocks: blocks of each column whose output is used.
        dropout: probability, of frames behind the linear layer and of the embedding.

    Raises:
        InputError: ``transformers`` is missing.
    """

    def __init__(
        self,
        input_dim: int,
        embed_dim: int = 144,
        blocks: PositiveInt = 5,
        dropout: ClosedUnitInterval = 0.1,
    ):
        super().__init__()
        self.embed_dim = embed_dim
        self.project = nn.Linear(input_dim, embed_dim)
        self.norm = nn.BatchNorm2d(1)
        self.ahead = MambaColumn(embed_dim, blocks)
        self.back = MambaColumn(embed_dim, blocks)
        self.column_norm = nn.RMSNorm(embed_dim, eps=EPSILON)
        self.join = nn.Linear(2 * embed_dim, embed_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, frames_BFD: Tensor, frame_lengths_B: Tensor) -> Tensor:
        # A map of one channel, with one mean and deviation for all of its features.
        frames_BFE = F.selu(self.norm(self.project(frames_BFD)[:, None]))[:, 0]
        frames_BFE = self.dropout(frames_BFE).float()
        mask_BF1 = valid_mask(frame_lengths_B, frames_BFE.shape[1])[..., None]
        with torch.autocast(frames_BFE.device.type, enabled=False):
            ahead_BE = self.ahead(frames_BFE, self.column_norm, mask_BF1)
            reversed_BFE = reverse(frames_BFE, frame_lengths_B)
            back_BE = self.back(reversed_BFE, self.column_norm, mask_BF1)
        return self.dropout(self.join(torch.cat((ahead_BE, back_BE), 1)))
