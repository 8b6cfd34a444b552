"""Pictures of explanations, as PNG files.

Letters: Q bins of frequency, F frames.
"""

from collections.abc import Mapping
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from wedefense_lite.explain.mask import HOP, top_cells
from wedefense_lite.files import atomic_path, printable
from wedefense_lite.report.pictures import STYLE


def draw_explanations(
    path: str | Path,
    title: str,
    spectra: Mapping[str, np.ndarray],
    mask_QF: np.ndarray | None,
    attributions: Mapping[str, np.ndarray],
    sample_rate: int,
) -> None:
    """Draw spectrograms and the ground truth, and each attribution beside its top 5 %.

    Args:
        path: PNG file.
        title: of the picture.
        spectra: levels ``(Q, F)`` by name, such as ``real`` and ``fake``.
        mask_QF: ground truth; None where there is none.
        attributions: attributions ``(Q, F)`` by method.
        sample_rate: Hz.
    """
    top_row = dict(spectra)
    if mask_QF is not None:
        top_row["changed"] = mask_QF
    columns = max(2, len(top_row))
    rows = 1 + len(attributions)
    with matplotlib.rc_context(STYLE | {"axes.grid": False}):
        figure = Figure(figsize=(3.4 * columns, 2.0 * rows), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        for axis, (name, values_QF) in zip(axes[0], top_row.items()):
            _show(axis, name, values_QF, sample_rate, "gray_r" if name == "changed" else "magma")
        for row, (method, values_QF) in zip(axes[1:], attributions.items()):
            name = method.replace("_", " ")
            highest = float(np.quantile(np.abs(values_QF), 0.995)) or 1.0
            _show(row[0], name, values_QF, sample_rate, "RdBu_r", (-highest, highest))
            _show(row[1], "its top 5 %", top_cells(values_QF), sample_rate, "gray_r")
        for axis in axes.flat:
            if not axis.images:
                axis.set_axis_off()
        for axis in axes[-1]:
            axis.set_xlabel("seconds")
        figure.suptitle(printable(title))
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format="png", dpi=110, metadata={"Software": None})


def _show(
    axis: Axes,
    name: str,
    values_QF: np.ndarray,
    sample_rate: int,
    colours: str,
    limits: tuple[float, float] | None = None,
) -> None:
    seconds = values_QF.shape[1] * HOP / sample_rate
    lowest, highest = limits or (None, None)
    axis.imshow(
        values_QF,
        origin="lower",
        aspect="auto",
        cmap=colours,
        vmin=lowest,
        vmax=highest,
        extent=(0, seconds, 0, sample_rate / 2000),
        interpolation="nearest",
    )
    axis.set_title(name)
    axis.set_ylabel("kHz")
