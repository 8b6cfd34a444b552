"""ODSS, as published, to a data directory."""

from wedefense_lite import cli

from pathlib import Path

from wedefense_lite.audio.data_dir import write_data_dirs
from wedefense_lite.audio.protocol import make_trial
from wedefense_lite.audio.published import find_audio

LABELS = {"natural": "bonafide", "fastpitch-hifigan": "spoof", "vits": "spoof"}


def prepare_data(corpus_dir: str, data_dir: str = "data", relative: bool = False):
    """Write data/odss; the attack is the synthesiser, speakers are unknown.

    Args:
        corpus_dir: folder that holds natural, fastpitch-hifigan and vits, with .wav files below.
            Other folders are not looked at.
        data_dir: folder to write the data directory into.
        relative: write paths from the data directory to the audio, for trees that are moved.
    """
    folder = Path(corpus_dir)
    trials = []
    for source, label in LABELS.items():
        for name in find_audio(folder, f"{source}/**/*"):
            row = {"key": name, "label": label, "attack": source}
            trials.append(make_trial(str(folder), row, folder))
    write_data_dirs(data_dir, {"odss": trials}, relative=relative)


if __name__ == "__main__":
    cli.run(prepare_data)
