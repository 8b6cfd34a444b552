"""Embeddings of a run in two dimensions.

Letters: N utterances, E embedding size.
"""

import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from wedefense_lite.files import InputError
from wedefense_lite.labels import BONAFIDE, LABELS, SPOOF
from wedefense_lite.report.run import Run
from wedefense_lite.scoring.archives import read_archive
from wedefense_lite.scoring.recordings import WINDOW_MARK
from wedefense_lite.scoring.sidecar import read_sidecar

Projection = Literal["pca", "umap", "none"]
MOST_POINTS = 1500  # of a set; more would overlap, and make a page of megabytes


class EmbeddingMap(NamedTuple):
    """Utterances of all sets as points of a plane.

    Attributes:
        projection: pca or umap.
        shares: of the variance along each axis, for a PCA.
        xy_N2: the points.
        columns: class, attack, speaker and set, of each point.
        utterances: id of each point.
        llrs: nats, of each point.
        counts: by set, its points and its trials.
    """

    projection: Projection
    shares: tuple[float, float] | None
    xy_N2: np.ndarray
    columns: dict[str, list[str]]
    utterances: list[str]
    llrs: list[float]
    counts: dict[str, tuple[int, int]]

    def content(self) -> dict:
        """What the script of the page draws: columns as numbers, each with its names."""
        columns = {}
        for name, values in self.columns.items():
            names = sorted(set(values))
            number_of = {value: number for number, value in enumerate(names)}
            columns[name] = {"names": names, "values": [number_of[value] for value in values]}
        # The longer side of the plane has 1,000 steps, which is finer than a screen shows.
        lowest_2 = self.xy_N2.min(axis=0)
        extent = float((self.xy_N2.max(axis=0) - lowest_2).max()) or 1.0
        steps_N2 = np.rint(1000 * (self.xy_N2 - lowest_2) / extent).astype(int)
        return {
            "x": steps_N2[:, 0].tolist(),
            "y": steps_N2[:, 1].tolist(),
            "utterances": self.utterances,
            "llrs": [f"{llr:z.2f}" for llr in self.llrs],
            "columns": columns,
        }


def check_projection(projection: Projection) -> None:
    """Refuse a projection whose package is missing.

    Raises:
        InputError: says how to install it.
    """
    if projection == "umap" and importlib.util.find_spec("umap") is None:
        raise InputError("--projection umap needs umap-learn: pip install 'wedefense_lite[umap]'")


def read_map(
    run: Run, exp_dir: str | Path, projection: Projection, most_points: int = MOST_POINTS
) -> EmbeddingMap | None:
    """Embeddings of the sets of a run in two dimensions; None where stage 4 wrote none.

    An utterance of several windows is at the mean of their embeddings.

    Args:
        run: the experiment.
        exp_dir: its folder.
        projection: pca, umap or none.
        most_points: of a set; of more utterances so many are drawn, the same each time.

    Raises:
        InputError: embeddings of another run, or none of an utterance.
    """
    if projection == "none":
        return None
    rows = []
    columns: dict[str, list[str]] = {"class": [], "attack": [], "speaker": [], "set": []}
    utterances: list[str] = []
    llrs: list[float] = []
    counts = {}
    for scored in run.ranked:
        scp = Path(exp_dir, "embeddings", scored.name, "embedding.scp")
        if not scp.exists():
            continue
        sidecar = read_sidecar(scp.with_suffix(".ark"), required=False)
        archive = read_archive(scp)
        has_windows = sidecar is not None and sidecar.window_seconds is not None
        rows_of_key = _rows_by_utterance(archive, has_windows)
        total = len(scored.key)
        chosen = np.arange(total)
        if total > most_points:
            chosen = np.random.default_rng(0).choice(total, most_points, replace=False)
            chosen.sort()
        for number in chosen.tolist():
            key = str(scored.key[number])
            if key not in rows_of_key:
                raise InputError(f"{scp}: no embedding of {key}: run stage 4 again")
            windows = [np.ravel(archive[row]) for row in rows_of_key[key]]
            rows.append(np.mean(windows, axis=0))
            utterances.append(key)
            llrs.append(float(scored.llr[number]))
            columns["class"].append(LABELS[BONAFIDE if scored.bonafide[number] else SPOOF])
            columns["attack"].append(str(scored.attack[number]))
            columns["speaker"].append(str(scored.speaker[number]))
            columns["set"].append(scored.name)
        counts[scored.name] = (len(chosen), total)
    if not rows:
        return None
    if len({row.size for row in rows}) > 1:
        raise InputError(f"{exp_dir}/embeddings: embeddings of several sizes: run stage 4 again")
    embedding_NE = np.stack(rows).astype(np.float64)
    shares = None
    if projection == "umap" and len(rows) > 3:
        xy_N2 = umap_axes(embedding_NE)
    else:
        projection = "pca"
        xy_N2, shares = principal_axes(embedding_NE)
    return EmbeddingMap(projection, shares, xy_N2, columns, utterances, llrs, counts)


def _rows_by_utterance(keys: Iterable[str], has_windows: bool) -> dict[str, list[str]]:
    """Keys of an archive by utterance: one of each, or one of each window."""
    rows: dict[str, list[str]] = {}
    for key in keys:
        utterance = key.rpartition(WINDOW_MARK)[0] if has_windows else key
        rows.setdefault(utterance, []).append(key)
    return rows


def principal_axes(embedding_NE: np.ndarray) -> tuple[np.ndarray, tuple[float, float]]:
    """The two principal components of embeddings, and the share of the variance of each.

    The sign of an axis is free. Here the largest weight of an axis, by its absolute value, is
    positive, so that a page is the same each time.
    """
    centred_NE = embedding_NE - embedding_NE.mean(axis=0)
    _, singular_values, axes = np.linalg.svd(centred_NE, full_matrices=False)
    variance = singular_values**2
    total = float(variance.sum()) or 1.0
    xy_N2 = np.zeros((len(embedding_NE), 2))
    shares = [0.0, 0.0]
    for number, axis in enumerate(axes[:2]):
        sign = 1.0 if axis[np.argmax(np.abs(axis))] >= 0 else -1.0
        xy_N2[:, number] = sign * (centred_NE @ axis)
        shares[number] = float(variance[number]) / total
    return xy_N2, (shares[0], shares[1])


def umap_axes(embedding_NE: np.ndarray) -> np.ndarray:
    """Embeddings ``(N, 2)`` by UMAP with a fixed seed.

    Source: McInnes et al., "UMAP: Uniform Manifold Approximation and Projection", 2018.
    """
    import umap

    neighbours = min(15, len(embedding_NE) - 1)
    reducer = umap.UMAP(n_components=2, n_neighbors=neighbours, random_state=0, n_jobs=1)
    return np.asarray(reducer.fit_transform(embedding_NE), dtype=np.float64)
