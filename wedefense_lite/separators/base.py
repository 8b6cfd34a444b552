"""Contract of separators.

Letters: B mixtures of a batch, T samples, K talkers and their streams.
"""

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Separator(nn.Module, ABC):
    """Model that turns a mixture into a stream for each talker.

    Attributes:
        sample_rate: rate of its input and output, Hz.
        num_talkers: number of streams (K).
    """

    sample_rate: int
    num_talkers: int

    @abstractmethod
    def forward(self, wav_BT: Tensor) -> Tensor:
        """``streams_BKT``: streams of the talkers, in an order of the model's own.

        Args:
            wav_BT: mixtures, float32 in [-1, 1].
        """
