"""SI-SDR, and the assignment of streams to stems.

Shapes: B mixtures of a batch, T samples, K streams, S stems that they are compared with.
"""

import numpy as np
import scipy  # imports its parts where they are used, some of which take a second
import torch
from torch import Tensor

# The share of a stream's energy that counts as nothing. It bounds an SI-SDR by 10 log10(1 / floor):
# results by 80 dB. A loss is bounded by 30 dB, so that a talker of whom a crop has next to nothing
# doesn't outweigh the others (as the threshold of Wisdom et al., "Unsupervised sound separation
# using mixture invariant training", NeurIPS 2020, section 3).
FLOOR = 1e-8
LOSS_FLOOR = 1e-3


def pairwise_si_sdr(
    streams_BKT: Tensor, stems_BST: Tensor, lengths_B: Tensor | None = None, floor: float = FLOOR
) -> Tensor:
    """Scale-invariant signal-to-distortion ratio of each stream against each stem.

    Le Roux et al., "SDR - half-baked or well done?" (ICASSP 2019), means removed. A silent stream
    has the lowest value against any stem, and any stream has it against a silent stem.

    Args:
        streams_BKT: output of a separator, of any scale.
        stems_BST: references.
        lengths_B: samples of each mixture that are not padding; all by default.
        floor: share of a stream's energy that counts as nothing; values are within
            10 log10(1 / floor) dB, by default from -80 to 80 dB.

    Returns:
        ``BKS`` in dB.
    """
    samples = streams_BKT.shape[2]
    if lengths_B is None:
        lengths_B = torch.full([len(streams_BKT)], samples)
    lengths_B11 = lengths_B.to(streams_BKT.device)[:, None, None]
    streams_BKT = _centre(streams_BKT, lengths_B11)
    stems_BST = _centre(stems_BST, lengths_B11)
    stem_energy_B1S = stems_BST.square().sum(-1)[:, None]
    stream_energy_BK1 = streams_BKT.square().sum(-1)[..., None]
    product_BKS = streams_BKT @ stems_BST.transpose(1, 2)
    # The share of the stream's energy that the stem explains; the rest is distortion. Rounding may
    # put it above 1. It is 0 for silence, whose energy of 0 must not divide.
    tiny = torch.finfo(torch.float32).tiny
    energies_BKS = (stem_energy_B1S * stream_energy_BK1).clamp(min=tiny)
    share_BKS = (product_BKS.square() / energies_BKS).clamp(max=1)
    return (10 * ((share_BKS + floor) / (1 - share_BKS + floor)).log10()).float()


def _centre(wav_BKT: Tensor, lengths_B11: Tensor) -> Tensor:
    """Signals without their means, zero where they are padded.

    In double precision: 1 minus a share near 1 has no digits left in single precision.
    """
    valid_B1T = torch.arange(wav_BKT.shape[2], device=wav_BKT.device) < lengths_B11
    wav_BKT = wav_BKT.double() * valid_B1T
    return (wav_BKT - wav_BKT.sum(-1, keepdim=True) / lengths_B11) * valid_B1T


def assign_streams(score_BKS: Tensor) -> Tensor:
    """Stem of each stream, one to one, with the highest sum of scores.

    Args:
        score_BKS: of each stream with each stem, as many of both; NaN counts as 0, so that a
            separator that has diverged gets as far as its loss, which names the step.

    Returns:
        ``BK`` indices of stems.
    """
    score_matrices = score_BKS.detach().cpu().double().nan_to_num().numpy()
    assignments = []
    for score_KS in score_matrices:
        _, stem_K = scipy.optimize.linear_sum_assignment(score_KS, maximize=True)
        assignments.append(stem_K)
    return torch.tensor(np.array(assignments), device=score_BKS.device)


def pit_si_sdr_loss(streams_BKT: Tensor, stems_BKT: Tensor, lengths_B: Tensor) -> Tensor:
    """Negative mean SI-SDR in dB at the best assignment of streams to stems.

    Kolbaek et al., "Multitalker speech separation with utterance-level permutation invariant
    training" (IEEE/ACM TASLP 2017). A silent stem, that of a talker who says nothing in a crop, has
    no SI-SDR and is left out of the mean.

    Args:
        streams_BKT: output of a separator.
        stems_BKT: references.
        lengths_B: samples of each mixture that are not padding.
    """
    si_sdr_BKS = pairwise_si_sdr(streams_BKT, stems_BKT, lengths_B, LOSS_FLOOR)
    stem_of_stream_BK = assign_streams(si_sdr_BKS)
    speaks_BK = stems_BKT.square().sum(-1).gather(1, stem_of_stream_BK) > 0
    assigned_BK = si_sdr_BKS.gather(2, stem_of_stream_BK[..., None])[..., 0]
    return -(assigned_BK * speaks_BK).sum() / speaks_BK.sum().clamp(min=1)
