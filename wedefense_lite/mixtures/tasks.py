"""Tasks for mixtures of talkers: separating them, and deciding for each of them."""

from itertools import chain
from typing import Literal

import torch
from jsonargparse.typing import NonNegativeFloat
from torch import Tensor, nn

from wedefense_lite.files import InputError, abbreviate
from wedefense_lite.labels import BONAFIDE, SPOOF
from wedefense_lite.mixtures.sisdr import best_sources, pairwise_si_sdr, pit_si_sdr_loss
from wedefense_lite.models.base import Embedder, masked_loss
from wedefense_lite.separators.base import Separator
from wedefense_lite.systems.batch import Batch
from wedefense_lite.systems.tasks import Classification, Task


class Separation(Task):
    """A separator, trained on mixtures whose stems are known; selected by the loss on dev.

    The loss is the negative mean SI-SDR at the assignment of streams to talkers that makes it least.

    Args:
        separator: mixtures to talkers.
    """

    head = None
    takes_stems = True

    def __init__(self, separator: Separator):
        super().__init__()
        self.separator, self.talkers = separator, separator.talkers

    def embed(self, batch: Batch) -> Tensor:
        """``streams_BKT``."""
        return self.separator(batch.wav_BT)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        _check_talkers(batch, self.talkers)
        loss = pit_si_sdr_loss(self.embed(batch), batch.stems_BKT, batch.lengths_B)
        return loss, loss.new_zeros(0, 2), batch.labels_B[:0]


class TalkerTask(Classification):
    """A decision for each talker of a mixture. It is selected by that on the mixture: is any talker spoofed?"""

    def names(self, key: str) -> list[str]:
        return [f"{key}-{talker}" for talker in range(1, self.talkers + 1)]

    evaluate_each = Task.evaluate_each  # whose labels are decided together with the loss

    @torch.no_grad()
    def _fitting(self, embedding_BKE: Tensor, batch: Batch) -> Tensor:
        """``labels_BK`` of streams of which nothing else says whose they are: the assignment that fits best."""
        logits_BKC = self.head(embedding_BKE.flatten(0, 1)).unflatten(0, embedding_BKE.shape[:2])
        labels_BKS = batch.talker_labels_BK[:, None].expand(-1, self.talkers, -1)
        sources_BK = best_sources(logits_BKC.float().log_softmax(2).gather(2, labels_BKS))
        return batch.talker_labels_BK.gather(1, sources_BK)


class SeparatedTalkers(TalkerTask):
    """A separator, and a detector that judges each of its streams.

    Streams have the labels of the talkers they are of by SI-SDR, or those that fit best. With a frozen separator it
    is the same as training a detector on separated talkers, which is cheaper (``bin/separate.py``, once); trained
    together, the loss is that of detection plus ``separation_weight`` times that of separation.

    Args:
        frontend: waveform to frames.
        model: frames to an embedding; built for the front end's frame dimension.
        head: embedding to logits and loss; built for the model's embedding size.
        separator: mixtures to talkers, at the front end's sample rate.
        joint: train the separator too.
        separation_weight: of the negative mean SI-SDR in dB, in the loss of joint training.
        assignment: of labels to streams: by their stems, or, where these are not at hand, permutation: the one
            that fits best (Yu et al., "Permutation invariant training", ICASSP 2017, here of labels).
        spec_augment: masks on the frames in training.
    """

    def __init__(
        self,
        *parts,
        separator: Separator,
        joint: bool = False,
        separation_weight: NonNegativeFloat = 0.02,
        assignment: Literal["stems", "permutation"] = "stems",
        **options,
    ):
        super().__init__(*parts, **options)
        if separator.sample_rate != self.frontend.sample_rate:
            rates = f"{separator.sample_rate} Hz, its front end at {self.frontend.sample_rate} Hz"
            raise InputError(
                f"the separator works at {rates}: separate first, with bin/separate.py"
            )
        self.talkers, self.joint, self.separation_weight = (
            separator.talkers,
            joint,
            separation_weight,
        )
        self.by_stems, self.takes_stems = assignment == "stems", joint or assignment == "stems"
        own_loss = type(self.model).embed_with_loss is not Embedder.embed_with_loss
        if own_loss and not self.by_stems:
            raise InputError(
                f"{type(self.model).__name__} has a loss of its own, which needs --system.assignment stems"
            )
        self.separator = separator.requires_grad_(joint)

    def train(self, mode: bool = True) -> "SeparatedTalkers":
        super().train(mode)
        self.separator.train(mode and self.joint)
        return self

    def embed(self, batch: Batch) -> Tensor:
        """``embedding_BKE``, a row for each stream."""
        streams_BKT = self._streams(batch)
        return self.model(*self._frames(self._each(streams_BKT, batch))).unflatten(
            0, streams_BKT.shape[:2]
        )

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """The loss, and for each mixture the logits of the stream that sounds most spoofed, and its label."""
        _check_talkers(batch, self.talkers)
        streams_BKT = self._streams(batch)
        labels_BK = torch.full_like(batch.talker_labels_BK, -1)
        if self.by_stems:
            sources_BK = best_sources(
                pairwise_si_sdr(streams_BKT.detach(), batch.stems_BKT, batch.lengths_B)
            )
            labels_BK = batch.talker_labels_BK.gather(1, sources_BK)
        frames = self._frames(self._each(streams_BKT, batch))
        embedding_NE, model_loss = self.model.embed_with_loss(*frames, labels_BK.flatten())
        embedding_BKE = embedding_NE.unflatten(0, streams_BKT.shape[:2])
        if not self.by_stems:
            labels_BK = self._fitting(embedding_BKE, batch)
        loss = masked_loss(self.head, embedding_BKE, labels_BK)[0] + model_loss
        if self.joint:
            loss = loss + self.separation_weight * pit_si_sdr_loss(
                streams_BKT, batch.stems_BKT, batch.lengths_B
            )
        logits_BKC = self.head(embedding_BKE.flatten(0, 1)).unflatten(0, embedding_BKE.shape[:2])
        lowest_B = (logits_BKC[..., BONAFIDE] - logits_BKC[..., SPOOF]).argmin(1)
        return loss, logits_BKC[torch.arange(len(lowest_B)), lowest_B], batch.labels_B

    def _streams(self, batch: Batch) -> Tensor:
        with torch.set_grad_enabled(self.joint and torch.is_grad_enabled()):
            return self.separator(batch.wav_BT)

    def _each(self, streams_BKT: Tensor, batch: Batch) -> Batch:
        """The streams, one by one."""
        keys = list(chain.from_iterable(map(self.names, batch.keys)))
        lengths_N = batch.lengths_B.repeat_interleave(self.talkers)
        return batch._replace(keys=keys, wav_BT=streams_BKT.flatten(0, 1), lengths_B=lengths_N)


class DirectTalkers(TalkerTask):
    """One encoder of the mixture, an output for each talker, and one for the mixture: is any talker spoofed?

    Nothing is separated, so nothing says which talker an output is of; the loss takes the assignment that fits
    best, as in :class:`SeparatedTalkers` with ``permutation``. The output for the mixture is row 0, ``<mixture>-0``;
    it and the talkers count for half of the loss each. Stage 6 divides out the prior of talkers, so that this row is
    an LLR only once stage 7 has calibrated it.

    Args:
        frontend: waveform to frames.
        model: frames to an embedding; built for the front end's frame dimension.
        head: embedding to logits and loss; built for the model's embedding size, and shared by all outputs.
        talkers: of a mixture.
        spec_augment: masks on the frames in training.
    """

    def __init__(self, *parts, talkers: int = 2, **options):
        super().__init__(*parts, **options)
        self.talkers = talkers
        self.outputs = nn.Linear(self.model.embed_dim, (talkers + 1) * self.model.embed_dim)

    def names(self, key: str) -> list[str]:
        return [f"{key}-0", *super().names(key)]

    def embed(self, batch: Batch) -> Tensor:
        """``embedding_BGE``: of the mixture, then of each talker."""
        return self._outputs(self.model(*self._frames(batch)))

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """The loss, and logits and labels of the mixtures."""
        _check_talkers(batch, self.talkers)
        embedding_BE, model_loss = self.model.embed_with_loss(*self._frames(batch), batch.labels_B)
        embedding_BGE = self._outputs(embedding_BE)
        mixture_loss, logits_BC = self.head.loss(embedding_BGE[:, 0], batch.labels_B)
        labels_BK = self._fitting(embedding_BGE[:, 1:], batch)
        talker_loss = masked_loss(self.head, embedding_BGE[:, 1:], labels_BK)[0]
        return (mixture_loss + talker_loss) / 2 + model_loss, logits_BC, batch.labels_B

    def _outputs(self, embedding_BE: Tensor) -> Tensor:
        return self.outputs(embedding_BE).unflatten(1, (self.talkers + 1, -1))


def _check_talkers(batch: Batch, talkers: int) -> None:
    """Refuse mixtures of another number of talkers than the outputs of a system."""
    if batch.talker_labels_BK is None:
        raise InputError("mixtures need the list of their stems: --train_stems and --val_stems")
    counts = (batch.talker_labels_BK >= 0).sum(1).tolist()
    if wrong := [f"{key} ({count})" for key, count in zip(batch.keys, counts) if count != talkers]:
        raise InputError(
            f"mixtures of another number of talkers than {talkers}: {abbreviate(wrong)}"
        )
