"""Scores of the streams of mixtures to mixture and source metrics."""

import logging
from typing import Literal

import numpy as np

from wedefense_lite import cli
from wedefense_lite.files import InputError, write_json
from wedefense_lite.labels import label_id
from wedefense_lite.metrics.mixtures import assign_by_oracle, assign_by_sisdr, mixture_metrics
from wedefense_lite.scoring.scores import Table, read_headed


def evaluate_mixtures(
    scores: str,
    key: str,
    assignment: Literal["sisdr", "identity", "oracle"] | None = None,
    threshold: float = 0.0,
    json: str | None = None,
) -> None:
    """Print the metrics of mixtures of K talkers, of whom any may be spoofed.

    Args:
        scores: header ``mixture stream score sisdr_1 sisdr_2 ...``, a line for each of K streams,
            numbered from 1 (or 0): higher is more bona fide, SI-SDR against each source in dB.
        key: header ``mixture label_1 label_2 ...``, the label of each source.
        assignment: which source a stream is of: sisdr, by the highest sum of SI-SDR; identity, the one
            of its number; oracle, the one that its score fits best, an upper bound. By default sisdr
            where the file has it, or else identity.
        threshold: a stream is bona fide at this score or more.
        json: file for the results, rates as fractions.
    """
    truth = read_headed(key, ["label_1", "label_2"], ids=["mixture"])
    names = [name for name in truth.columns if name.startswith("label_")]
    labels = np.array([[label_id(label) for label in truth.labels(name)] for name in names]).T
    table = read_headed(scores, ["stream", "score"], ids=["mixture", "stream"])
    rows = _streams(table, truth, talkers=len(names))
    values = table.numbers("score")[rows]
    sisdr = [name for name in table.columns if name.startswith("sisdr_")]
    assignment = assignment or ("sisdr" if sisdr else "identity")
    if assignment == "sisdr":
        if len(sisdr) != len(names):
            raise InputError(f"{scores}: {len(sisdr)} columns sisdr_*, expected {len(names)}")
        sources = assign_by_sisdr(np.stack([table.numbers(name)[rows] for name in sisdr], axis=2))
    elif assignment == "oracle":
        logging.warning("oracle assignment looks at the labels: source metrics are upper bounds")
        sources = assign_by_oracle(values, labels)
    else:
        sources = np.broadcast_to(np.arange(len(names)), labels.shape)
    results = mixture_metrics(values, labels, sources, threshold)
    results |= {"n_mixtures": len(labels), "assignment": assignment, "threshold": threshold}
    _show(results)
    if json:
        write_json(json, results)


def _streams(table: Table, truth: Table, talkers: int) -> np.ndarray:
    """``(M, K)`` row of each stream of each mixture, in the order of the key and of the numbers."""
    found: dict[str, dict[int, int]] = {name: {} for name in truth.names}
    for row, (mixture, stream) in enumerate(zip(table.columns["mixture"], table.columns["stream"])):
        if mixture not in found:
            raise InputError(f"{table.at(row)} is not in {truth.path}")
        if not stream.isdecimal():
            raise InputError(f"{table.at(row)} has stream {stream!r}, expected a number")
        found[mixture][int(stream)] = row
    for mixture, streams in found.items():
        if sorted(streams) not in (list(range(talkers)), list(range(1, talkers + 1))):
            raise InputError(
                f"{table.path}: {mixture} has streams {sorted(streams)}, expected 1 to {talkers}"
            )
    return np.array([[streams[number] for number in sorted(streams)] for streams in found.values()])


def _show(results: dict) -> None:
    print(f"assignment: {results['assignment']}, bona fide at {results['threshold']:g} or more")
    print("true \\ predicted", *(f"{name:>6}" for name in results["classes"]))
    for name, counts in zip(results["classes"], results["confusion"]):
        print(f"{name:>16}", *(f"{count:6d}" for count in counts))
    for name in ("precision", "recall", "f1"):
        print(f"{name:>16}", *(f"{100 * value:6.2f}" for value in results[name]))
    for name, value in results.items():
        if isinstance(value, float) and name != "threshold":
            print(f"{name}: {100 * value:.3f} %")


if __name__ == "__main__":
    cli.run(evaluate_mixtures)
