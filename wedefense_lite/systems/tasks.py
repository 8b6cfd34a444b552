"""Tasks: the one module that is trained, saved and wrapped for distributed training."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

from torch import Tensor, nn

from wedefense_lite.files import InputError, abbreviate
from wedefense_lite.frontends import Frontend, SpecAugment
from wedefense_lite.heads import Head
from wedefense_lite.models import Backbone
from wedefense_lite.models.base import Embedder, masked_loss
from wedefense_lite.systems.batch import Batch


class Task(nn.Module, ABC):
    """What is trained, and for what.

    Attributes:
        head: turns what ``embed`` gives into logits; None of a task that decides nothing.
        frame_samples: of a task that decides for each frame, the samples of one; else None.
        num_talkers: talkers of a mixture, for a task that separates them or decides for each; else
            0.
        takes_stems: its loss needs the reference stems of mixtures.
    """

    head: Head | None
    frame_samples: int | None = None
    num_talkers: int = 0
    takes_stems: bool = False

    @abstractmethod
    def embed(self, batch: Batch) -> Tensor:
        """What the head needs: a row an utterance, ``BE``, or rows of each, ``BGE``, of its frames
        or talkers.
        """

    @abstractmethod
    def forward(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """``(loss, logits_NC, labels_N)``: the loss to step on, a mean over what has a label."""

    def evaluate_each(self, batch: Batch) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """The head's loss, logits and labels of each utterance; a system is selected by these."""
        return map(self, batch.each())

    def names(self, key: str) -> list[str]:
        """Ids of what is decided on in an utterance: itself, or its talkers."""
        return [key]

    @property
    def resolved(self) -> dict[str, object]:
        """Options, by their names below ``system.init_args``, that became known when it was
        built.
        """
        return {}

    def load_pretrained(self) -> None:
        """Fill parts that come with weights of their own; before training, unless a checkpoint is
        given.
        """

    def rate_factors(self) -> dict[nn.Parameter, float]:
        """By what the learning rate of some parameters is multiplied."""
        return {}

    def parameter_groups(self) -> list[dict]:
        """What an optimizer takes: trained parameters, and by what their learning rate is
        multiplied, 1 first.
        """
        factors, groups = self.rate_factors(), {1.0: []}
        for parameter in self.parameters():
            if parameter.requires_grad:
                groups.setdefault(factors.get(parameter, 1.0), []).append(parameter)
        return [{"params": members, "rate_factor": factor} for factor, members in groups.items()]


class Classification(Task):
    """A front end, a model and a head.

    Attributes:
        takes: kind of its model.
    """

    takes: type[Embedder] = Backbone

    def __init__(
        self,
        frontend: Frontend,
        model: Callable[[int], Embedder],
        head: Callable[[int], Head],
        spec_augment: SpecAugment | None = None,
    ):
        super().__init__()
        self.frontend = frontend
        self.spec_augment = spec_augment
        self.model = model(frontend.dim)
        if not isinstance(self.model, self.takes):
            name = type(self.model).__name__
            raise InputError(
                f"{type(self).__name__} takes a model that is a {self.takes.__name__}, "
                f"{name} is none"
            )
        given, taken = (getattr(part, "num_layers", None) for part in (frontend, self.model))
        if None not in (given, taken) and given != taken:
            raise InputError(
                f"{type(self.model).__name__}: num_layers is {taken}, expected {given}, "
                "as in its frames"
            )
        self.head = head(self.model.embed_dim)

    @property
    def resolved(self) -> dict[str, object]:
        return {
            f"frontend.init_args.{name}": value for name, value in self.frontend.resolved.items()
        }

    def load_pretrained(self) -> None:
        self.frontend.load_pretrained()

    def rate_factors(self) -> dict[nn.Parameter, float]:
        return self.frontend.rate_factors()

    def targets(self, batch: Batch) -> Tensor:
        """Classes of utterances, ``B``, or their frames, ``BG``, -1 where unknown."""
        return batch.labels_B

    def _evaluate_rows(self, batch: Batch) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """What ``evaluate_each`` gives, from one pass of the model over the whole batch.

        For tasks whose labels do not depend on the embeddings.
        """
        embeddings = self.embed(batch).split(1)
        targets = self.targets(batch).split(1)
        for embedding, labels in zip(embeddings, targets):
            yield masked_loss(self.head, embedding, labels)

    def logits(self, batch: Batch) -> Tensor:
        """``BC`` or ``BGC``."""
        embedding = self.embed(batch)
        return self.head(embedding.flatten(0, -2)).unflatten(0, embedding.shape[:-1])

    def _frames(self, batch: Batch) -> tuple[Tensor, Tensor]:
        try:
            frames_BFD, frame_lengths_B = self.frontend(batch.wav_BT, batch.lengths_B)
        except ValueError as error:  # too short for one frame
            raise InputError(f"{abbreviate(batch.keys)}: {error}") from error
        if self.spec_augment is not None:
            frames_BFD = self.spec_augment(frames_BFD)
        if frames_BFD.shape[1] < self.model.min_frames:
            model = f"{type(self.model).__name__} needs at least {self.model.min_frames}"
            raise InputError(f"{abbreviate(batch.keys)}: {frames_BFD.shape[1]} frames, but {model}")
        return frames_BFD, frame_lengths_B


class Detection(Classification):
    """One decision an utterance: is it bona fide?

    Args:
        frontend: waveform to frames.
        model: frames to an embedding; built for the front end's frame dimension.
        head: embedding to logits and loss; built for the model's embedding size.
        spec_augment: masks on the frames in training.
    """

    def embed(self, batch: Batch) -> Tensor:
        """``embedding_BE`` of a batch."""
        return self.model(*self._frames(batch))

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        embedding_BE, model_loss = self.model.embed_with_loss(*self._frames(batch), batch.labels_B)
        loss, logits_BC = self.head.loss(embedding_BE, batch.labels_B)
        return loss + model_loss, logits_BC, batch.labels_B

    def evaluate_each(self, batch: Batch) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        return self._evaluate_rows(batch)
