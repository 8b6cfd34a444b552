"""Source tracing: top-1, macro F1 and open-set EER, by logits and by distance."""

from wedefense_lite import cli

from collections.abc import Mapping, Sequence

import numpy as np

from wedefense_lite.files import NO_VALUE, InputError
from wedefense_lite.report.tables import check_outputs, publish, table
from wedefense_lite.scoring.archives import Archive, read_archive
from wedefense_lite.scoring.scores import read_condition
from wedefense_lite.scoring.sidecar import read_sidecar
from wedefense_lite.tracing.metrics import (
    UNKNOWN,
    class_numbers,
    cosines,
    fingerprints,
    tracing_metrics,
)

METRICS = ("top1", "macro_f1", "open_set_eer", "trial_eer", "trial_eer_unknown")


def evaluate_tracing(
    logits_scp_path: str,
    embedding_scp_path: str,
    sources: str,
    train_embedding_scp_path: str,
    train_sources: str,
    source_column: str = "attack",
    same: str = "",
    json: str | None = None,
    txt: str | None = None,
) -> None:
    """Print how well the sources of a set are told, by logits and by distance.

    By distance means by the cosine to the fingerprint of each class, the mean of its training
    embeddings. Sources that are none of the classes of the system are unknown: the open-set EER is
    that of telling known sources from them by the highest score. Utterances without a source, whose
    column is ``-``, are left out and counted.

    Args:
        logits_scp_path: logits of stage 5.
        embedding_scp_path: embeddings of the same utterances, of stage 4.
        sources: their utt2attack or meta.tsv.
        train_embedding_scp_path: embeddings of the training set.
        train_sources: its utt2attack or meta.tsv.
        source_column: column of these tables that has the sources.
        same: sources that have another name here and are a class, as ``A16=A04,A19=A03``.
        json: file for the results, rates as fractions.
        txt: file for the printed tables.
    """
    check_outputs(json, txt)
    classes = _classes(logits_scp_path)
    equal = cli.checked_option("--same", _parse_same, same)
    logits = read_archive(logits_scp_path)
    embeddings = read_archive(embedding_scp_path)
    if list(logits) != list(embeddings):
        raise InputError(f"{logits_scp_path}: its utterances are not those of {embedding_scp_path}")
    names = read_condition(sources, source_column, logits)
    traced = [key for key, name in zip(logits, names) if name != NO_VALUE or NO_VALUE in classes]
    left_out = len(logits) - len(traced)
    if not traced:
        raise InputError(f"{sources}: no utterance has a source in the column {source_column}")
    traced_names = read_condition(sources, source_column, traced)
    class_N = class_numbers(traced_names, classes, equal)
    fingerprint_CE = _fingerprints(train_embedding_scp_path, train_sources, source_column, classes)
    score_NC = cosines(_rows(embeddings, traced), fingerprint_CE)
    results = {
        "classes": list(classes),
        "n_left_out": left_out,
        "unknown": sorted(set(traced_names[class_N == UNKNOWN].tolist())),
        "logits": tracing_metrics(_rows(logits, traced), class_N, classes),
        "distance": tracing_metrics(score_NC, class_N, classes),
    }
    publish(_lines(results), results, json, txt)


def _classes(scp: str) -> tuple[str, ...]:
    classes = read_sidecar(scp).classes
    if not classes:
        raise InputError(f"{scp}: logits of [spoof, bonafide], expected those of source tracing")
    return tuple(classes)


def _parse_same(text: str) -> Mapping[str, str]:
    """Sources and the classes that they are; ValueError where one isn't of the form."""
    equal = {}
    for word in filter(None, text.split(",")):
        name, sign, class_name = word.partition("=")
        if not (name and sign and class_name):
            raise ValueError(f"{word!r}, expected SOURCE=CLASS")
        equal[name] = class_name
    return equal


def _fingerprints(scp: str, sources: str, column: str, classes: Sequence[str]) -> np.ndarray:
    """Fingerprints of the classes, ``CE``.

    Raises:
        InputError: a class without an utterance.
    """
    archive = read_archive(scp)
    class_N = class_numbers(read_condition(sources, column, archive), classes, {})
    missing = [name for number, name in enumerate(classes) if not (class_N == number).any()]
    if missing:
        raise InputError(f"{sources}: no utterance of {scp} is of the source {missing[0]}")
    return fingerprints(_rows(archive, archive), class_N, len(classes))


def _rows(archive: Archive, keys: Sequence[str]) -> np.ndarray:
    return np.stack([archive[key].astype(np.float64) for key in keys])


def _lines(results: dict) -> list[str]:
    """Printed tables: metrics in percent, and the confusion by logits."""
    ways = ("logits", "distance")
    counts = results["logits"]
    unknown = ", ".join(results["unknown"]) or "none"
    rows = [["", *METRICS]]
    for way in ways:
        cells = []
        for metric in METRICS:
            value = results[way][metric]
            cells.append("n/a" if value is None else f"{100 * value:.2f}")
        rows.append([way, *cells])
    lines = [
        f"utterances of known sources: {counts['n_known']}, of unknown ones: "
        f"{counts['n_unknown']} ({unknown}), without a source: {results['n_left_out']}",
        *table(rows),
    ]
    if counts["confusion"]:
        classes = results["classes"]
        confusion = [["by logits", *classes]]
        for name, row in zip(classes, counts["confusion"]):
            confusion.append([name, *(str(count) for count in row)])
        lines += ["", *table(confusion)]
    return lines


if __name__ == "__main__":
    cli.run(evaluate_tracing)
