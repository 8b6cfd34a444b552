"""Utterances put together in a batch."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor


class Batch(NamedTuple):
    """Utterances put together.

    Attributes:
        keys: their ids, ``B``.
        wav_BT: waveforms, float32 in [-1, 1], or int16 until :meth:`to` has moved them.
        lengths_B: samples of each row that are not zero padding, int64.
        labels_B: class ids, int64, -1 where unknown.
        track_BT: class of each sample (:mod:`wedefense_lite.audio.tracks`), where segments are known.
        talkers_BK: of mixtures, class of each talker, -1 where there is none, where they are known.
        stems_BKT: of mixtures, what each talker says, float32 in [-1, 1], where it is asked for.
    """

    keys: list[str]
    wav_BT: Tensor
    lengths_B: Tensor
    labels_B: Tensor
    track_BT: Tensor | None = None
    talker_labels_BK: Tensor | None = None
    stems_BKT: Tensor | None = None

    def to(self, device: torch.device | str) -> "Batch":
        """The batch on a device, its waveforms float32 in [-1, 1]."""
        moved = [
            tensor if tensor is None else tensor.to(device, non_blocking=True)
            for tensor in self[1:]
        ]
        return Batch(self.keys, as_float(moved[0]), *moved[1:])

    def each(self) -> Iterator["Batch"]:
        """Its utterances, each as a batch."""
        for row, key in enumerate(self.keys):
            yield Batch(
                [key], *(tensor if tensor is None else tensor[row : row + 1] for tensor in self[1:])
            )


def as_float(wav: Tensor) -> Tensor:
    """Samples as float32 in [-1, 1], which they may be already, of 16-bit integers."""
    return wav if wav.is_floating_point() else wav.float() / 32768
