"""Measures of explanations: against a ground truth, and by what removing cells does.

Letters: Q bins of frequency, F frames, N pairs.
"""

from collections.abc import Sequence

import numpy as np
import torch

from wedefense_lite.explain.attribution import BATCH, Explained
from wedefense_lite.explain.mask import KEPT_SHARE, top_cells
from wedefense_lite.metrics.bootstrap import interval

CURVE_SHARES = np.linspace(0, 1, 11)  # shares of cells that are removed or inserted
BOOTSTRAP_SEED = 0


def against_mask(attribution_QF: np.ndarray, mask_QF: np.ndarray) -> dict[str, float]:
    """Agreement of an attribution with a ground truth.

    Args:
        attribution_QF: attribution, positive for spoof.
        mask_QF: true where the recording was changed.

    Returns:
        ``iou`` and ``precision`` of its top 5 % of cells; ``mass``, share of its positive part that
        lies in the mask; ``rank``, share of its highest cells, as many as the mask has, in the
        mask (Arras et al., 2022); ``pointing``, 1 where its highest cell is in the mask. Chance is
        the share of the mask, and for ``iou`` about half of that.
    """
    top_QF = top_cells(attribution_QF, KEPT_SHARE)
    ranked_QF = top_cells(attribution_QF, mask_QF.mean())
    highest_QF = top_cells(attribution_QF, 0.0)
    positive_QF = np.maximum(attribution_QF, 0)
    intersection = (top_QF & mask_QF).sum()
    return {
        "iou": float(intersection / (top_QF | mask_QF).sum()),
        "precision": float(intersection / top_QF.sum()),
        "mass": float(positive_QF[mask_QF].sum() / max(positive_QF.sum(), np.finfo(float).tiny)),
        "rank": float((ranked_QF & mask_QF).sum() / mask_QF.sum()),
        "pointing": float(mask_QF[highest_QF].any()),
    }


def perturbation_curves(explained: Explained, attribution_QF: np.ndarray) -> dict[str, float]:
    """Areas under the deletion and the insertion curve (Petsiuk et al., 2018).

    Args:
        explained: the recording.
        attribution_QF: order in which cells are removed, or put into silence, the highest first.

    Returns:
        ``deletion`` and ``insertion``: mean evidence for spoof over shares of 0 to 1 of the cells;
        the lower and the higher, the better.
    """
    removed = []
    inserted = []
    levels_QF = explained.levels_QF
    for share in CURVE_SHARES:
        is_top = np.zeros(attribution_QF.shape, dtype=bool)
        if share > 0:
            is_top = top_cells(attribution_QF, share)
        is_top_QF = torch.from_numpy(is_top).to(levels_QF.device)
        removed.append(levels_QF.masked_fill(is_top_QF, 0.0))
        inserted.append(levels_QF.masked_fill(~is_top_QF, 0.0))
    areas = {}
    for name, spectra in (("deletion", removed), ("insertion", inserted)):
        evidence = []
        with torch.no_grad():
            for first in range(0, len(spectra), BATCH):
                evidence += explained(torch.stack(spectra[first : first + BATCH])).tolist()
        areas[name] = float(np.trapezoid(evidence, CURVE_SHARES))
    return areas


def mean_with_interval(values: Sequence[float], count: int = 1000) -> dict[str, float]:
    """Mean over pairs, and its 95 % interval by bootstrap.

    Args:
        values: a value a pair.
        count: number of bootstrap samples.
    """
    values_N = np.asarray(values, dtype=np.float64)
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    rows = rng.integers(len(values_N), size=(count, len(values_N)))
    low, high = interval(values_N[rows].mean(axis=1))
    return {"mean": float(values_N.mean()), "low": low, "high": high}


def ratio_with_interval(
    values: Sequence[float], control: Sequence[float], count: int = 1000
) -> dict[str, float]:
    """Ratio of the means of a method and a control over the same pairs, with its 95 % interval.

    Args:
        values: a value a pair.
        control: the same of the control, whose mean is positive.
        count: number of bootstrap samples, each of the same pairs for both.
    """
    values_N = np.asarray(values, dtype=np.float64)
    control_N = np.asarray(control, dtype=np.float64)
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    rows = rng.integers(len(values_N), size=(count, len(values_N)))
    tiny = np.finfo(float).tiny
    ratios = values_N[rows].mean(axis=1) / np.maximum(control_N[rows].mean(axis=1), tiny)
    low, high = interval(ratios)
    return {"mean": float(values_N.mean() / max(control_N.mean(), tiny)), "low": low, "high": high}
