"""Stage 5: logits and posteriors of embeddings."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch

from wedefense_lite import cli
from wedefense_lite.files import InputError
from wedefense_lite.heads import Head
from wedefense_lite.labels import LABELS
from wedefense_lite.provenance import file_hash
from wedefense_lite.scoring.archives import read_archive, write_archive
from wedefense_lite.scoring.sidecar import check_sidecar, read_sidecar, write_sidecar
from wedefense_lite.systems.checkpoint import load_weights
from wedefense_lite.systems.experiment import load_experiment

CHUNK = 4096  # embeddings that go through the head at once, which bounds the memory


def infer(
    model_path: str,
    config: str,
    embedding_scp_path: str,
    out_path: str,
    num_classes: int | None = None,
) -> None:
    """Apply a system's head to embeddings, and write logits and posteriors.

    Args:
        model_path: the checkpoint that the embeddings were made with.
        config: exp/X/config.yaml.
        embedding_scp_path: embeddings of stage 4.
        out_path: folder for ``logits.{ark,scp}``, which stage 6 reads, and
            ``posteriors.{ark,scp}``, their softmax, an output for other programs: float32 vectors
            ``[spoof, bonafide]``, each archive with a sidecar.
        num_classes: number of classes, which is 2.
    """
    if num_classes not in (None, len(LABELS)):
        raise InputError(
            f"--num_classes {num_classes}, but the head of {config} gives {len(LABELS)}"
        )
    experiment = load_experiment(config)
    load_weights(model_path, experiment.system)
    sidecar = read_sidecar(embedding_scp_path)
    check_sidecar(
        embedding_scp_path,
        sidecar,
        model_hash=file_hash(model_path),
        config_hash=experiment.config_hash,
    )
    embeddings = read_archive(embedding_scp_path)
    logits = dict(_logits(experiment.system.head.eval(), embeddings))
    posteriors = {key: torch.from_numpy(row).softmax(0).numpy() for key, row in logits.items()}
    for name, rows in {"logits": logits, "posteriors": posteriors}.items():
        ark = Path(out_path) / f"{name}.ark"
        write_archive(ark, rows.items())
        write_sidecar(ark, sidecar)


@torch.no_grad()
def _logits(head: Head, embeddings: Mapping[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """Key and logits of each embedding, in the order of the archive."""
    keys = list(embeddings)
    for start in range(0, len(keys), CHUNK):
        chunk = keys[start : start + CHUNK]
        rows = torch.from_numpy(np.stack([embeddings[key] for key in chunk]))
        yield from zip(chunk, head(rows).numpy())


if __name__ == "__main__":
    cli.run(infer, builds_systems=True)
