"""Frames as maps, and pooling over time without padded frames.

Letters: B utterances, F frames, D features of a frame, P channels.
"""

import torch
from torch import Tensor, nn

from wedefense_lite.frontends.base import valid_mask


def as_maps(frames_BFD: Tensor) -> Tensor:
    """``maps_B1DF`` of one channel, in the memory order in which convolutions are fastest."""
    return frames_BFD.transpose(1, 2)[:, None].contiguous(memory_format=torch.channels_last)


def halved(size: int | Tensor, times: int) -> int | Tensor:
    """Length after a number of halvings that round up, as strided convolutions do."""
    for _ in range(times):
        size = -(-size // 2)
    return size


def mean_over_time(values_BPF: Tensor, lengths_B: Tensor) -> Tensor:
    """``mean_BP`` over the valid frames of each utterance, which are 1 or more, in float32."""
    mask_B1F = valid_mask(lengths_B, values_BPF.shape[2])[:, None]
    return (values_BPF.float() * mask_B1F).sum(2) / lengths_B[:, None]


def statistics_pooling(maps_BPDF: Tensor, lengths_B: Tensor, floor: float | None = None) -> Tensor:
    """Mean and standard deviation of each channel and feature over the valid frames.

    The variance is the unbiased one.

    Source: temporal statistics pooling of x-vectors (Snyder et al., ICASSP 2018).

    Args:
        maps_BPDF: feature maps.
        lengths_B: valid frames of each utterance, 1 or more.
        floor: smallest variance before the root; None adds 1e-7 to each, as WeSpeaker does.

    Returns:
        statistics ``(B, 2 x channels x features)``, the means first.
    """
    maps_BDF = maps_BPDF.flatten(1, 2).float()
    mask_B1F = valid_mask(lengths_B, maps_BDF.shape[2])[:, None]
    count_B1 = lengths_B[:, None]
    mean_BD = mean_over_time(maps_BDF, lengths_B)
    squares_BD = ((maps_BDF - mean_BD[..., None]) * mask_B1F).square().sum(2)
    variance_BD = squares_BD / (count_B1 - 1).clamp_min(1)
    variance_BD = variance_BD + 1e-7 if floor is None else variance_BD.clamp_min(floor)
    return torch.cat((mean_BD, variance_BD.sqrt()), 1)


class SelfAttention(nn.Module):
    """Mean of frames, weighted by a softmax over time of the tanh of a learned product.

    Source: the pooling of Monteiro, Alam and Falk, "Generalized end-to-end
    detection of spoofing attacks to automatic speaker recognizers" (Computer Speech & Language
    2020), as AIR-ASVspoof, NII and BAM have it.

    Args:
        dim: features of a frame.
        deviation: add the unbiased deviation of the frames times their weights.
    """

    def __init__(self, dim: int, deviation: bool = False):
        super().__init__()
        weight_1D = nn.init.kaiming_uniform_(torch.empty(1, dim))
        self.weight_D = nn.Parameter(weight_1D[0])
        self.deviation = deviation

    def forward(self, frames_BFD: Tensor, lengths_B: Tensor) -> Tensor:
        """``BD``, or twice as wide; padded frames have weight 0."""
        mask_BF = valid_mask(lengths_B, frames_BFD.shape[1])
        frames_BFD = frames_BFD.float()
        scores_BF = torch.tanh(frames_BFD @ self.weight_D).masked_fill(~mask_BF, -torch.inf)
        weighted_BFD = scores_BF.softmax(1)[..., None] * frames_BFD
        if not self.deviation:
            return weighted_BFD.sum(1)
        count_B1 = lengths_B[:, None]
        sum_BD = weighted_BFD.sum(1)
        centred_BFD = (weighted_BFD - (sum_BD / count_B1)[:, None]) * mask_BF[..., None]
        variance_BD = centred_BFD.square().sum(1) / (count_B1 - 1).clamp_min(1)
        # At zero the root has no finite slope.
        return torch.cat((sum_BD, variance_BD.clamp_min(1e-12).sqrt()), 1)


class AttentiveStatistics(nn.Module):
    """Mean and standard deviation over time, weighted by attention for each channel.

    Source: channel- and context-dependent statistics pooling (Desplanques et al., Interspeech 2020,
    section 3.1).

    Args:
        channels: channels of the frames.
        hidden: size of the inner layer of the attention.
        global_context: attend to mean and deviation of the whole utterance beside each frame.
        between: activation between the layers of the attention; tanh by default.
        floor: smallest variance of a weighted channel, before the root.
        context_floor: ``floor`` of the statistics in the global context.
    """

    def __init__(
        self,
        channels: int,
        hidden: int = 128,
        global_context: bool = True,
        between: nn.Module | None = None,
        floor: float = 1e-7,
        context_floor: float | None = None,
    ):
        super().__init__()
        self.global_context = global_context
        self.floor = floor
        self.context_floor = context_floor
        first = nn.Conv1d(3 * channels if global_context else channels, hidden, 1)
        self.attention = nn.Sequential(first, between or nn.Tanh(), nn.Conv1d(hidden, channels, 1))

    def forward(self, frames_BPF: Tensor, lengths_B: Tensor) -> Tensor:
        """Statistics ``(B, 2 x channels)``, the means first; padded frames have weight 0."""
        num_frames = frames_BPF.shape[2]
        context_BPF = frames_BPF
        if self.global_context:
            statistics = statistics_pooling(frames_BPF[:, None], lengths_B, self.context_floor)
            statistics = statistics.to(frames_BPF.dtype)
            repeated = statistics[..., None].expand(-1, -1, num_frames)
            context_BPF = torch.cat((frames_BPF, repeated), 1)
        mask_B1F = valid_mask(lengths_B, num_frames)[:, None]
        scores_BPF = self.attention(context_BPF).float().masked_fill(~mask_B1F, -torch.inf)
        weights_BPF = scores_BPF.softmax(2)
        mean_BP1 = (weights_BPF * frames_BPF).sum(2, keepdim=True)
        variance_BP = (weights_BPF * (frames_BPF - mean_BP1).square()).sum(2)
        # At zero the root has no finite slope.
        deviation_BP = variance_BP.clamp_min(self.floor).sqrt()
        return torch.cat((mean_BP1[..., 0], deviation_BP), 1)
