"""Small convolutional network over samples.

Letters: B utterances, F frames, D features of a frame, P channels.
"""

from torch import Tensor, nn

from wedefense_lite.frontends.base import valid_mask
from wedefense_lite.models.base import Backbone
from wedefense_lite.models.pooling import statistics_pooling


class RawCNN(Backbone):
    """Two convolutions, batch norms, dropout, and statistics over time: 37,184 parameters on
    ``Raw``.

    It is the network of student projects on ASVspoof 2017, with statistics pooling in place of
    their fixed length. Frames of the second layer are 10 ms apart at 16 kHz. No EER on a standard
    set is published for it.

    Args:
        input_dim: features of a frame, 1 on ``Raw``.
        channels: channels of the first convolution; the second has twice as many.
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
        maps_BPF = self.first(frames_BFD.transpose(1, 2))
        lengths_B = -(-frame_lengths_B // 8)
        # Zeros behind each utterance again, so that its embedding doesn't depend on the padding.
        maps_BPF = self.second(maps_BPF * valid_mask(lengths_B, maps_BPF.shape[2])[:, None])
        return self.drop(statistics_pooling(maps_BPF[:, :, None], -(-lengths_B // 20)))
