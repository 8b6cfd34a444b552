"""DFADD, as published in ZIP files, to data directories."""

from wedefense_lite import cli

from pathlib import Path

from wedefense_lite.audio.data_dir import Counts, Trial
from wedefense_lite.audio.protocol import make_trial
from wedefense_lite.audio.published import Subset, find_audio, write_sets

FOLDERS = {"train": "train", "dev": "valid", "eval": "test"}
BONAFIDE = "VCTK_BONAFIDE"  # every other folder is of a synthesiser
# Published numbers of utterances, bona fide and spoofed.
COUNTS = {"eval": Counts(755, 3000)}


def prepare_data(
    corpus_dir: str,
    subset: Subset = "eval",
    data_dir: str = "data",
    expect_counts: bool = True,
    relative: bool = False,
):
    """Write data/dfadd_<subset>, or data/{train,dev,eval} of all three sets.

    Args:
        corpus_dir: folder that holds DATASET_VCTK_BONAFIDE/<set> and DATASET_<synthesiser>/<set>
            with .wav or .flac files.
        subset: set to prepare as a test set; all: the three sets of a training.
        data_dir: folder to write the data directories into.
        expect_counts: refuse a test set that doesn't have the published numbers of utterances.
        relative: write paths from the data directory to the audio, for trees that are moved.
    """
    folder = Path(corpus_dir)

    def read_set(name: str) -> list[Trial]:
        trials = []
        for audio in find_audio(folder, f"DATASET_*/{FOLDERS[name]}/*"):
            source, _, file = audio.split("/")
            attack = source.removeprefix("DATASET_")
            label = "bonafide" if attack == BONAFIDE else "spoof"
            row = {"key": audio, "label": label, "attack": attack, "speaker": file.split("_")[0]}
            trials.append(make_trial(str(folder), row, folder))
        return trials

    write_sets("dfadd", subset, read_set, COUNTS, data_dir, expect_counts, relative=relative)


if __name__ == "__main__":
    cli.run(prepare_data)
