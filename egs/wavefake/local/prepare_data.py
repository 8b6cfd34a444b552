"""WaveFake, as published, to a data directory of spoofed speech alone."""

from wedefense_lite import cli

from pathlib import Path

from wedefense_lite.audio.data_dir import write_data_dirs
from wedefense_lite.audio.protocol import make_trial
from wedefense_lite.audio.published import find_audio


def prepare_data(corpus_dir: str, data_dir: str = "data", relative: bool = False):
    """Write data/wavefake: all speech is spoofed, the attack is the folder, ljspeech_melgan etc.

    Each set is of one speaker, whom the names of the folders don't say for all of them: unknown.
    Editions differ in their numbers of files, so none is expected.

    Args:
        corpus_dir: folder that holds generated_audio/<corpus>_<vocoder>/*.wav.
        data_dir: folder to write the data directory into.
        relative: write paths from the data directory to the audio, for trees that are moved.
    """
    folder = Path(corpus_dir, "generated_audio")
    trials = []
    for name in find_audio(folder, "*/*"):
        row = {"key": name, "label": "spoof", "attack": name.split("/")[0]}
        trials.append(make_trial(str(folder), row, folder))
    write_data_dirs(data_dir, {"wavefake": trials}, relative=relative)


if __name__ == "__main__":
    cli.run(prepare_data)
