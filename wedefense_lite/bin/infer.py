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

CHUNK = 4096


def infer(
    model_path: str,
    config: str,
    embedding_scp_path: str,
    out_path: str,
    num_classes: int | None = None,
) -> None:
    """Apply a system's head to embeddings.

    Writes ``logits.{ark,scp}`` and ``posteriors.{ark,scp}``, float32 vectors ``[spoof, bonafide]``,
    each with a sidecar.

    Args:
        model_path: the checkpoint that the embeddings were made with.
        config: exp/X/config.yaml.
        embedding_scp_path: embeddings of stage 4.
        out_path: folder to write to.
        num_classes: the number of logits expected, checked against the head's.
    """
    experiment = load_experiment(config)
    load_weights(model_path, experiment.system)
    sidecar = read_sidecar(embedding_scp_path)
    check_sidecar(
        embedding_scp_path,
        sidecar,
        model_hash=file_hash(model_path),
        config_hash=experiment.config_hash,
        labels=LABELS,
    )
    embeddings = read_archive(embedding_scp_path)
    logits = dict(_logits(experiment.system.head.eval(), embeddings))
    found = len(next(iter(logits.values())))
    if num_classes not in (None, found):
        raise InputError(f"--num_classes {num_classes}, but the head of {config} gives {found}")
    posteriors = {key: torch.from_numpy(row).softmax(0).numpy() for key, row in logits.items()}
    for name, rows in {"logits": logits, "posteriors": posteriors}.items():
        ark = Path(out_path) / f"{name}.ark"
        write_archive(ark, rows.items())
        write_sidecar(ark, sidecar)


@torch.no_grad()
def _logits(head: Head, embeddings: Mapping[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    keys = list(embeddings)
    for start in range(0, len(keys), CHUNK):
        chunk = keys[start : start + CHUNK]
        rows = torch.from_numpy(np.stack([embeddings[key] for key in chunk]))
        yield from zip(chunk, head(rows).numpy())


if __name__ == "__main__":
    cli.run(infer)
