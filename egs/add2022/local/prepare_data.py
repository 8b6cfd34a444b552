"""A labelled set of ADD 2022 to a data directory."""

from wedefense_lite import cli

from pathlib import Path

from wedefense_lite.audio.data_dir import write_data_dirs
from wedefense_lite.audio.protocol import read_protocol


def prepare_data(
    labels: str, wav_dir: str, name: str, data_dir: str = "data", relative: bool = False
):
    """Write data/add2022_<name>; speakers and attacks are "unknown", as the labels lack them.

    Args:
        labels: file of labels, lines "ADD_T_00000000.wav genuine|fake".
        wav_dir: folder of the audio files.
        name: name of the set: dev, adaptation, track1 ...
        data_dir: folder to write the data directory into.
        relative: write paths from the data directory to the audio, for trees that are moved.
    """
    trials = read_protocol(Path(labels), "key label", Path(wav_dir), extension=".wav")
    write_data_dirs(data_dir, {f"add2022_{name}": trials}, relative=relative)


if __name__ == "__main__":
    cli.run(prepare_data)
