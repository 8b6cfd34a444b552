"""Batches of utterances.

Letters of shapes: B utterances of a batch, T samples, K talkers of a mixture.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from wedefense_lite.audio.reading import as_float


class Batch(NamedTuple):
    """Utterances of a batch.

    Attributes:
        keys: ids of the utterances.
        wav_BT: waveforms, float32 in [-1, 1], or int16 until ``to`` has moved them.
        lengths_B: samples of each row that are not zero padding, int64.
        labels_B: class indices, int64, ``NO_LABEL`` (-1) where unknown.
        track_BT: class of each sample (``wedefense_lite.audio.tracks``); None without segments.
        talker_labels_BK: class of each talker of a mixture, ``NO_LABEL`` where a mixture has fewer
            talkers; None without stems.
        stems_BKT: stem of each talker of a mixture, float32 in [-1, 1]; None where no task takes
            it.
        corpora_B: number of the corpus of each utterance, int64; None where the list doesn't say.
        sources_B: class of the source of each utterance, for source tracing; else None.
    """

    keys: list[str]
    wav_BT: Tensor
    lengths_B: Tensor
    labels_B: Tensor
    track_BT: Tensor | None = None
    talker_labels_BK: Tensor | None = None
    stems_BKT: Tensor | None = None
    corpora_B: Tensor | None = None
    sources_B: Tensor | None = None

    def to(self, device: torch.device | str) -> "Batch":
        """The batch on a device, its waveforms float32 in [-1, 1]."""
        moved = []
        for tensor in self[1:]:
            moved.append(None if tensor is None else tensor.to(device, non_blocking=True))
        batch = Batch(self.keys, *moved)
        # Converted on the device: 16-bit samples are half as many bytes to move.
        return batch._replace(wav_BT=as_float(batch.wav_BT))

    def each(self) -> Iterator["Batch"]:
        """Each utterance as a batch of one."""
        for row, key in enumerate(self.keys):
            tensors = []
            for tensor in self[1:]:
                tensors.append(None if tensor is None else tensor[row : row + 1])
            yield Batch([key], *tensors)
