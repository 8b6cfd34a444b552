"""Deepfake-Eval-2024 (audio), as published, to data directories."""

from wedefense_lite import cli

import logging
from pathlib import Path
from typing import Literal

from wedefense_lite.audio.data_dir import write_data_dirs
from wedefense_lite.audio.protocol import make_trial
from wedefense_lite.audio.published import read_csv

COLUMNS = {"Filename": "key", "Ground Truth": "label", "Finetuning Set": "set"}
NAMES = {"train": "train", "eval": "test"}
UNKNOWN = "unknown"  # recordings of which the publishers don't know what they are


def prepare_data(
    corpus_dir: str,
    subset: Literal["train", "eval"] = "eval",
    data_dir: str = "data",
    relative: bool = False,
):
    """Write data/deepfake_eval_2024_<subset>; speakers and attacks are unknown.

    Args:
        corpus_dir: folder that holds audio-metadata-publish.csv and audio-data.
        subset: part for fine-tuning, or for the test.
        data_dir: folder to write the data directory into.
        relative: write paths from the data directory to the audio, for trees that are moved.
    """
    trials = []
    num_unknown = 0
    for line, row in read_csv(Path(corpus_dir, "audio-metadata-publish.csv"), COLUMNS):
        if row.pop("set").strip().lower() != NAMES[subset]:
            continue
        row["label"] = row["label"].strip()
        if row["label"].lower() == UNKNOWN:
            num_unknown += 1
        else:
            trials.append(make_trial(line, row, Path(corpus_dir, "audio-data")))
    if num_unknown:
        logging.info("%d recordings of unknown truth are left out", num_unknown)
    write_data_dirs(data_dir, {f"deepfake_eval_2024_{subset}": trials}, relative=relative)


if __name__ == "__main__":
    cli.run(prepare_data)
