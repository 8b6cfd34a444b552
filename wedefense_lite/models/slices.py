"""Embeddings of overlapping slices of an utterance.

Letters: B utterances, F frames, D features of a frame, S slices, W frames of a slice, E embedding
size.
"""

from collections.abc import Callable

import torch
from torch import Tensor


def embed_slices(
    embed: Callable[[Tensor, Tensor], Tensor],
    frames_BFD: Tensor,
    frame_lengths_B: Tensor,
    slice_frames: int,
) -> Tensor:
    """Mean of the embeddings of slices that overlap by half, ``BE``.

    An utterance is repeated up to a whole number of slices first, so that none is padded. With a
    linear layer behind it, the difference of the logits is the mean of those of the slices.

    Args:
        embed: embeddings of frames and their lengths.
        frames_BFD: frames.
        frame_lengths_B: frames of each utterance.
        slice_frames: frames of a slice.
    """
    embeddings = []
    for frames_FD, length in zip(frames_BFD, frame_lengths_B.tolist()):
        count = slice_frames * -(-length // slice_frames)
        repeated_FD = frames_FD[:length].repeat(-(-count // length), 1)[:count]
        step = max(1, slice_frames // 2)
        slices_SWD = repeated_FD.unfold(0, slice_frames, step).transpose(1, 2)
        lengths_S = frame_lengths_B.new_full((len(slices_SWD),), slice_frames)
        embeddings.append(embed(slices_SWD, lengths_S).mean(0))
    return torch.stack(embeddings)
