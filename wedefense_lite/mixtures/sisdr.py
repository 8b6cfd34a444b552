"""SI-SDR, and which stream is of which talker."""

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

# Share of a stream's energy that counts as nothing: results stay within 80 dB, and a loss within 30
# dB, so that a talker of whom a crop has next to nothing doesn't outweigh the others (as in Wisdom
# et al., NeurIPS 2020, section 3).
FLOOR, LOSS_FLOOR = 1e-8, 1e-3


def pairwise_si_sdr(
    streams_BKT: Tensor, stems_BST: Tensor, lengths_B: Tensor | None = None, floor: float = FLOOR
) -> Tensor:
    """Scale-invariant signal-to-distortion ratio of each stream against each stem, ``BKS``, in dB.

    Le Roux et al., "SDR - half-baked or well done?" (ICASSP 2019), means removed. The floor bounds
    it, by default to 80 dB and -80 dB, which is what a silent stream has against any stem, and any
    stream against a silent stem.

    Args:
        streams_BKT: what a separator made, of any scale.
        stems_BST: references.
        lengths_B: samples of each mixture that are not padding; all by default.
        floor: share of a stream's energy that counts as nothing.
    """
    samples = streams_BKT.shape[2]
    lengths_B = torch.full([len(streams_BKT)], samples) if lengths_B is None else lengths_B
    lengths_B11 = lengths_B.to(streams_BKT.device)[:, None, None]
    streams_BKT, stems_BST = (
        _centred(wav_BKT, lengths_B11) for wav_BKT in (streams_BKT, stems_BST)
    )
    stem_B1S = stems_BST.square().sum(-1)[:, None]
    stream_BK1 = streams_BKT.square().sum(-1)[..., None]
    product_BKS = streams_BKT @ stems_BST.transpose(1, 2)
    tiny = torch.finfo(torch.float32).tiny
    # The share of the stream's energy that the stem explains; the rest is distortion.
    share_BKS = (product_BKS.square() / (stem_B1S * stream_BK1).clamp(min=tiny)).clamp(max=1)
    return (10 * ((share_BKS + floor) / (1 - share_BKS + floor)).log10()).float()


def _centred(wav_BKT: Tensor, lengths_B11: Tensor) -> Tensor:
    """Without their means, and with zeros for padding; the sums of what follows need double precision."""
    valid_B1T = torch.arange(wav_BKT.shape[2], device=wav_BKT.device) < lengths_B11
    wav_BKT = wav_BKT.double() * valid_B1T
    return (wav_BKT - wav_BKT.sum(-1, keepdim=True) / lengths_B11) * valid_B1T


def best_sources(score_BKS: Tensor) -> Tensor:
    """Source of each stream, one to one, with the highest sum of scores, ``BK``; NaN counts as 0."""
    scores = score_BKS.detach().cpu().double().nan_to_num().numpy()
    found = [linear_sum_assignment(score_KS, maximize=True)[1] for score_KS in scores]
    return torch.tensor(np.array(found), device=score_BKS.device)


def pit_si_sdr_loss(streams_BKT: Tensor, stems_BKT: Tensor, lengths_B: Tensor) -> Tensor:
    """Negative mean SI-SDR in dB at the assignment of streams to stems for which it is least.

    Kolbaek et al., "Multitalker speech separation with utterance-level permutation invariant training" (2017). A
    stem that is silent, as of a talker who says nothing in a crop, has no SI-SDR and is left out of the mean.

    Args:
        streams_BKT: what a separator made.
        stems_BKT: references.
        lengths_B: samples of each mixture that are not padding.
    """
    si_sdr_BKS = pairwise_si_sdr(streams_BKT, stems_BKT, lengths_B, LOSS_FLOOR)
    sources_BK = best_sources(si_sdr_BKS)
    speaks_BK = stems_BKT.square().sum(-1).gather(1, sources_BK) > 0
    chosen_BK = si_sdr_BKS.gather(2, sources_BK[..., None])[..., 0]
    return -(chosen_BK * speaks_BK).sum() / speaks_BK.sum().clamp(min=1)
