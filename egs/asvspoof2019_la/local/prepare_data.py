"""ASVspoof 2019 LA, as published, to data directories."""

from pathlib import Path

from jsonargparse.typing import PositiveInt

from wedefense_lite import cli
from wedefense_lite.dataset.data_dir import Trial, write_data_dirs
from wedefense_lite.files import read_rows

PROTOCOLS = {"train": "train.trn", "dev": "dev.trl", "eval": "eval.trl"}
COUNTS = {
    "train": {"bonafide": 2580, "spoof": 22800},
    "dev": {"bonafide": 2548, "spoof": 22296},
    "eval": {"bonafide": 7355, "spoof": 63882},
}


def read_protocol(corpus: Path, name: str) -> list[Trial]:
    """Trials of one set. The flac folders hold speaker enrolment too, so the protocol decides."""
    protocol = corpus / f"ASVspoof2019_LA_cm_protocols/ASVspoof2019.LA.cm.{PROTOCOLS[name]}.txt"
    flac = corpus / f"ASVspoof2019_LA_{name}/flac"
    return [
        Trial(key, f"{flac / key}.flac", label, speaker, attack)
        for _, (speaker, key, _, attack, label) in read_rows(protocol, columns=5)
    ]


def prepare_data(corpus_dir: str, data_dir: str = "data", expect_counts: bool = True, num_threads: PositiveInt = 8):
    """Write data/{train,dev,eval} from the protocols of ASVspoof 2019 LA.

    Args:
        corpus_dir: folder that holds LA/, as published.
        data_dir: folder to write train/, dev/ and eval/ into.
        expect_counts: refuse protocols that don't have the published numbers of utterances.
        num_threads: threads that read the headers of the audio files.
    """
    sets = {name: read_protocol(Path(corpus_dir) / "LA", name) for name in PROTOCOLS}
    write_data_dirs(data_dir, sets, COUNTS if expect_counts else None, num_threads=num_threads)


if __name__ == "__main__":
    cli.run(prepare_data)
