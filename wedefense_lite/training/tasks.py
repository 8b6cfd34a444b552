"""Tasks: the one module that is trained, saved and wrapped for distributed training."""

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Tensor, nn

from wedefense_lite.dataset.audio import few
from wedefense_lite.dataset.loader import Batch
from wedefense_lite.files import InputError
from wedefense_lite.frontends import Frontend, SpecAugment
from wedefense_lite.heads import Head
from wedefense_lite.models import Backbone


class Task(nn.Module, ABC):
    """A system and what it is trained for.

    Attributes:
        head: turns what :meth:`embed` gives into logits.
    """

    head: Head

    @abstractmethod
    def embed(self, batch: Batch) -> Tensor:
        """What the head needs, one row an utterance."""

    @abstractmethod
    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """``(loss, logits_BC)`` of a labelled batch: the loss to step on, a mean over utterances."""


class Detection(Task):
    """One decision an utterance: is it bona fide?

    Args:
        frontend: waveform to frames.
        model: frames to an embedding; built for the front end's frame dimension.
        head: embedding to logits and loss; built for the model's embedding size.
        spec_augment: masks on the frames in training.
    """

    def __init__(
        self,
        frontend: Frontend,
        model: Callable[[int], Backbone],
        head: Callable[[int], Head],
        spec_augment: SpecAugment | None = None,
    ):
        super().__init__()
        self.frontend = frontend
        self.spec_augment = spec_augment
        self.model = model(frontend.dim)
        self.head = head(self.model.embed_dim)

    def _frames(self, batch: Batch) -> tuple[Tensor, Tensor]:
        frames_BFD, frame_lengths_B = self.frontend(batch.wav_BT, batch.lengths_B)
        if self.spec_augment is not None:
            frames_BFD = self.spec_augment(frames_BFD)
        if frames_BFD.shape[1] < self.model.min_frames:
            model = f"{type(self.model).__name__} needs at least {self.model.min_frames}"
            raise InputError(f"{few(batch.keys)}: {frames_BFD.shape[1]} frames, but {model}")
        return frames_BFD, frame_lengths_B

    def embed(self, batch: Batch) -> Tensor:
        """``embedding_BE`` of a batch."""
        return self.model(*self._frames(batch))

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        embedding_BE, model_loss = self.model.embed_with_loss(*self._frames(batch), batch.labels_B)
        loss, logits_BC = self.head.loss(embedding_BE, batch.labels_B)
        return loss + model_loss, logits_BC
