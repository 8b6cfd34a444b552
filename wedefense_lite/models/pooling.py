"""From frames to maps, and pooling over time that leaves padded frames out."""

import torch
from torch import Tensor

from wedefense_lite.frontends.base import valid_mask


def as_maps(frames_BFD: Tensor) -> Tensor:
    """``maps_B1DF`` of frames, one channel, in the memory order that convolutions are fastest in."""
    return frames_BFD.transpose(1, 2)[:, None].contiguous(memory_format=torch.channels_last)


def halved(size: int | Tensor, times: int) -> int | Tensor:
    """A length after so many halvings that round up."""
    for _ in range(times):
        size = -(-size // 2)
    return size


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
    mean_BD = (maps_BDF * mask_B1F).sum(2) / count_B1
    squares_BD = ((maps_BDF - mean_BD[..., None]) * mask_B1F).square().sum(2)
    deviation_BD = (squares_BD / (count_B1 - 1).clamp_min(1) + 1e-7).sqrt()
    return torch.cat((mean_BD, deviation_BD), 1)
