"""What every separator promises."""

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Separator(nn.Module, ABC):
    """What takes a mixture apart.

    Attributes:
        sample_rate: of the audio that it takes and gives, in Hz.
        num_talkers: streams that it makes of a mixture (K).
    """

    sample_rate: int
    num_talkers: int

    @abstractmethod
    def forward(self, wav_BT: Tensor) -> Tensor:
        """``streams_BKT``, a stream for each talker, in an order of its own.

        Args:
            wav_BT: mixtures, floats in [-1, 1].
        """
