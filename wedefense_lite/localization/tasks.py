"""Localization: a decision for each frame."""

import math
from collections.abc import Iterator
from itertools import pairwise

import torch
import torch.nn.functional as F
from jsonargparse.typing import NonNegativeFloat, PositiveFloat
from torch import Tensor

from wedefense_lite.audio.tracks import by_overlap
from wedefense_lite.files import InputError
from wedefense_lite.frontends.base import valid_mask
from wedefense_lite.labels import NO_LABEL
from wedefense_lite.models import FrameBackbone
from wedefense_lite.models.base import masked_loss
from wedefense_lite.systems.batch import Batch
from wedefense_lite.systems.tasks import Classification


class Localization(Classification):
    """A decision for each frame: is all of it bona fide?

    A frame is what the model makes an embedding of, 20 ms where it takes two of 10 ms; it is spoof if any of its
    samples is. There are as many scores as PartialSpoof counts frames: the length of the audio, rounded (half to
    even); those at the end that the front end makes no frame of have the last score. Audio longer than a window
    is scored in windows that overlap, of which each gives the frames that are farther from its ends than from
    those of its neighbours.

    Args:
        frontend: waveform to frames.
        model: frames to embeddings; built for the front end's frame dimension.
        head: embedding to logits and loss; built for the model's embedding size.
        spec_augment: masks on the frames in training.
        window_seconds: the longest audio that is scored at once.
        overlap_seconds: of a window with the next one, less than a window.
    """

    takes = FrameBackbone

    def __init__(
        self,
        *parts,
        window_seconds: PositiveFloat = 30.0,
        overlap_seconds: NonNegativeFloat = 4.0,
        **options,
    ):
        super().__init__(*parts, **options)
        if overlap_seconds >= window_seconds:
            raise InputError(
                f"windows of {window_seconds:g} s can't overlap by {overlap_seconds:g} s"
            )
        self.frame_samples = round(
            self.model.stride * self.frontend.hop_seconds * self.frontend.sample_rate
        )
        frames_a_second = self.frontend.sample_rate / self.frame_samples
        self.window = math.ceil(window_seconds * frames_a_second)
        self.step = max(1, self.window - round(overlap_seconds * frames_a_second))

    def embed(self, batch: Batch) -> Tensor:
        """``embedding_BGE`` of a batch, one for each frame of its audio."""
        size, parts = self.frame_samples, []
        if (batch.lengths_B < batch.wav_BT.shape[1]).any():  # padded, as only training batches are
            return _filled(self.model(*self._frames(batch))[0], self._count(batch))
        for start, end, first, last in self._windows(self._count(batch)):
            wav_BT = batch.wav_BT[:, start * size : end * size]
            lengths_B = torch.full_like(batch.lengths_B, wav_BT.shape[1])
            window = self._frames(batch._replace(wav_BT=wav_BT, lengths_B=lengths_B))
            parts.append(_filled(self.model(*window)[0], last - start)[:, first - start :])
        return torch.cat(parts, 1)

    def evaluate_each(self, batch: Batch) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        return self._evaluate_rows(batch)

    def targets(self, batch: Batch) -> Tensor:
        if batch.track_BT is None:
            raise InputError("localization needs segments: --train_segments and --val_segments")
        return by_overlap(batch.track_BT, self.frame_samples)[:, : self._count(batch)]

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        frames_BFD, frame_lengths_B = self._frames(batch)
        labels_BG, size = self.targets(batch), -(-frames_BFD.shape[1] // self.model.stride)
        labels_BG = F.pad(labels_BG, (0, size - labels_BG.shape[1]), value=NO_LABEL)
        lengths_B = torch.div(
            frame_lengths_B + self.model.stride - 1, self.model.stride, rounding_mode="floor"
        )
        labels_BG = labels_BG.where(valid_mask(lengths_B, size), NO_LABEL)
        (embedding_BGE, _), model_loss = self.model.embed_with_loss(
            frames_BFD, frame_lengths_B, labels_BG
        )
        loss, logits_NC, labels_N = masked_loss(self.head, embedding_BGE, labels_BG)
        return loss + model_loss, logits_NC, labels_N

    def _count(self, batch: Batch) -> int:
        return max(1, round(batch.wav_BT.shape[1] / self.frame_samples))

    def _windows(self, frames: int) -> Iterator[tuple[int, int, int, int]]:
        """Start and end of each window, and of its frames that are kept."""
        starts = [*range(0, frames - self.window, self.step), max(0, frames - self.window)]
        ends = [start + self.window for start in starts]
        edges = [0, *((end + start) // 2 for end, start in zip(ends, starts[1:])), frames]
        return zip(starts, ends, *zip(*pairwise(edges)))


def _filled(embedding_BGE: Tensor, count: int) -> Tensor:
    """So many frames: the last one again, or without it."""
    places_G = torch.arange(count, device=embedding_BGE.device)
    return embedding_BGE[:, places_G.clamp(max=embedding_BGE.shape[1] - 1)]
