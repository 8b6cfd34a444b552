"""A corpus whose folders are its labels, to a data directory."""

from wedefense_lite import cli

from pathlib import Path

from wedefense_lite.audio.data_dir import write_data_dirs
from wedefense_lite.audio.protocol import make_trial
from wedefense_lite.audio.published import find_audio
from wedefense_lite.files import InputError


def prepare_data(
    corpus_dir: str,
    name: str,
    bonafide: str = "",
    spoof: str = "",
    data_dir: str = "data",
    relative: bool = False,
):
    """Write data/<name>; the attack is the folder, speakers are unknown.

    Args:
        corpus_dir: folder of the corpus.
        name: of the data directory.
        bonafide: folders of bona fide speech below corpus_dir, separated by commas. Audio anywhere
            below them is taken.
        spoof: folders of spoofed speech, likewise.
        data_dir: folder to write the data directory into.
        relative: write paths from the data directory to the audio, for trees that are moved.
    """
    folder = Path(corpus_dir)
    trials = []
    for label, sources in (("bonafide", bonafide), ("spoof", spoof)):
        for source in filter(None, sources.split(",")):
            if Path(source).is_absolute():
                raise InputError(f"{source}: expected the name of a folder below {corpus_dir}")
            for audio in find_audio(folder, f"{source}/**/*"):
                row = {"key": audio, "label": label, "attack": source.replace("/", "_")}
                trials.append(make_trial(str(folder), row, folder))
    write_data_dirs(data_dir, {name: trials}, relative=relative)


if __name__ == "__main__":
    cli.run(prepare_data)
