"""MLAAD, as published, to a data directory of spoofed speech alone."""

from wedefense_lite import cli

from pathlib import Path

from wedefense_lite.audio.data_dir import write_data_dirs
from wedefense_lite.audio.protocol import make_trial
from wedefense_lite.audio.published import find_audio


def prepare_data(corpus_dir: str, data_dir: str = "data", relative: bool = False):
    """Write data/mlaad: all speech is spoofed, the attack is the model, speakers are unknown.

    The language is in meta.tsv. Editions differ in their numbers of files, so none is expected.

    Args:
        corpus_dir: folder that holds fake/<language>/<model>/*.wav. Nothing else is looked at.
        data_dir: folder to write the data directory into.
        relative: write paths from the data directory to the audio, for trees that are moved.
    """
    folder = Path(corpus_dir)
    trials = []
    for name in find_audio(folder, "fake/*/*/*"):
        _, language, model, _ = name.split("/")
        row = {"key": name, "label": "spoof", "attack": model, "language": language}
        trials.append(make_trial(str(folder), row, folder))
    write_data_dirs(data_dir, {"mlaad": trials}, relative=relative)


if __name__ == "__main__":
    cli.run(prepare_data)
