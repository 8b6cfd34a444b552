"""SpecAugment.

Letters: B utterances, F frames, D features of a frame.
"""

import torch
from torch import Tensor, nn


class SpecAugment(nn.Module):
    """Bands of time and of frequency replaced by the mean of the utterance.

    Each utterance of a batch has masks of its own. Values outside of the bands keep their gradient,
    so trainable front ends learn on augmented batches too.

    Source: Park et al., "SpecAugment", Interspeech 2019, without time warping.

    Args:
        p: probability that an utterance is masked.
        time_masks: number of bands of frames.
        max_frames: frames of the longest band; lengths are uniform from 0.
        frequency_masks: number of bands of features.
        max_bins: features of the widest band; widths are uniform from 0.
    """

    def __init__(
        self,
        p: float = 0.6,
        time_masks: int = 1,
        max_frames: int = 10,
        frequency_masks: int = 1,
        max_bins: int = 8,
    ):
        super().__init__()
        self.p = p
        self.time_masks = time_masks
        self.max_frames = max_frames
        self.frequency_masks = frequency_masks
        self.max_bins = max_bins

    def forward(self, frames_BFD: Tensor) -> Tensor:
        """``frames_BFD``, with masked bands in training mode only."""
        if not self.training:
            return frames_BFD
        batch, frames, bins = frames_BFD.shape
        time_BF = _bands(batch, frames, self.time_masks, self.max_frames, frames_BFD.device)
        frequency_BD = _bands(batch, bins, self.frequency_masks, self.max_bins, frames_BFD.device)
        is_masked_B11 = torch.rand(batch, 1, 1, device=frames_BFD.device) < self.p
        mask_BFD = (time_BF[:, :, None] | frequency_BD[:, None, :]) & is_masked_B11
        return torch.where(mask_BFD, frames_BFD.mean((1, 2), keepdim=True), frames_BFD)


class NestedSpecAugment(SpecAugment):
    """A band of time and one of frequency replaced by zero, each with a probability of its own.

    A band is a random part of a random longer one, so short ones are more frequent than long ones.

    Source: local/specaug.py of https://github.com/AmirmohammadRostami/ASV-anti-spoofing-with-EABN
    at 9afcdd9. Its names of the two kinds are the other way round for the features that it reads,
    which lie as features by frames.

    Args:
        p: probability of each band.
        max_frames: longer bands of time have from a fourth of it to one less than it.
        max_bins: longer bands of frequency have from a third of it to one less than it.
    """

    def __init__(self, p: float = 0.25, max_frames: int = 80, max_bins: int = 20):
        super().__init__(p, max_frames=max_frames, max_bins=max_bins)

    def forward(self, frames_BFD: Tensor) -> Tensor:
        """``frames_BFD``, with masked bands in training mode only."""
        if not self.training:
            return frames_BFD
        batch, frames, bins = frames_BFD.shape
        device = frames_BFD.device
        time_BF = self._nested(batch, frames, self.max_frames // 4, self.max_frames, device)
        frequency_BD = self._nested(batch, bins, self.max_bins // 3, self.max_bins, device)
        return frames_BFD.masked_fill(time_BF[:, :, None] | frequency_BD[:, None, :], 0.0)

    def _nested(
        self, batch: int, size: int, shortest: int, widest: int, device: torch.device
    ) -> Tensor:
        """Mask ``(batch, size)`` with a band in some rows."""
        outer_B1 = torch.randint(shortest, widest, (batch, 1), device=device).clamp(max=size)
        start_B1 = (torch.rand(batch, 1, device=device) * (size - outer_B1)).long()
        width_B1 = (torch.rand(batch, 1, device=device) * outer_B1).long()
        is_masked_B1 = torch.rand(batch, 1, device=device) < self.p
        position = torch.arange(size, device=device)
        in_band = (position >= start_B1) & (position < start_B1 + width_B1)
        return in_band & is_masked_B1


def _bands(batch: int, size: int, count: int, widest: int, device: torch.device) -> Tensor:
    """Mask ``(batch, size)`` with ``count`` random bands of up to ``widest`` positions in each
    row.
    """
    widest = min(widest, size)
    width = torch.randint(0, widest + 1, (batch, count, 1), device=device)
    start = (torch.rand(batch, count, 1, device=device) * (size - width + 1)).long()
    position = torch.arange(size, device=device)
    in_band = (position >= start) & (position < start + width)
    return in_band.any(1)
