"""Tasks: the module that is trained, saved and wrapped for distributed training.

Letters: B utterances, F frames and D features of the front end, G frames or talkers with a decision
each, E embedding size, C classes [spoof, bonafide], N decisions with a label.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from jsonargparse.typing import NonNegativeFloat, PositiveInt
from torch import Tensor, nn

from wedefense_lite.files import InputError, abbreviate
from wedefense_lite.frontends import Frontend, SpecAugment
from wedefense_lite.heads import Head
from wedefense_lite.labels import LABELS
from wedefense_lite.models import Backbone
from wedefense_lite.models.base import Embedder, masked_loss
from wedefense_lite.systems.batch import Batch


class Task(nn.Module, ABC):
    """Contract of a task: a system, and the decisions that it is trained for.

    Attributes:
        head: head for the embeddings of ``embed``; None for a task without decisions.
        frame_samples: samples of a frame, for a task with a decision for each frame; else None.
        num_talkers: talkers of a mixture, for a task that separates them or decides for each; else
            0.
        takes_stems: true where the loss needs the reference stems of mixtures.
        num_corpora: corpora of the training list that the loss tells apart; 0 for a task that
            doesn't.
        classes: names of the classes in the order of the logits, for source tracing; empty for
            [spoof, bonafide].
    """

    head: Head | None
    frame_samples: int | None = None
    num_talkers: int = 0
    takes_stems: bool = False
    num_corpora: int = 0
    classes: tuple[str, ...] = ()

    @abstractmethod
    def embed(self, batch: Batch) -> Tensor:
        """Embeddings for the head: ``BE``, or ``BGE`` for frames or talkers of each utterance."""

    @abstractmethod
    def forward(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Training step.

        Returns:
            the scalar loss, a mean over the decisions with a label; ``logits_NC`` and ``labels_N``
            of these decisions.
        """

    def evaluate_each(self, batch: Batch) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Loss, ``logits_NC`` and ``labels_N`` of each utterance of a batch, for validation."""
        return map(self, batch.each())

    def names(self, key: str) -> list[str]:
        """Ids of the decisions made for one utterance: its own id, or one per talker."""
        return [key]

    @property
    def resolved(self) -> dict[str, object]:
        """Options that building determined, by dotted names below ``system.init_args``."""
        return {}

    def load_pretrained(self) -> None:
        """Load published weights of parts, if any. A training without a checkpoint calls it
        first.
        """

    def rate_factors(self) -> dict[nn.Parameter, float]:
        """Factors of the learning rate, of the parameters whose factor is not 1."""
        return {}

    def blocks(self) -> list[nn.Module]:
        """Large modules that are computed one after another, such as the layers of an encoder."""
        return []

    def parameter_groups(self) -> list[dict]:
        """Groups of trained parameters for an optimizer, one a learning-rate factor, 1 first."""
        factors = self.rate_factors()
        members: dict[float, list[nn.Parameter]] = {1.0: []}
        for parameter in self.parameters():
            if parameter.requires_grad:
                factor = factors.get(parameter, 1.0)
                members.setdefault(factor, []).append(parameter)
        groups = []
        for factor, parameters in members.items():
            groups.append({"params": parameters, "rate_factor": factor})
        return groups


class Classification(Task):
    """Task with a front end, a model and a head.

    Attributes:
        takes: class of its model.
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
        # Of encoders that give the states of all layers, and of models that weight them.
        frontend_layers = getattr(frontend, "num_layers", None)
        model_layers = getattr(self.model, "num_layers", None)
        has_layers = frontend_layers is not None and model_layers is not None
        if has_layers and frontend_layers != model_layers:
            raise InputError(
                f"{type(self.model).__name__}: num_layers is {model_layers}, "
                f"expected {frontend_layers}, as in its frames"
            )
        self.head = head(self.model.embed_dim)
        num_classes = len(self.classes) or len(LABELS)
        if self.head.num_classes != num_classes:
            raise InputError(
                f"{type(self.head).__name__}: num_classes is {self.head.num_classes}, "
                f"expected {num_classes}, as {type(self).__name__} has"
            )

    @property
    def resolved(self) -> dict[str, object]:
        options = {}
        for name, value in self.frontend.resolved.items():
            options[f"frontend.init_args.{name}"] = value
        return options

    def load_pretrained(self) -> None:
        self.frontend.load_pretrained()

    def rate_factors(self) -> dict[nn.Parameter, float]:
        return self.frontend.rate_factors()

    def blocks(self) -> list[nn.Module]:
        return self.frontend.blocks()

    def targets(self, batch: Batch) -> Tensor:
        """Classes of the decisions, ``B`` or ``BG``, ``NO_LABEL`` where unknown."""
        return batch.labels_B

    def _evaluate_rows(self, batch: Batch) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Results of ``evaluate_each``, from one pass of the model over the whole batch.

        It is for tasks whose labels don't depend on the embeddings.
        """
        embeddings = self.embed(batch).split(1)
        targets = self.targets(batch).split(1)
        for embedding, labels in zip(embeddings, targets):
            yield masked_loss(self.head, embedding, labels)

    def logits(self, batch: Batch) -> Tensor:
        """Logits ``BC``, or ``BGC``."""
        embedding = self.embed(batch)
        return self.head(embedding.flatten(0, -2)).unflatten(0, embedding.shape[:-1])

    def _frames(self, batch: Batch) -> tuple[Tensor, Tensor]:
        try:
            frames_BFD, frame_lengths_B = self.frontend(batch.wav_BT, batch.lengths_B)
        # The front end refuses an utterance that is too short for one frame.
        except ValueError as error:
            raise InputError(f"{abbreviate(batch.keys)}: {error}") from error
        if self.spec_augment is not None:
            frames_BFD = self.spec_augment(frames_BFD)
        if frames_BFD.shape[1] < self.model.min_frames:
            model = f"{type(self.model).__name__} needs at least {self.model.min_frames}"
            raise InputError(f"{abbreviate(batch.keys)}: {frames_BFD.shape[1]} frames, but {model}")
        return frames_BFD, frame_lengths_B


class Detection(Classification):
    """Task with one decision an utterance: is it bona fide?

    Args:
        frontend: front end, from waveforms to frames.
        model: model, built for the frame dimension of the front end.
        head: head, built for the embedding size of the model.
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


class DomainAdversarial(Detection):
    """Detection whose embeddings are trained not to tell the corpora of the training set apart.

    A classifier of the corpus is trained on the embedding, and its gradient is turned round before
    it reaches the model. The factor of the turned gradient grows from 0 to ``weight`` as
    ``2 / (1 + exp(-10 p)) - 1``, where p goes from 0 to 1 in ``ramp_steps`` batches. Decisions and
    scores are those of Detection.

    Source: Ganin et al., "Domain-adversarial training of neural networks", JMLR 2016, section 4 and
    the schedule of section 5.2.2. There the classifier is trained with the same loss in both
    domains and the label loss with one; here all corpora have labels. The hidden layer of the
    classifier is this project's.

    Args:
        frontend: front end, from waveforms to frames.
        model: model, built for the frame dimension of the front end.
        head: head, built for the embedding size of the model.
        num_corpora: corpora of the training list.
        weight: final factor of the turned gradient.
        ramp_steps: batches in which the factor grows.
        hidden_dim: hidden units of the classifier of the corpus.
        spec_augment: masks on the frames in training.

    Attributes:
        steps: training batches so far. It is a buffer, so that a resumed training keeps its factor.
    """

    def __init__(
        self,
        frontend: Frontend,
        model: Callable[[int], Embedder],
        head: Callable[[int], Head],
        num_corpora: PositiveInt = 2,
        weight: NonNegativeFloat = 1.0,
        ramp_steps: PositiveInt = 10000,
        hidden_dim: PositiveInt = 128,
        spec_augment: SpecAugment | None = None,
    ):
        super().__init__(frontend, model, head, spec_augment)
        self.num_corpora = num_corpora
        self.weight = weight
        self.ramp_steps = ramp_steps
        self.corpus_classifier = nn.Sequential(
            nn.Linear(self.model.embed_dim, hidden_dim),
            nn.ReLU(),
            nn.Linear(hidden_dim, num_corpora),
        )
        self.register_buffer("steps", torch.tensor(0))

    @property
    def factor(self) -> Tensor:
        """Factor of the turned gradient at the present step."""
        progress = (self.steps / self.ramp_steps).clamp(max=1)
        return self.weight * (2 / (1 + (-10 * progress).exp()) - 1)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        embedding_BE, model_loss = self.model.embed_with_loss(*self._frames(batch), batch.labels_B)
        head_loss, logits_BC = self.head.loss(embedding_BE, batch.labels_B)
        loss = head_loss + model_loss
        # Batches without corpora are of a dev list; train.py refuses a training list without.
        if batch.corpora_B is not None:
            turned_BE = TurnedGradient.apply(embedding_BE.float(), self.factor)
            corpus_logits = self.corpus_classifier(turned_BE)
            loss = loss + F.cross_entropy(corpus_logits.float(), batch.corpora_B)
            if self.training:
                self.steps += 1
        return loss, logits_BC, batch.labels_B


class TurnedGradient(torch.autograd.Function):
    """Identity whose gradient is multiplied by minus a factor."""

    @staticmethod
    def forward(context, embedding_BE: Tensor, factor: Tensor) -> Tensor:
        """The embeddings as they are."""
        context.save_for_backward(factor)
        return embedding_BE.view_as(embedding_BE)

    @staticmethod
    def backward(context, gradient_BE: Tensor) -> tuple[Tensor, None]:
        """The gradient, turned round."""
        (factor,) = context.saved_tensors
        return -factor * gradient_BE, None
