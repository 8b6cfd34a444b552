"""The dev or eval set of ASVspoof 5 (track 1), as published, to a data directory."""

from pathlib import Path
from typing import Literal

from wedefense_lite import cli
from wedefense_lite.audio.data_dir import Counts, write_data_dirs
from wedefense_lite.audio.protocol import read_protocol

COLUMNS = "speaker key gender codec codec_q codec_seed attack_tag attack label -"
FOLDERS = {"dev": "flac_D", "eval": "flac_E_eval"}
# Published numbers of utterances, bona fide and spoofed.
COUNTS = {"asvspoof5_dev": Counts(31334, 109616), "asvspoof5_eval": Counts(138688, 542086)}


def prepare_data(
    corpus_dir: str,
    subset: Literal["dev", "eval"] = "eval",
    data_dir: str = "data",
    expect_counts: bool = True,
):
    """Write data/asvspoof5_<subset>, with codec, its setting, gender and attack tag in meta.tsv.

    Args:
        corpus_dir: folder that holds flac_D or flac_E_eval, and the protocols, either in
            ASVspoof5_protocols or beside the audio folders.
        subset: set to prepare.
        data_dir: folder to write the data directory into.
        expect_counts: refuse a protocol that doesn't have the published numbers of utterances.
    """
    protocols = Path(corpus_dir, "ASVspoof5_protocols")
    if not protocols.is_dir():
        protocols = Path(corpus_dir)
    protocol = protocols / f"ASVspoof5.{subset}.track_1.tsv"
    trials = read_protocol(protocol, COLUMNS, Path(corpus_dir, FOLDERS[subset]))
    counts = COUNTS if expect_counts else None
    write_data_dirs(data_dir, {f"asvspoof5_{subset}": trials}, counts)


if __name__ == "__main__":
    cli.run(prepare_data)
