"""Localization: a decision for each frame.

Letters: B utterances, T samples, F frames and D features of the front end, G frames with a decision
each, E embedding size, N frames of a batch that have a label, C classes.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

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


class Window(NamedTuple):
    """A window of long audio; all are frame numbers of the utterance.

    The window holds the frames from ``start`` to ``end`` (which may be behind the audio's end) and
    gives the scores from ``first`` to ``last``; ``end`` and ``last`` are exclusive.
    """

    start: int
    end: int
    first: int
    last: int


class Localization(Classification):
    """A decision for each frame: is all of it bona fide?

    A frame is the audio of one embedding of the model: 20 ms for a model of stride 2 over frames of
    10 ms. It is spoof if any of its samples is, the rule ``any_spoofed_sample`` of
    ``wedefense_lite.localization.metrics.frame_labels``. An utterance has as many scores as
    PartialSpoof counts frames: the length of the audio in frames, rounded (half to even). Where the
    front end makes fewer frames, the last score is repeated. Audio longer than a window is scored
    in windows that overlap; each frame gets its score from the window whose middle is nearest.

    Args:
        frontend: waveform to frames.
        model: frames to embeddings; built for the front end's frame dimension.
        head: embedding to logits and loss; built for the model's embedding size.
        spec_augment: masks on the frames in training.
        window_seconds: longest audio that is scored at once.
        overlap_seconds: overlap of neighbouring windows, shorter than a window.
    """

    takes = FrameBackbone

    def __init__(
        self,
        *components,
        window_seconds: PositiveFloat = 30.0,
        overlap_seconds: NonNegativeFloat = 4.0,
        **options,
    ):
        super().__init__(*components, **options)
        if overlap_seconds >= window_seconds:
            raise InputError(
                f"windows of {window_seconds:g} s can't overlap by {overlap_seconds:g} s"
            )
        frame_seconds = self.model.stride * self.frontend.hop_seconds
        self.frame_samples = round(frame_seconds * self.frontend.sample_rate)
        frames_a_second = self.frontend.sample_rate / self.frame_samples
        self.window_frames = math.ceil(window_seconds * frames_a_second)
        overlap_frames = round(overlap_seconds * frames_a_second)
        self.step_frames = max(1, self.window_frames - overlap_frames)

    def embed(self, batch: Batch) -> Tensor:
        """``embedding_BGE`` of a batch, one for each frame of its audio."""
        count = self._count_frames(batch)
        is_padded = (batch.lengths_B < batch.wav_BT.shape[1]).any()
        if is_padded:  # only training batches are, and their crops need no windows
            embedding_BGE, _ = self.model(*self._frames(batch))
            return _repeat_last(embedding_BGE, count)
        embeddings = []
        for window in self._windows(count):
            first_sample = window.start * self.frame_samples
            end_sample = window.end * self.frame_samples
            wav_BT = batch.wav_BT[:, first_sample:end_sample]
            lengths_B = torch.full_like(batch.lengths_B, wav_BT.shape[1])
            audio = batch._replace(wav_BT=wav_BT, lengths_B=lengths_B)
            embedding_BGE, _ = self.model(*self._frames(audio))
            embedding_BGE = _repeat_last(embedding_BGE, window.last - window.start)
            embeddings.append(embedding_BGE[:, window.first - window.start :])
        return torch.cat(embeddings, 1)

    def evaluate_each(self, batch: Batch) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        return self._evaluate_rows(batch)

    def targets(self, batch: Batch) -> Tensor:
        """``labels_BG``, class indices of the frames.

        Raises:
            InputError: the batch has no tracks.
        """
        if batch.track_BT is None:
            raise InputError("localization needs segments: --train_segments and --val_segments")
        labels_BG = by_overlap(batch.track_BT, self.frame_samples)
        return labels_BG[:, : self._count_frames(batch)]

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        frames_BFD, frame_lengths_B = self._frames(batch)
        stride = self.model.stride
        size = math.ceil(frames_BFD.shape[1] / stride)
        labels_BG = self.targets(batch)
        # The front end and the rounded length may differ by a frame or two: pad, or cut (negative).
        labels_BG = F.pad(labels_BG, (0, size - labels_BG.shape[1]), value=NO_LABEL)
        lengths_B = torch.div(frame_lengths_B + stride - 1, stride, rounding_mode="floor")
        labels_BG = labels_BG.where(valid_mask(lengths_B, size), NO_LABEL)
        (embedding_BGE, _), model_loss = self.model.embed_with_loss(
            frames_BFD, frame_lengths_B, labels_BG
        )
        loss, logits_NC, labels_N = masked_loss(self.head, embedding_BGE, labels_BG)
        return loss + model_loss, logits_NC, labels_N

    def _count_frames(self, batch: Batch) -> int:
        return max(1, round(batch.wav_BT.shape[1] / self.frame_samples))

    def _windows(self, count: int) -> list[Window]:
        """Windows over ``count`` frames; the scores of two meet in the middle of their overlap."""
        last_start = max(0, count - self.window_frames)
        starts = [*range(0, last_start, self.step_frames), last_start]
        next_starts = [*starts[1:], None]
        windows = []
        first = 0
        for start, next_start in zip(starts, next_starts):
            end = start + self.window_frames
            last = count if next_start is None else (end + next_start) // 2
            windows.append(Window(start, end, first, last))
            first = last
        return windows


def _repeat_last(embedding_BGE: Tensor, count: int) -> Tensor:
    """Exactly ``count`` frames: the first of them, or all with the last one repeated."""
    positions_G = torch.arange(count, device=embedding_BGE.device)
    return embedding_BGE[:, positions_G.clamp(max=embedding_BGE.shape[1] - 1)]
