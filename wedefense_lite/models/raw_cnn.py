"""A small convolutional network over samples."""

from torch import Tensor, nn

from wedefense_lite.frontends.base import valid_mask
from wedefense_lite.models.base import Backbone
from wedefense_lite.models.pooling import statistics_pooling


class RawCNN(Backbone):
    """Two convolutions, batch norms, dropout, and statistics over time: 37,184 parameters on ``Raw``.

    The small raw-waveform network of student projects on ASVspoof 2017, with global pooling in place
    of their fixed length, so that any length fits; frames of the second layer are 10 ms apart at 16 kHz.
    No EER on a standard set is published for it.

    Args:
        input_dim: features of a frame, 1 on ``Raw``.
        channels: maps of the first convolution; the second has twice as many.
        dropout: probability before the embedding.
    """

    def __init__(self, input_dim: int, channels: int = 32, dropout: float = 0.3):
        super().__init__()
        self.embed_dim = 4 * channels
        self.first = nn.Sequential(
            nn.Conv1d(input_dim, channels, 65, stride=8, padding=32),
            nn.BatchNorm1d(channels),
            nn.ReLU(),
        )
        self.second = nn.Sequential(
            nn.MaxPool1d(4, ceil_mode=True),
            nn.Conv1d(channels, 2 * channels, 17, stride=5, padding=8),
            nn.BatchNorm1d(2 * channels),
            nn.ReLU(),
        )
        self.drop = nn.Dropout(dropout)

    def forward(self, frames_BFD: Tensor, frame_lengths_B: Tensor) -> Tensor:
        maps_BCF = self.first(frames_BFD.transpose(1, 2))
        lengths_B = -(-frame_lengths_B // 8)
        # With zeros in place of what was made of padding, an utterance's embedding is its own.
        maps_BCF = self.second(maps_BCF * valid_mask(lengths_B, maps_BCF.shape[2])[:, None])
        return self.drop(statistics_pooling(maps_BCF[:, :, None], -(-lengths_B // 20)))
