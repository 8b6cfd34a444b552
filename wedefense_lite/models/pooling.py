"""From frames to maps, and pooling over time that leaves padded frames out."""

import torch
from torch import Tensor, nn

from wedefense_lite.frontends.base import valid_mask


def as_maps(frames_BFD: Tensor) -> Tensor:
    """``maps_B1DF`` of frames, one channel, in the memory order that convolutions are fastest in."""
    return frames_BFD.transpose(1, 2)[:, None].contiguous(memory_format=torch.channels_last)


def halved(size: int | Tensor, times: int) -> int | Tensor:
    """A length after so many halvings that round up."""
    for _ in range(times):
        size = -(-size // 2)
    return size


def mean_over_time(values_BCF: Tensor, lengths_B: Tensor) -> Tensor:
    """``mean_BC`` over the valid frames, at least 1, of each utterance, in float32."""
    mask_B1F = valid_mask(lengths_B, values_BCF.shape[2])[:, None]
    return (values_BCF.float() * mask_B1F).sum(2) / lengths_B[:, None]


def statistics_pooling(maps_BCDF: Tensor, lengths_B: Tensor) -> Tensor:
    """Mean and standard deviation over the valid frames of each channel and feature.

    The temporal statistics pooling of x-vectors (Snyder et al., ICASSP 2018), with the unbiased
    variance and 1e-7 under the root.

    Args:
        maps_BCDF: batch, channels, features, frames.
        lengths_B: valid frames of each utterance, at least 1.

    Returns:
        ``stats_BS`` with S = 2 x channels x features, the means first.
    """
    maps_BDF = maps_BCDF.flatten(1, 2).float()
    mask_B1F = valid_mask(lengths_B, maps_BDF.shape[2])[:, None]
    count_B1 = lengths_B[:, None]
    mean_BD = mean_over_time(maps_BDF, lengths_B)
    squares_BD = ((maps_BDF - mean_BD[..., None]) * mask_B1F).square().sum(2)
    deviation_BD = (squares_BD / (count_B1 - 1).clamp_min(1) + 1e-7).sqrt()
    return torch.cat((mean_BD, deviation_BD), 1)


class AttentiveStatistics(nn.Module):
    """Mean and standard deviation over time, every channel with weights of its own for the frames.

    Channel- and context-dependent statistics pooling of Desplanques et al. (Interspeech 2020, section 3.1).

    Args:
        channels: of the frames.
        hidden: size of the attention's inner layer.
        global_context: the attention sees mean and deviation of the whole utterance beside each frame.
        between: what is done between the layers of the attention; by default tanh.
    """

    def __init__(
        self,
        channels: int,
        hidden: int = 128,
        global_context: bool = True,
        between: nn.Module | None = None,
    ):
        super().__init__()
        self.global_context = global_context
        first = nn.Conv1d(3 * channels if global_context else channels, hidden, 1)
        self.attention = nn.Sequential(first, between or nn.Tanh(), nn.Conv1d(hidden, channels, 1))

    def forward(self, frames_BCF: Tensor, lengths_B: Tensor) -> Tensor:
        """``stats_BS`` with S = 2 x channels, the means first; padded frames have weight 0."""
        seen = frames_BCF
        if self.global_context:
            context_BS1 = statistics_pooling(frames_BCF[:, None], lengths_B)[..., None].to(
                seen.dtype
            )
            seen = torch.cat((seen, context_BS1.expand(-1, -1, seen.shape[2])), 1)
        mask_B1F = valid_mask(lengths_B, seen.shape[2])[:, None]
        weights_BCF = self.attention(seen).float().masked_fill(~mask_B1F, -torch.inf).softmax(2)
        mean_BC1 = (weights_BCF * frames_BCF).sum(2, keepdim=True)
        variance_BC = (weights_BCF * (frames_BCF - mean_BC1).square()).sum(2)
        return torch.cat((mean_BC1[..., 0], variance_BC.clamp_min(1e-10).sqrt()), 1)
