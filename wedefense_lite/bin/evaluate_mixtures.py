"""Scores of the streams of mixtures to mixture and source metrics."""

import logging
from typing import Literal

import numpy as np

from wedefense_lite import cli
from wedefense_lite.files import InputError, iter_rows, write_json
from wedefense_lite.labels import label_id
from wedefense_lite.metrics.bootstrap import Resampler, interval, replicates
from wedefense_lite.metrics.mixtures import assign_by_oracle, assign_by_sisdr, mixture_metrics
from wedefense_lite.scoring.scores import aligned, number, read_column


def evaluate_mixtures(
    scores: str,
    key: str,
    assignment: Literal["sisdr", "identity", "oracle"] | None = None,
    threshold: float = 0.0,
    bootstrap: int = 0,
    json: str | None = None,
) -> None:
    """Print the metrics of mixtures of K talkers, of whom any may be spoofed.

    Args:
        scores: header ``mixture stream score sisdr_1 sisdr_2 ...``, a line for each of K streams,
            numbered from 1 or 0: higher is more bona fide, SI-SDR against each source in dB.
        key: header ``mixture label_1 label_2 ...``, the label of each source.
        assignment: which source a stream is of: sisdr, by the highest sum of SI-SDR; identity, the one
            of its number; oracle, the one that its score fits best, an upper bound. By default sisdr
            where the file has it, or else identity.
        threshold: a stream is bona fide at this score or more.
        bootstrap: number of bootstrap samples of mixtures for 95 % intervals.
        json: file for the results, rates as fractions.
    """
    truth = [read_column(key, name, label_id, ["mixture"]) for name in _named(key, "label_")]
    if len(truth) < 2:
        raise InputError(f"{key}: {len(truth)} columns label_*, expected 2 or more")
    labels = np.array([list(column.values()) for column in truth]).T

    def by_stream(column: str) -> np.ndarray:
        cells = read_column(scores, column, number, ["mixture", "stream"])
        first = min((name.split()[1] for name in cells), default="1") != "0"
        names = {f"{mixture} {first + stream}": None for mixture in truth[0] for stream in range(len(truth))}
        return np.reshape(aligned(cells, scores, names, key), labels.shape)

    values, sisdr = by_stream("score"), _named(scores, "sisdr_")
    assignment = assignment or ("sisdr" if sisdr else "identity")
    sources = np.broadcast_to(np.arange(len(truth)), labels.shape)
    if assignment == "sisdr":
        if len(sisdr) != len(truth):
            raise InputError(f"{scores}: {len(sisdr)} columns sisdr_*, expected {len(truth)}")
        sources = assign_by_sisdr(np.stack([by_stream(name) for name in sisdr], axis=2))
    elif assignment == "oracle":
        logging.warning("oracle assignment looks at the labels: source metrics are upper bounds")
        sources = assign_by_oracle(values, labels)
    results = mixture_metrics(values, labels, sources, threshold)
    results |= {"n_mixtures": len(labels), "assignment": assignment, "threshold": threshold}
    if bootstrap:

        def sample(weights: np.ndarray) -> dict[str, float]:
            chosen = np.repeat(np.arange(len(labels)), weights)
            found = mixture_metrics(values[chosen], labels[chosen], sources[chosen], threshold)
            return {name: value for name, value in found.items() if isinstance(value, float)}

        samples = replicates(sample, Resampler(labels.sum(axis=1)), bootstrap)
        results["ci"] = {name: interval(drawn) for name, drawn in samples.items()}
    for name, value in results.items():
        print(f"{name}: {value}")
    if json:
        write_json(json, results)


def _named(path: str, prefix: str) -> list[str]:
    """Columns of a table whose names start with ``prefix``."""
    return [name for name in next(iter_rows(path, columns=None))[1] if name.startswith(prefix)]


if __name__ == "__main__":
    cli.run(evaluate_mixtures)
