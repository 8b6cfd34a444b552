"""LibriSeVoc, as published, to a data directory."""

from wedefense_lite import cli

from pathlib import Path

from wedefense_lite.audio.data_dir import Counts, write_data_dirs
from wedefense_lite.audio.protocol import make_trial
from wedefense_lite.audio.published import find_audio

BONAFIDE = "gt"
VOCODERS = ("diffwave", "melgan", "parallel_wave_gan", "wavegrad", "wavenet", "wavernn")
# Published numbers of utterances, bona fide and spoofed: 13,201 a folder.
COUNTS = {"librisevoc": Counts(13201, 79206)}


def prepare_data(
    corpus_dir: str, data_dir: str = "data", expect_counts: bool = True, relative: bool = False
):
    """Write data/librisevoc; the attack is the vocoder.

    Args:
        corpus_dir: folder that holds gt and a folder of each vocoder, with .wav files. Other
            folders are not looked at.
        data_dir: folder to write the data directory into.
        expect_counts: refuse folders that don't have the published numbers of utterances.
        relative: write paths from the data directory to the audio, for trees that are moved.
    """
    folder = Path(corpus_dir)
    trials = []
    for source in (BONAFIDE, *VOCODERS):
        label = "bonafide" if source == BONAFIDE else "spoof"
        for name in find_audio(folder, f"{source}/*"):
            # <source>/<speaker>_<chapter>_<paragraph>_<sentence>_gen.wav
            speaker = Path(name).name.split("_")[0]
            row = {"key": name, "label": label, "attack": source, "speaker": speaker}
            trials.append(make_trial(str(folder), row, folder))
    write_data_dirs(
        data_dir, {"librisevoc": trials}, COUNTS if expect_counts else None, relative=relative
    )


if __name__ == "__main__":
    cli.run(prepare_data)
