"""The mean of the frames.

Letters: B utterances, F frames, D features of a frame.
"""

from torch import Tensor

from wedefense_lite.models.base import Backbone
from wedefense_lite.models.pooling import mean_over_time


class MeanPooling(Backbone):
    """Mean over time of an encoder's frames. It has no parameters.

    Source: the detectors of AntiDeepfake (Ge et al., "Post-training for deepfake speech detection",
    https://arxiv.org/abs/2506.21090), with which it agrees on the last layer of an encoder, with a
    linear head: https://github.com/nii-yamagishilab/AntiDeepfake, models/W2V.py.

    Args:
        input_dim: features of a frame.
    """

    def __init__(self, input_dim: int):
        super().__init__()
        self.embed_dim = input_dim

    def forward(self, frames_BFD: Tensor, frame_lengths_B: Tensor) -> Tensor:
        return mean_over_time(frames_BFD.transpose(1, 2), frame_lengths_B)
