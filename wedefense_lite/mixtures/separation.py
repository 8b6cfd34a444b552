"""Separation of audio of any length and sample rate.

Shapes: T samples, K streams of a separator.
"""

import logging
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from wedefense_lite.audio.resampling import resample
from wedefense_lite.files import InputError
from wedefense_lite.mixtures.sisdr import assign_streams, pairwise_si_sdr
from wedefense_lite.separators.base import Separator
from wedefense_lite.systems.checkpoint import load_weights
from wedefense_lite.systems.experiment import load_experiment


def separate(
    separator: Separator,
    wav_T: np.ndarray,
    sample_rate: int,
    chunk_seconds: float = 30.0,
    overlap_seconds: float = 4.0,
) -> np.ndarray:
    """The talkers of a recording, at its own sample rate and of its own length.

    A recording longer than a chunk is separated in chunks that overlap. In the overlap of two
    chunks, streams are matched by SI-SDR and cross-faded. Talkers who are both silent there may be
    swapped. Digital silence gives silence.

    Args:
        separator: in evaluation mode; works at its own rate.
        wav_T: floats in [-1, 1].
        sample_rate: of the recording, in Hz.
        chunk_seconds: the longest audio that is separated at once.
        overlap_seconds: overlap of a chunk with the next one.

    Returns:
        ``KT``, float32.

    Raises:
        InputError: an overlap of no sample, or as long as a chunk.
    """
    rate = separator.sample_rate
    chunk = round(chunk_seconds * rate)
    overlap = round(overlap_seconds * rate)
    if not 0 < overlap < chunk:
        raise InputError(f"chunks of {chunk_seconds:g} s can't overlap by {overlap_seconds:g} s")
    if not wav_T.any():
        return np.zeros((separator.num_talkers, len(wav_T)), dtype=np.float32)
    mixture_T = torch.from_numpy(resample(wav_T, sample_rate, rate))
    # A separator without parameters works where the audio is.
    device = next(separator.parameters(), mixture_T).device
    streams_KT = None
    for start, chunk_T in _chunks(mixture_T, chunk, overlap):
        with torch.no_grad():
            chunk_KT = separator(chunk_T[None].to(device))[0].cpu()
        if streams_KT is None:
            streams_KT = chunk_KT
            continue
        shared = streams_KT.shape[1] - start
        streams_KT = _join(streams_KT, chunk_KT, shared)
    # Resampling rounds lengths up, so streams come back as long as the recording or longer.
    return resample(streams_KT.numpy(), rate, sample_rate)[:, : len(wav_T)]


def lost_band(separator: Separator, sample_rate: int) -> list[float]:
    """Lowest and highest frequency in Hz that streams lack of audio at a sample rate; warns of it.

    Empty for a separator that works at this rate or a higher one.
    """
    if separator.sample_rate >= sample_rate:
        return []
    band = [separator.sample_rate / 2, sample_rate / 2]
    logging.warning(
        "a separator at %d Hz: streams lack %g to %g Hz, which detectors use",
        separator.sample_rate,
        *band,
    )
    return band


def _chunks(wav_T: Tensor, size: int, overlap: int) -> Iterator[tuple[int, Tensor]]:
    """First sample of each chunk, and the chunk.

    The last chunk is whole too, since separators need context: it overlaps with more of the one
    before.
    """
    last = max(0, len(wav_T) - size)
    for start in [*range(0, last, size - overlap), last]:
        yield start, wav_T[start : start + size]


def order_of_streams(old_KT: Tensor, new_KT: Tensor) -> Tensor:
    """Stream of the new ones that goes on with each of the old ones, by SI-SDR.

    Args:
        old_KT: streams of one separation.
        new_KT: streams of the same samples by another one, in any order.

    Returns:
        ``K`` indices of new streams.
    """
    return assign_streams(pairwise_si_sdr(old_KT[None], new_KT[None]))[0]


def _join(before_KT: Tensor, after_KT: Tensor, shared: int) -> Tensor:
    """Streams, continued by those of the next chunk.

    A separator gives its streams in any order, in each chunk anew. The same talker sounds alike in
    both chunks, so the samples that they share tell the order. There one chunk fades into the other
    linearly: streams of both are nearly equal, so their gains add up to 1.

    Args:
        before_KT: all chunks so far.
        after_KT: the next chunk.
        shared: samples that both have.
    """
    old_KT = before_KT[:, -shared:]
    new_KT = after_KT[:, :shared]
    order_K = order_of_streams(old_KT, new_KT)
    fade_T = torch.linspace(0, 1, shared)
    faded_KT = old_KT * (1 - fade_T) + new_KT[order_K] * fade_T
    return torch.cat([before_KT[:, :-shared], faded_KT, after_KT[order_K, shared:]], 1)


def trained_separator(config: str, model_path: str) -> Separator:
    """The separator of a system, with the weights of a checkpoint, in evaluation mode.

    Raises:
        InputError: a system without a separator, or another model's weights.
    """
    system = load_experiment(config).system
    if not isinstance(getattr(system, "separator", None), Separator):
        raise InputError(
            f"{config}: its system is a {type(system).__name__} without a separator, "
            "expected one with it"
        )
    load_weights(model_path, system)
    return system.separator.eval()
