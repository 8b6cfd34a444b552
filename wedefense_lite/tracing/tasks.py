"""Source tracing: which of the known attacks, vocoders or models made an utterance.

Letters: B utterances, E embedding size, C classes.
"""

from collections.abc import Callable

from torch import Tensor

from wedefense_lite.files import InputError
from wedefense_lite.frontends import Frontend, SpecAugment
from wedefense_lite.heads import Head
from wedefense_lite.models import Backbone
from wedefense_lite.systems.batch import Batch
from wedefense_lite.systems.tasks import Detection


class Tracing(Detection):
    """Task with one decision an utterance: which source is it of?

    Sources that are none of the classes are told by the distance of embeddings from those of the
    classes, see ``wedefense_lite.tracing.metrics``.

    Args:
        frontend: front end, from waveforms to frames.
        model: model, built for the frame dimension of the front end.
        head: head with as many classes, built for the embedding size of the model.
        classes: names of the sources, in the order of the logits.
        spec_augment: masks on the frames in training.

    Raises:
        InputError: fewer than two classes, or one that comes twice.
    """

    def __init__(
        self,
        frontend: Frontend,
        model: Callable[[int], Backbone],
        head: Callable[[int], Head],
        classes: list[str],
        spec_augment: SpecAugment | None = None,
    ):
        if len(set(classes)) != len(classes) or len(classes) < 2:
            raise InputError(f"classes are {classes}, expected two or more different names")
        self.classes = tuple(classes)
        super().__init__(frontend, model, head, spec_augment)

    def targets(self, batch: Batch) -> Tensor:
        if batch.sources_B is None:
            raise InputError("source tracing needs --train_sources and --val_sources")
        return batch.sources_B

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        sources_B = self.targets(batch)
        # A model with a loss of its own has one for spoofed and bona fide speech.
        embedding_BE, model_loss = self.model.embed_with_loss(*self._frames(batch), batch.labels_B)
        loss, logits_BC = self.head.loss(embedding_BE, sources_B)
        return loss + model_loss, logits_BC, sources_B
