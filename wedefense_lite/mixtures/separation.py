"""Separation of audio of any length and sample rate."""

import logging
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from wedefense_lite.audio.resampling import resample
from wedefense_lite.files import InputError
from wedefense_lite.mixtures.sisdr import best_sources, pairwise_si_sdr
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
    """The talkers of a recording, ``KT`` float32, at its own rate and of its own length.

    Longer recordings than a chunk are separated in chunks that overlap. In what two of them share, streams are matched
    by SI-SDR, and one fades into the other; a talker who is silent there may go on in the stream of another
    who is too. Digital silence gives silence.

    Args:
        separator: in evaluation mode; works at its own rate.
        wav_T: floats in [-1, 1].
        sample_rate: of the recording, in Hz.
        chunk_seconds: the longest audio that is separated at once.
        overlap_seconds: of a chunk with the next one.

    Raises:
        InputError: chunks that would not move on, or share no sample.
    """
    rate = separator.sample_rate
    chunk, overlap = round(chunk_seconds * rate), round(overlap_seconds * rate)
    if not 0 < overlap < chunk:
        raise InputError(f"chunks of {chunk_seconds:g} s can't overlap by {overlap_seconds:g} s")
    if not wav_T.any():
        return np.zeros((separator.talkers, len(wav_T)), dtype=np.float32)
    wav = torch.from_numpy(resample(wav_T, sample_rate, rate))
    device = next(separator.parameters(), wav).device
    made = None
    for start, chunk_T in _chunks(wav, chunk, overlap):
        with torch.no_grad():
            streams_KT = separator(chunk_T[None].to(device))[0].cpu()
        made = streams_KT if made is None else _joined(made, streams_KT, made.shape[1] - start)
    # Resampling rounds lengths up, so what comes back is as long or longer.
    return resample(made.numpy(), rate, sample_rate)[:, : len(wav_T)]


def lost_band(separator: Separator, sample_rate: int) -> list[float]:
    """Lowest and highest frequency in Hz that streams lack of what audio at a sample rate has; a warning says it too.

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
    """Chunks and where they start; the last one is whole too, and so overlaps with more."""
    last = max(0, len(wav_T) - size)
    for start in [*range(0, last, size - overlap), last]:
        yield start, wav_T[start : start + size]


def _joined(before_KT: Tensor, after_KT: Tensor, shared: int) -> Tensor:
    """Streams that go on, those of ``after_KT`` in the order of the ones with which they share so many samples."""
    old_KT, new_KT = before_KT[:, -shared:], after_KT[:, :shared]
    order_K = best_sources(pairwise_si_sdr(old_KT[None], new_KT[None]))[0]
    fade_T = torch.linspace(0, 1, shared)
    between_KT = old_KT * (1 - fade_T) + new_KT[order_K] * fade_T
    return torch.cat([before_KT[:, :-shared], between_KT, after_KT[order_K, shared:]], 1)


def trained_separator(config: str, model_path: str) -> Separator:
    """The separator of a system, with the weights of a checkpoint, for inference.

    Raises:
        InputError: a system without one, or another model's weights.
    """
    system = load_experiment(config).system
    if not isinstance(getattr(system, "separator", None), Separator):
        raise InputError(
            f"{config}: its system is a {type(system).__name__} without a separator, expected one with it"
        )
    load_weights(model_path, system)
    return system.separator.eval()
