"""HAD (half-truth audio detection), as published, to data directories with segments."""

from wedefense_lite import cli

from pathlib import Path

from wedefense_lite.audio.data_dir import Trial
from wedefense_lite.audio.segments import Segments
from wedefense_lite.files import NO_VALUE, InputError
from wedefense_lite.labels import BONAFIDE, LABELS
from wedefense_lite.localization.data import label_of, write_segmented_dirs
from wedefense_lite.localization.published import read_reference

SETS = {"train": "train", "dev": "dev", "eval": "test"}
# Folders of the audio of a set, which differ between unpacked copies of the archives.
AUDIO_FOLDERS = ("{set}/conbine", "conbine", "{set}")


def find_audio(folder: Path, name: str, key: str) -> Path:
    """Folder of the audio of a set: the one that holds an utterance.

    Raises:
        InputError: none does.
    """
    candidates = [folder / pattern.format(set=name) for pattern in AUDIO_FOLDERS]
    for candidate in candidates:
        if (candidate / f"{key}.wav").exists():
            return candidate
    tried = ", ".join(str(candidate) for candidate in candidates)
    raise InputError(f"{folder}: no {key}.wav in {tried}: unpack the audio there")


def read_set(corpus: Path, name: str) -> tuple[list[Trial], dict[str, Segments]]:
    """Trials of a set, and their segments; of speakers and systems nothing is published."""
    folder = corpus / f"HAD_{name}"
    segments = read_reference(folder / f"HAD_{name}_label.txt", {})
    audio = find_audio(folder, name, next(iter(segments)))
    trials = []
    for key, own in segments.items():
        label = label_of(own)
        attack = NO_VALUE if label == LABELS[BONAFIDE] else "unknown"
        trials.append(Trial(key, str(audio / f"{key}.wav"), label, "unknown", attack))
    return trials, segments


def prepare_data(corpus_dir: str, data_dir: str = "data", relative: bool = False) -> None:
    """Write data/{train,dev,eval}, each with segments.rttm.

    Args:
        corpus_dir: folder that holds HAD_train, HAD_dev and HAD_test, each with its label file.
        data_dir: folder to write into.
        relative: write paths from the data directory to the audio, for trees that are moved.
    """
    sets = {}
    segments: dict[str, Segments] = {}
    for set_name, name in SETS.items():
        sets[set_name], own_segments = read_set(Path(corpus_dir), name)
        segments |= own_segments
    write_segmented_dirs(data_dir, sets, segments, relative=relative)


if __name__ == "__main__":
    cli.run(prepare_data)
