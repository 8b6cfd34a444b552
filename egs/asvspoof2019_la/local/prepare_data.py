"""ASVspoof 2019, as published, to data directories: logical access (LA) or physical access (PA)."""

from wedefense_lite import cli

from pathlib import Path
from typing import Literal

from jsonargparse.typing import PositiveInt

from wedefense_lite.audio.data_dir import Counts, write_data_dirs
from wedefense_lite.audio.protocol import read_protocol

PROTOCOLS = {"train": "train.trn", "dev": "dev.trl", "eval": "eval.trl"}
COLUMNS = {"LA": "speaker key - attack label", "PA": "speaker key environment attack label"}
# Published numbers of utterances, bona fide and spoofed.
COUNTS = {
    "LA": {"train": Counts(2580, 22800), "dev": Counts(2548, 22296), "eval": Counts(7355, 63882)},
    "PA": {"train": Counts(5400, 48600), "dev": Counts(5400, 24300), "eval": Counts(18090, 116640)},
}


def prepare_data(
    corpus_dir: str,
    data_dir: str = "data",
    access: Literal["LA", "PA"] = "LA",
    expect_counts: bool = True,
    num_threads: PositiveInt = 8,
    relative: bool = False,
):
    """Write data/{train,dev,eval} from the protocols of ASVspoof 2019.

    The utterances come from the protocols, since the flac folders hold the enrolment speech of
    speaker verification too.

    Args:
        corpus_dir: folder that holds LA/ or PA/, as published.
        data_dir: folder to write train/, dev/ and eval/ into.
        access: logical (synthesis and conversion) or physical access (replay).
        expect_counts: refuse protocols that don't have the published numbers of utterances.
        num_threads: threads that read the headers of the audio files.
        relative: write paths from the data directory to the audio, for trees that are moved.
    """
    stem = f"{access}/ASVspoof2019_{access}"
    sets = {}
    for name, ending in PROTOCOLS.items():
        protocol = Path(corpus_dir, f"{stem}_cm_protocols/ASVspoof2019.{access}.cm.{ending}.txt")
        folder = Path(corpus_dir, f"{stem}_{name}/flac")
        sets[name] = read_protocol(protocol, COLUMNS[access], folder)
    counts = COUNTS[access] if expect_counts else None
    write_data_dirs(data_dir, sets, counts, num_threads=num_threads, relative=relative)


if __name__ == "__main__":
    cli.run(prepare_data)
