"""ASVspoof 2019, as published, to data directories: logical access (LA) or physical access (PA)."""

from pathlib import Path
from typing import Literal

from jsonargparse.typing import PositiveInt

from wedefense_lite import cli
from wedefense_lite.audio.data_dir import Counts, write_data_dirs
from wedefense_lite.audio.protocol import read_protocol

PROTOCOLS = {"train": "train.trn", "dev": "dev.trl", "eval": "eval.trl"}
COLUMNS = {"LA": "speaker key - attack label", "PA": "speaker key environment attack label"}
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
):
    """Write data/{train,dev,eval} from the protocols: the flac folders hold speaker enrolment too.

    Args:
        corpus_dir: folder that holds LA/ or PA/, as published.
        data_dir: folder to write train/, dev/ and eval/ into.
        access: the half of the corpus.
        expect_counts: refuse protocols that don't have the published numbers of utterances.
        num_threads: threads that read the headers of the audio files.
    """
    sets, stem = {}, f"{access}/ASVspoof2019_{access}"
    for name, ending in PROTOCOLS.items():
        protocol = Path(corpus_dir, f"{stem}_cm_protocols/ASVspoof2019.{access}.cm.{ending}.txt")
        sets[name] = read_protocol(
            protocol, COLUMNS[access], Path(corpus_dir, f"{stem}_{name}/flac")
        )
    write_data_dirs(
        data_dir, sets, COUNTS[access] if expect_counts else None, num_threads=num_threads
    )


if __name__ == "__main__":
    cli.run(prepare_data)
