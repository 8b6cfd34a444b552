"""SpecAugment."""

import torch
from torch import Tensor, nn


class SpecAugment(nn.Module):
    """Bands of time and of frequency replaced by the utterance's mean (Park et al., Interspeech 2019).

    Every utterance of a batch gets masks of its own. What is left of the frames keeps its gradient,
    so trainable front ends learn on augmented batches too.

    Args:
        p: probability that an utterance is masked.
        time_masks: bands of frames.
        max_frames: longest band; each length is uniform from 0.
        frequency_masks: bands of features.
        max_bins: widest band; each width is uniform from 0.
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
        self.time_masks, self.max_frames = time_masks, max_frames
        self.frequency_masks, self.max_bins = frequency_masks, max_bins

    def forward(self, frames_BFD: Tensor) -> Tensor:
        """``frames_BFD`` with bands masked in training mode, as they are otherwise."""
        if not self.training:
            return frames_BFD
        batch, frames, bins = frames_BFD.shape
        time_BF = _bands(batch, frames, self.time_masks, self.max_frames, frames_BFD.device)
        frequency_BD = _bands(batch, bins, self.frequency_masks, self.max_bins, frames_BFD.device)
        chosen_B11 = torch.rand(batch, 1, 1, device=frames_BFD.device) < self.p
        mask_BFD = (time_BF[:, :, None] | frequency_BD[:, None, :]) & chosen_B11
        return torch.where(mask_BFD, frames_BFD.mean((1, 2), keepdim=True), frames_BFD)


def _bands(batch: int, size: int, count: int, widest: int, device: torch.device) -> Tensor:
    """``mask_BS``: ``count`` random bands of up to ``widest`` positions in each row."""
    widest = min(widest, size)
    width_BN1 = torch.randint(0, widest + 1, (batch, count, 1), device=device)
    start_BN1 = (torch.rand(batch, count, 1, device=device) * (size - width_BN1 + 1)).long()
    position_S = torch.arange(size, device=device)
    return ((position_S >= start_BN1) & (position_S < start_BN1 + width_BN1)).any(1)
