"""Stage 5: logits and posteriors of embeddings."""

from wedefense_lite import cli

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from wedefense_lite.files import InputError, check_writable, folder_lock
from wedefense_lite.heads import Head
from wedefense_lite.labels import BONAFIDE, LABELS
from wedefense_lite.provenance import file_hash
from wedefense_lite.scoring.archives import Archive, read_archive, write_archive
from wedefense_lite.scoring.scores import write_scores
from wedefense_lite.scoring.sidecar import (
    Score,
    Sidecar,
    begin_results,
    check_sidecar,
    read_sidecar,
    write_sidecar,
)
from wedefense_lite.systems.checkpoint import load_weights
from wedefense_lite.systems.experiment import Experiment, load_experiment

# Outputs of a set.
ARCHIVES = ("logits", "posteriors")
SCORES = "scores.txt"
CHUNK = 4096  # embeddings that go through the head at once, which bounds the memory


def infer(
    model_path: str,
    config: str,
    embedding_scp_path: list[str] | str,
    out_path: list[str] | str,
    num_classes: int | None = None,
    score: Score = "difference",
) -> None:
    """Apply a system's head to embeddings, and write logits and posteriors.

    Args:
        model_path: the checkpoint that the embeddings were made with.
        config: exp/X/config.yaml.
        embedding_scp_path: embeddings of stage 4, of one set or several.
        out_path: folder, one a set, for ``logits.{ark,scp}``, which stage 6 reads, and
            ``posteriors.{ark,scp}``, their softmax, an output for other programs: float32 vectors
            ``[spoof, bonafide]``, each archive with a sidecar.
        num_classes: number of classes, which is 2, or that of the sources in source tracing.
        score: difference: bona fide minus spoof logit, which stage 6 takes. bonafide_logit: that
            logit alone, of which the published EERs of AASIST, SSL-AASIST and Nes2Net are; it is
            no LLR, so stage 6 refuses these logits, and ``scores.txt`` beside them has the scores
            for ``evaluate.py --cm``. The sidecars say which.
    """
    sets = cli.paired("--embedding_scp_path and --out_path", embedding_scp_path, out_path)
    folders = [folder for _, folder in sets]
    if len(set(folders)) < len(folders):
        raise InputError(f"--out_path {folders[0]}: twice, expected a folder for each set")
    experiment = load_experiment(config)
    classes = experiment.system.classes
    expected = len(classes or LABELS)
    if num_classes not in (None, expected):
        raise InputError(f"--num_classes {num_classes}, but the head of {config} gives {expected}")
    if classes and score != "difference":
        raise InputError(f"--score {score}: {config} traces sources, expected no --score")
    model_hash = file_hash(model_path)
    load_weights(model_path, experiment.system)
    sidecars = []
    # All sets before the work on the first of them.
    for scp, _ in sets:
        sidecar = read_sidecar(scp)
        check_sidecar(scp, sidecar, model_hash=model_hash, config_hash=experiment.config_hash)
        if sidecar.window_seconds and score != "difference":
            raise InputError(
                f"{scp}: embeddings of windows, of which stage 6 makes LLRs: expected --windows "
                f"first in stage 4, or no --score {score}"
            )
        sidecars.append(dataclasses.replace(sidecar, score=score))
    for _, folder in sets:
        for path in _outputs(folder, score):
            check_writable(path, path.with_suffix(".json"))
        for name in ARCHIVES:
            check_writable(Path(folder) / f"{name}.scp")
    # All of them: what ends in the first set is not to leave old results of the second.
    for _, folder in sets:
        with folder_lock(folder, "inference"):
            begin_results(*_outputs(folder, score))
    for (scp, folder), sidecar in zip(sets, sidecars):
        _infer_set(experiment, scp, Path(folder), sidecar)


def _outputs(folder: str | Path, score: str) -> list[Path]:
    """Files of a set that have sidecars; scores are one of them where ``score`` is a logit."""
    names = [f"{name}.ark" for name in ARCHIVES]
    if score == "bonafide_logit":
        names.append(SCORES)
    return [Path(folder) / name for name in names]


def _infer_set(experiment: Experiment, scp: str, folder: Path, sidecar: Sidecar) -> None:
    """Write logits and posteriors of a set; see ``infer``."""
    embeddings = read_archive(scp)
    embed_dim = experiment.system.model.embed_dim
    archives = {name: folder / f"{name}.ark" for name in ARCHIVES}
    scores_path = folder / SCORES
    with folder_lock(folder, "inference"):
        begin_results(*_outputs(folder, sidecar.score))
        logits = dict(_logits(experiment.system.head.eval(), embeddings, embed_dim))
        posteriors = {key: torch.from_numpy(row).softmax(0).numpy() for key, row in logits.items()}
        for name, rows in {"logits": logits, "posteriors": posteriors}.items():
            write_archive(archives[name], rows.items())
            write_sidecar(archives[name], sidecar)
        if sidecar.score == "bonafide_logit":
            write_scores(scores_path, logits, [row[BONAFIDE] for row in logits.values()])
            write_sidecar(scores_path, sidecar)


@torch.no_grad()
def _logits(head: Head, embeddings: Archive, embed_dim: int) -> Iterator[tuple[str, np.ndarray]]:
    """Key and logits of each embedding, in the order of the archive.

    Raises:
        InputError: an embedding of another shape, or logits that are not finite.
    """
    keys = list(embeddings)
    for start in range(0, len(keys), CHUNK):
        chunk = keys[start : start + CHUNK]
        rows = []
        for key in chunk:
            embedding = embeddings[key]
            if embedding.shape != (embed_dim,):
                raise InputError(
                    f"{embeddings.scp}: {key} has an embedding of shape {embedding.shape}, "
                    f"expected ({embed_dim},)"
                )
            rows.append(embedding)
        logits = head(torch.from_numpy(np.stack(rows))).numpy()
        for key, row in zip(chunk, logits):
            if not np.isfinite(row).all():
                raise InputError(f"{embeddings.scp}: {key} has logits that are not finite: {row}")
            yield key, row


if __name__ == "__main__":
    cli.run(infer, builds_systems=True)
