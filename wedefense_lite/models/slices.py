"""Embeddings of overlapping slices of an utterance.

Letters: B utterances, F frames, D features of a frame, S slices, W frames of a slice, E embedding
size.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from wedefense_lite.frontends.base import is_exporting


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
    if is_exporting():
        slices_BSWD = frames_BFD[:, slice_positions(frames_BFD.shape[1], slice_frames)]
        slices_SWD = slices_BSWD.flatten(0, 1)
        lengths_S = frame_lengths_B.new_full((slices_SWD.shape[0],), slice_frames)
        embedding_SE = embed(slices_SWD, lengths_S)
        return embedding_SE.unflatten(0, slices_BSWD.shape[:2]).mean(1)
    embeddings = []
    for frames_FD, length in zip(frames_BFD, frame_lengths_B.tolist()):
        slices_SWD = frames_FD[slice_positions(length, slice_frames).to(frames_FD.device)]
        lengths_S = frame_lengths_B.new_full((len(slices_SWD),), slice_frames)
        embeddings.append(embed(slices_SWD, lengths_S).mean(0))
    return torch.stack(embeddings)


def slice_positions(length: int, slice_frames: int) -> Tensor:
    """Positions ``SW`` of the frames of each slice of an utterance that is repeated."""
    # A plain number: the exporter knows no subclasses of it, such as those of configurations.
    slice_frames = int(slice_frames)
    # Rounded up without negative numbers, whose quotients ONNX rounds to the other side.
    count = slice_frames * ((length + slice_frames - 1) // slice_frames)
    step = max(1, slice_frames // 2)
    num_slices = (count - slice_frames) // step + 1
    first_S1 = torch.arange(num_slices)[:, None] * step
    # A tensor: the exporter takes no remainder by a number that depends on the input.
    return (first_S1 + torch.arange(slice_frames)) % torch.full((1,), length)
