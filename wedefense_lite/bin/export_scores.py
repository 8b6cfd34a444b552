"""Scores in the files that the leaderboards of the field take."""

from wedefense_lite import cli

import hashlib
import logging
import re
from datetime import date
from pathlib import Path
from typing import Literal

import numpy as np
import yaml

from wedefense_lite.files import InputError, check_writable, write_text
from wedefense_lite.metrics.arenas import interpolated_eer, spoof_acceptance
from wedefense_lite.scoring.scores import (
    DEFAULT_PHASE,
    Phase,
    check_finite,
    read_trials,
)

SCHEMA_VERSION = 5  # of submissions to the Speech Anti-Spoofing Arena
BENCH_VERSION = "speech-spoof-bench==0.3.4"
SCORES_FILE = "scores.txt"
NO_COMMIT = "COMMIT"  # stands in the YAML until the scores are uploaded
PATTERNS = {
    "slug": (r"[a-z0-9][a-z0-9-]*", "small letters, digits and dashes"),
    "dataset": (r"[^/\s]+/[^/\s]+", "owner/name"),
    "repository": (r"[^/\s]+/[^/\s]+", "owner/name"),
    "commit": (rf"[0-9a-f]{{7,40}}|{NO_COMMIT}", "the commit of the upload, 7 to 40 digits"),
    "cal_dataset": (r"[^/\s]+/[^/\s]+", "owner/name"),
}


def export_scores(
    cm: str,
    cm_key: str,
    out_dir: str,
    arena: Literal["anti_spoofing", "df"] = "anti_spoofing",
    name: str | None = None,
    slug: str | None = None,
    description: str = "",
    code: str | None = None,
    checkpoint: str | None = None,
    arxiv_id: str | None = None,
    paper_url: str | None = None,
    bibtex: str | None = None,
    dataset: str | None = None,
    revision: str | None = None,
    split: str = "test",
    repository: str | None = None,
    commit: str = NO_COMMIT,
    username: str | None = None,
    contact: str | None = None,
    cal_cm: str | None = None,
    cal_key: str | None = None,
    cal_dataset: str = "SpeechAntiSpoofingBenchmarks/DeepVoice",
    notes: str = "",
    submitted_at: str | None = None,
    bench_version: str = BENCH_VERSION,
    phase: Phase = DEFAULT_PHASE,
) -> None:
    """Write scores.txt, and SLUG.yaml of Speech Anti-Spoofing Arena or CSV of Speech DF Arena.

    The YAML names the place of the uploaded scores by its commit: write the files, upload
    scores.txt, and write them again with --commit; the scores are the same bytes.

    Args:
        cm: scores in any format of bin/evaluate.py, higher for bona fide.
        cm_key: labels in any format; trials that only the scores have are left out.
        out_dir: folder to write into.
        arena: anti_spoofing: lines ``utterance_id score`` and a YAML; df: lines ``file_name score``
            and protocol.csv.
        name: of the system.
        slug: name of the YAML: small letters, digits and dashes.
        description: of the system.
        code: URL of its code.
        checkpoint: URL of its weights.
        arxiv_id: of its paper; without one it is listed as unpublished.
        paper_url: URL of the paper; by default that of arXiv.
        bibtex: entry of the paper.
        dataset: id of the arena's data set, owner/name.
        revision: of the data set, its commit.
        split: of the data set.
        repository: model repository on the hub to which scores.txt goes, owner/name.
        commit: of the repository with the uploaded scores.
        username: of the submitter on the hub.
        contact: of the submitter.
        cal_cm: scores of the same system on the set whose EER threshold decides where the key has
            spoofs alone: the share of spoofs at or above it is 1 - SRR.
        cal_key: labels of that set.
        cal_dataset: its id.
        notes: for the maintainers.
        submitted_at: date; by default today.
        bench_version: version of the arena's program that the files are for.
        phase: part of an ASVspoof 2021 key: progress, eval, hidden, or all.
    """
    names, classes, scores = read_trials(cm, cm_key, phase=phase, needs_both=False)
    check_finite(cm, names, scores)
    folder = Path(out_dir)
    scores_text = "".join(f"{key} {float(value)!r}\n" for key, value in zip(names, scores))
    _check_ids(cm_key, names)
    scores_path = folder / SCORES_FILE
    if arena == "df":
        protocol = folder / "protocol.csv"
        check_writable(scores_path, protocol)
        rows = "".join(f"{key},{label}\n" for key, label in zip(names, classes))
        write_text(scores_path, scores_text)
        write_text(protocol, f"file_name,label\n{rows}")
        print(f"wrote {scores_path} and {protocol}: {len(names)} trials")
        return
    fields = {"dataset": dataset, "repository": repository, "slug": slug, "commit": commit}
    fields |= {"cal_dataset": cal_dataset, "name": name, "code": code, "checkpoint": checkpoint}
    fields |= {"revision": revision, "username": username, "contact": contact}
    _check_fields(fields)
    submission = {
        "schema_version": SCHEMA_VERSION,
        "system": _system(fields, description, arxiv_id, paper_url, bibtex),
        "dataset": {"id": dataset, "revision": revision, "split": split},
    }
    numbers, calibration = _numbers(scores, classes, cal_cm, cal_key, cm_key)
    submission["scores"] = numbers | {"n_trials": len(names), "n_skipped": 0}
    if calibration is not None:
        submission["calibration"] = {"source_dataset": cal_dataset, "threshold": calibration}
    path_on_hub = f".eval_results/{dataset}/{SCORES_FILE}"
    submission["artifact"] = {
        "scores_url": f"https://huggingface.co/{repository}/resolve/{commit}/{path_on_hub}",
        "scores_sha256": hashlib.sha256(scores_text.encode()).hexdigest(),
        "bench_version": bench_version,
    }
    submission["submitter"] = {"hf_username": username, "contact": contact}
    submission["submitted_at"] = submitted_at or date.today().isoformat()
    submission["notes"] = notes
    yaml_path = folder / f"{slug}.yaml"
    check_writable(scores_path, yaml_path)
    write_text(scores_path, scores_text)
    write_text(yaml_path, yaml.safe_dump(submission, sort_keys=False, allow_unicode=True))
    if commit == NO_COMMIT:
        logging.warning(
            "%s is not complete: upload %s to %s of %s, and run this again with --commit",
            yaml_path,
            scores_path,
            path_on_hub,
            repository,
        )
    shown = ", ".join(f"{metric} {value:.4f}" for metric, value in numbers.items())
    print(f"wrote {scores_path} and {yaml_path}: {len(names)} trials, {shown}")


def _check_ids(path: str, names: list[str]) -> None:
    """Refuse ids that a line of two columns, or of CSV, can't hold."""
    for name in names:
        if re.search(r'[\s,"]', name):
            raise InputError(f"{path}: id {name!r}, expected none with spaces, commas or quotes")


def _check_fields(fields: dict[str, str | None]) -> None:
    """Refuse values that the arena would refuse."""
    for option, value in fields.items():
        text = cli.needed(f"--{option}", value)
        pattern, words = PATTERNS.get(option, (r".+", "a text"))
        if not re.fullmatch(pattern, text):
            raise InputError(f"--{option} is {text!r}, expected {words}")


def _system(
    fields: dict[str, str | None],
    description: str,
    arxiv_id: str | None,
    paper_url: str | None,
    bibtex: str | None,
) -> dict:
    system = {name: fields[name] for name in ("name", "slug")}
    system["description"] = description
    system |= {name: fields[name] for name in ("code", "checkpoint")}
    if not arxiv_id:
        if paper_url or bibtex:
            raise InputError("--paper_url and --bibtex go with --arxiv_id, which is not given")
        return system
    system["paper"] = {
        "arxiv_id": arxiv_id,
        "url": paper_url or f"https://arxiv.org/abs/{arxiv_id}",
        "bibtex": cli.needed("--bibtex", bibtex),
    }
    return system


def _numbers(
    scores: np.ndarray, classes: np.ndarray, cal_cm: str | None, cal_key: str | None, key: str
) -> tuple[dict[str, float], float | None]:
    """Numbers of a set in percent, and the threshold of another set if it was needed."""
    bonafide = scores[classes == "bonafide"]
    spoof = scores[classes == "spoof"]
    if not spoof.size:
        raise InputError(f"{key}: no spoof trial among {len(classes)}")
    if bonafide.size:
        if cal_cm or cal_key:
            raise InputError(f"--cal_cm is for sets of spoofs, and {key} has both classes")
        return {"eer_percent": 100 * interpolated_eer(bonafide, spoof).value}, None
    _, cal_classes, cal_scores = read_trials(
        cli.needed("--cal_cm", cal_cm), cli.needed("--cal_key", cal_key)
    )
    is_bonafide = cal_classes == "bonafide"
    threshold = interpolated_eer(cal_scores[is_bonafide], cal_scores[~is_bonafide]).threshold
    return {"srr_complement": 100 * spoof_acceptance(spoof, threshold)}, threshold


if __name__ == "__main__":
    cli.run(export_scores)
