"""Tasks on mixtures of talkers: separation, and a decision for each talker.

Shapes: B mixtures of a batch, T samples, K streams of a separator or outputs of a model, S stems
(talkers) that they are assigned to, E embedding size, C classes, N = B K rows in a loss, G rows
with a decision each.
"""

from typing import Literal

import torch
from jsonargparse.typing import NonNegativeFloat
from torch import Tensor, nn

from wedefense_lite.files import InputError, abbreviate
from wedefense_lite.labels import BONAFIDE, NO_LABEL, SPOOF
from wedefense_lite.mixtures.ids import WHOLE_MIXTURE, talker_id
from wedefense_lite.mixtures.sisdr import assign_streams, pairwise_si_sdr, pit_si_sdr_loss
from wedefense_lite.models.base import Embedder, masked_loss
from wedefense_lite.separators.base import Separator
from wedefense_lite.systems.batch import Batch
from wedefense_lite.systems.tasks import Classification, Task


class Separation(Task):
    """A separator, trained on mixtures with known stems, selected by its loss on dev.

    The loss is the negative mean SI-SDR of the best assignment of streams to stems
    (``wedefense_lite.mixtures.sisdr.pit_si_sdr_loss``).

    Args:
        separator: mixtures to talkers.
    """

    head = None
    takes_stems = True

    def __init__(self, separator: Separator):
        super().__init__()
        self.separator = separator
        self.num_talkers = separator.num_talkers

    def embed(self, batch: Batch) -> Tensor:
        """``streams_BKT``."""
        return self.separator(batch.wav_BT)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """The loss, and no logits and labels: nothing is classified."""
        _check_talkers(batch, self.num_talkers)
        loss = pit_si_sdr_loss(self.embed(batch), batch.stems_BKT, batch.lengths_B)
        return loss, loss.new_zeros(0, 2), batch.labels_B[:0]


class TalkerTask(Classification):
    """A decision for each talker of a mixture, selected by the decision on the mixture.

    The decision on the mixture is whether any of its talkers is spoofed. Labels of the outputs
    follow from an assignment that ``forward`` finds, so dev is evaluated by ``forward``, mixture by
    mixture.
    """

    def names(self, key: str) -> list[str]:
        return [talker_id(key, number) for number in range(1, self.num_talkers + 1)]

    @torch.no_grad()
    def _best_labels(self, embedding_BKE: Tensor, batch: Batch) -> Tensor:
        """``labels_BK`` of outputs without a known talker: the assignment of best fit."""
        logits_BKC = self.head(embedding_BKE.flatten(0, 1)).unflatten(0, embedding_BKE.shape[:2])
        labels_BKS = batch.talker_labels_BK[:, None].expand(-1, self.num_talkers, -1)
        log_likelihood_BKS = logits_BKC.float().log_softmax(2).gather(2, labels_BKS)
        talker_of_output_BK = assign_streams(log_likelihood_BKS)
        return batch.talker_labels_BK.gather(1, talker_of_output_BK)


class SeparatedTalkers(TalkerTask):
    """A separator, and a detector that scores each of its streams.

    A stream has the label of its talker by SI-SDR, or the label that fits best. With a frozen
    separator the result is that of a detector trained on separated streams, which is cheaper
    (``bin/separate.py``, once). With ``joint`` both are trained: the loss is that of detection plus
    ``separation_weight`` times that of separation.

    Args:
        frontend: waveform to frames.
        model: frames to an embedding; built for the front end's frame dimension.
        head: embedding to logits and loss; built for the model's embedding size.
        separator: mixtures to talkers, at the front end's sample rate.
        joint: train the separator too.
        separation_weight: weight of the negative mean SI-SDR in dB in the loss of joint training.
        assignment: how labels are assigned to streams. stems: by SI-SDR against the stems.
            permutation: the permutation of labels that fits best, for mixtures without stems
            (Yu et al., "Permutation invariant training", ICASSP 2017, there for signals).
        spec_augment: masks on the frames in training.

    Raises:
        InputError: a separator of another sample rate, or a model with a loss of its own together
            with ``permutation``: that loss would need the labels before they are assigned.
    """

    def __init__(
        self,
        *components,
        separator: Separator,
        joint: bool = False,
        separation_weight: NonNegativeFloat = 0.02,
        assignment: Literal["stems", "permutation"] = "stems",
        **options,
    ):
        super().__init__(*components, **options)
        if separator.sample_rate != self.frontend.sample_rate:
            rates = f"{separator.sample_rate} Hz, its front end at {self.frontend.sample_rate} Hz"
            raise InputError(
                f"the separator works at {rates}: separate first, with bin/separate.py"
            )
        self.num_talkers = separator.num_talkers
        self.joint = joint
        self.separation_weight = separation_weight
        self.by_stems = assignment == "stems"
        self.takes_stems = joint or self.by_stems
        model_has_loss = type(self.model).embed_with_loss is not Embedder.embed_with_loss
        if model_has_loss and not self.by_stems:
            raise InputError(
                f"{type(self.model).__name__} has a loss of its own, "
                "which needs --system.assignment stems"
            )
        self.separator = separator.requires_grad_(joint)

    def train(self, mode: bool = True) -> "SeparatedTalkers":
        super().train(mode)
        # A frozen separator stays in evaluation mode, so that batch norm statistics don't move
        # either.
        self.separator.train(mode and self.joint)
        return self

    def embed(self, batch: Batch) -> Tensor:
        """``embedding_BKE``, a row for each stream."""
        streams_BKT = self._separate(batch)
        frames = self._frames(self._stream_batch(streams_BKT, batch))
        return self.model(*frames).unflatten(0, streams_BKT.shape[:2])

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """The loss, and of each mixture the logits of its stream of lowest score, and its label."""
        _check_talkers(batch, self.num_talkers)
        streams_BKT = self._separate(batch)
        # A loss of the model needs labels before there are embeddings, by which permutation assigns
        # them; without stems it gets none.
        labels_BK = torch.full_like(batch.talker_labels_BK, NO_LABEL)
        if self.by_stems:
            si_sdr_BKS = pairwise_si_sdr(streams_BKT.detach(), batch.stems_BKT, batch.lengths_B)
            labels_BK = batch.talker_labels_BK.gather(1, assign_streams(si_sdr_BKS))
        frames = self._frames(self._stream_batch(streams_BKT, batch))
        embedding_NE, model_loss = self.model.embed_with_loss(*frames, labels_BK.flatten())
        embedding_BKE = embedding_NE.unflatten(0, streams_BKT.shape[:2])
        if not self.by_stems:
            labels_BK = self._best_labels(embedding_BKE, batch)
        loss = masked_loss(self.head, embedding_BKE, labels_BK)[0] + model_loss
        if self.joint:
            separation_loss = pit_si_sdr_loss(streams_BKT, batch.stems_BKT, batch.lengths_B)
            loss = loss + self.separation_weight * separation_loss
        logits_BKC = self.head(embedding_NE).unflatten(0, streams_BKT.shape[:2])
        score_BK = logits_BKC[..., BONAFIDE] - logits_BKC[..., SPOOF]
        # A mixture is spoofed if any talker is, so its most spoofed stream decides.
        lowest_B = score_BK.argmin(1)
        return loss, logits_BKC[torch.arange(len(lowest_B)), lowest_B], batch.labels_B

    def _separate(self, batch: Batch) -> Tensor:
        """``streams_BKT``, with gradients only in joint training."""
        with torch.set_grad_enabled(self.joint and torch.is_grad_enabled()):
            return self.separator(batch.wav_BT)

    def _stream_batch(self, streams_BKT: Tensor, batch: Batch) -> Batch:
        """A batch whose utterances are the streams."""
        keys = []
        for key in batch.keys:
            keys.extend(self.names(key))
        lengths_N = batch.lengths_B.repeat_interleave(self.num_talkers)
        return batch._replace(keys=keys, wav_BT=streams_BKT.flatten(0, 1), lengths_B=lengths_N)


class DirectTalkers(TalkerTask):
    """One encoder of the mixture, with an output for each talker and one for the mixture.

    Nothing is separated, so no output has a known talker: the loss takes the assignment of labels
    that fits best, as ``SeparatedTalkers`` with ``permutation``. The output for the mixture,
    whether any talker is spoofed, is row 0, ``<mixture>-0``. The loss is half that of the mixture
    and half that of the talkers. Stage 6 divides out the prior of talkers, so row 0 is an LLR only
    after the calibration of stage 7.

    Args:
        frontend: waveform to frames.
        model: frames to an embedding; built for the front end's frame dimension.
        head: embedding to logits and loss; built for the model's embedding size, and shared by all
            outputs.
        talkers: number of talkers of a mixture.
        spec_augment: masks on the frames in training.
    """

    def __init__(self, *components, talkers: int = 2, **options):
        super().__init__(*components, **options)
        self.num_talkers = talkers
        self.outputs = nn.Linear(self.model.embed_dim, (talkers + 1) * self.model.embed_dim)

    def names(self, key: str) -> list[str]:
        return [talker_id(key, WHOLE_MIXTURE), *super().names(key)]

    def embed(self, batch: Batch) -> Tensor:
        """``embedding_BGE``: of the mixture, then of each talker."""
        return self._output_rows(self.model(*self._frames(batch)))

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """The loss, and logits and labels of the mixtures."""
        _check_talkers(batch, self.num_talkers)
        embedding_BE, model_loss = self.model.embed_with_loss(*self._frames(batch), batch.labels_B)
        embedding_BGE = self._output_rows(embedding_BE)
        mixture_BE = embedding_BGE[:, 0]
        talkers_BKE = embedding_BGE[:, 1:]
        mixture_loss, logits_BC = self.head.loss(mixture_BE, batch.labels_B)
        labels_BK = self._best_labels(talkers_BKE, batch)
        talker_loss = masked_loss(self.head, talkers_BKE, labels_BK)[0]
        return (mixture_loss + talker_loss) / 2 + model_loss, logits_BC, batch.labels_B

    def _output_rows(self, embedding_BE: Tensor) -> Tensor:
        """``embedding_BGE``, G = 1 + K."""
        return self.outputs(embedding_BE).unflatten(1, (self.num_talkers + 1, -1))


def _check_talkers(batch: Batch, num_talkers: int) -> None:
    """Refuse mixtures of another number of talkers than the outputs of a system."""
    if batch.talker_labels_BK is None:
        raise InputError("mixtures need the list of their stems: --train_stems and --val_stems")
    counts = (batch.talker_labels_BK != NO_LABEL).sum(1).tolist()
    misfits = []
    for key, count in zip(batch.keys, counts):
        if count != num_talkers:
            misfits.append(f"{key} ({count})")
    if misfits:
        raise InputError(
            f"mixtures of another number of talkers than {num_talkers}: {abbreviate(misfits)}"
        )
