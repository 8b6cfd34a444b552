"""CodecFake (Wu et al.), as published in ZIP files, to a data directory of spoofed speech alone."""

from wedefense_lite import cli

from pathlib import Path

from wedefense_lite.audio.data_dir import write_data_dirs
from wedefense_lite.audio.protocol import make_trial
from wedefense_lite.audio.published import find_audio
from wedefense_lite.files import InputError

# Begins of the names of the 15 published codecs.
CODECS = (
    "SpeechTokenizer",
    "academicodec",
    "audiodec",
    "descript-audio-codec",
    "encodec",
    "funcodec",
)


def prepare_data(corpus_dir: str, data_dir: str = "data", relative: bool = False):
    """Write data/codecfake_wu: VCTK through codecs, all spoofed; the attack is the codec.

    Args:
        corpus_dir: folder of the unpacked ZIP files, with <codec>+<speaker>_<number>.wav in it
            or below.
        data_dir: folder to write the data directory into.
        relative: write paths from the data directory to the audio, for trees that are moved.
    """
    folder = Path(corpus_dir)
    trials = []
    for name in find_audio(folder, "**/*"):
        codec, plus, recording = Path(name).name.partition("+")
        if not plus or not codec.startswith(CODECS):
            raise InputError(f"{folder / name}: expected speech of a codec, <codec>+p272_103.wav")
        row = {"key": name, "label": "spoof", "attack": codec, "speaker": recording.split("_")[0]}
        trials.append(make_trial(str(folder), row, folder))
    write_data_dirs(data_dir, {"codecfake_wu": trials}, relative=relative)


if __name__ == "__main__":
    cli.run(prepare_data)
