"""ASVspoof 2017 version 2 (replayed speech), as published, to data directories."""

from wedefense_lite import cli

from pathlib import Path

from jsonargparse.typing import PositiveInt

from wedefense_lite.audio.data_dir import Counts, write_data_dirs
from wedefense_lite.audio.protocol import read_protocol

PROTOCOLS = {"train": "train.trn", "dev": "dev.trl", "eval": "eval.trl"}
COLUMNS = "key label speaker phrase environment playback recording"
# Published numbers of utterances, bona fide and spoofed.
COUNTS = {"train": Counts(1507, 1507), "dev": Counts(760, 950), "eval": Counts(1298, 12008)}


def prepare_data(
    corpus_dir: str,
    data_dir: str = "data",
    expect_counts: bool = True,
    num_threads: PositiveInt = 8,
    relative: bool = False,
):
    """Write data/{train,dev,eval} from the protocols of ASVspoof 2017 V2.

    The label genuine becomes bonafide, and ids lose their ``.wav``.

    Args:
        corpus_dir: folder that holds protocol_V2 and ASVspoof2017_V2_{train,dev,eval}.
        data_dir: folder to write train/, dev/ and eval/ into.
        expect_counts: refuse protocols that don't have the published numbers of utterances.
        num_threads: threads that read the headers of the audio files.
        relative: write paths from the data directory to the audio, for trees that are moved.
    """
    sets = {}
    for name, ending in PROTOCOLS.items():
        protocol = Path(corpus_dir, f"protocol_V2/ASVspoof2017_V2_{ending}.txt")
        folder = Path(corpus_dir, f"ASVspoof2017_V2_{name}")
        sets[name] = read_protocol(protocol, COLUMNS, folder, extension=".wav", attack="replay")
    write_data_dirs(
        data_dir,
        sets,
        COUNTS if expect_counts else None,
        num_threads=num_threads,
        relative=relative,
    )


if __name__ == "__main__":
    cli.run(prepare_data)
