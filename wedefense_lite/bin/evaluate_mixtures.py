"""Scores of the streams of mixtures to mixture and source metrics."""

import logging
from typing import Literal

import numpy as np

from wedefense_lite import cli
from wedefense_lite.files import InputError, iter_rows, number
from wedefense_lite.labels import label_id
from wedefense_lite.metrics.bootstrap import Resampler, intervals
from wedefense_lite.metrics.mixtures import assign_by_oracle, assign_by_sisdr, mixture_metrics
from wedefense_lite.scoring.results import publish
from wedefense_lite.scoring.scores import aligned, read_columns


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
    truth = read_columns(key, dict.fromkeys(_named(key, "label_"), label_id), ["mixture"])
    labels, sisdr = np.array(list(truth.values())), _named(scores, "sisdr_")
    talkers = labels.shape[1]
    if talkers < 2:
        raise InputError(f"{key}: {talkers} columns label_*, expected 2 or more")
    cells = read_columns(scores, dict.fromkeys(["score", *sisdr], number), ["mixture", "stream"])
    first = not any(name.endswith(" 0") for name in cells)
    streams = [f"{mixture} {first + stream}" for mixture in truth for stream in range(talkers)]
    values = np.reshape(aligned(cells, scores, dict.fromkeys(streams), key), (*labels.shape, 1 + len(sisdr)))
    assignment = assignment or ("sisdr" if sisdr else "identity")
    sources = np.broadcast_to(np.arange(talkers), labels.shape)
    if assignment == "sisdr":
        if len(sisdr) != talkers:
            raise InputError(f"{scores}: {len(sisdr)} columns sisdr_*, expected {talkers}")
        sources = assign_by_sisdr(values[..., 1:])
    elif assignment == "oracle":
        logging.warning("oracle assignment looks at the labels: source metrics are upper bounds")
        sources = assign_by_oracle(values[..., 0], labels)
    # Mixtures with as many bona fide talkers are drawn among themselves, so that no sample lacks a class.
    bonafide = labels.sum(axis=1)
    order, sizes = np.argsort(bonafide, kind="stable"), np.unique(bonafide, return_counts=True)[1]

    def metrics(*counts: np.ndarray) -> dict:
        chosen = np.repeat(order, np.concatenate(counts) if counts else 1)
        return mixture_metrics(values[chosen, :, 0], labels[chosen], sources[chosen], threshold)

    def rates(*counts: np.ndarray) -> dict[str, float]:
        return {name: value for name, value in metrics(*counts).items() if isinstance(value, float)}

    results = metrics() | {"n_mixtures": len(labels), "assignment": assignment, "threshold": threshold}
    if bootstrap:
        results["ci"] = intervals(rates, Resampler(sizes), bootstrap)
    publish([f"{name}: {value}" for name, value in results.items()], results, json)


def _named(path: str, prefix: str) -> list[str]:
    """Columns of a table whose names start with ``prefix``."""
    return [name for name in next(iter_rows(path, columns=None))[1] if name.startswith(prefix)]


if __name__ == "__main__":
    cli.run(evaluate_mixtures)
