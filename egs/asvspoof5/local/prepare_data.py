"""The dev or eval set of ASVspoof 5 (track 1), as published, to a data directory."""

from pathlib import Path
from typing import Literal

from wedefense_lite import cli
from wedefense_lite.audio.data_dir import Counts, write_data_dirs
from wedefense_lite.audio.protocol import read_protocol

COLUMNS = "speaker key gender codec codec_q codec_seed attack_tag attack label -"
FOLDERS = {"dev": "flac_D", "eval": "flac_E_eval"}
COUNTS = {"asvspoof5_dev": Counts(31334, 109616), "asvspoof5_eval": Counts(138688, 542086)}


def prepare_data(
    corpus_dir: str,
    subset: Literal["dev", "eval"] = "eval",
    data_dir: str = "data",
    expect_counts: bool = True,
):
    """Write data/asvspoof5_<subset>; codec, its setting, gender and attack tag are in meta.tsv.

    Args:
        corpus_dir: folder that holds flac_D or flac_E_eval, and the protocols or ASVspoof5_protocols.
        subset: whose trials.
        data_dir: folder to write the data directory into.
        expect_counts: refuse a protocol that doesn't have the published numbers of utterances.
    """
    protocols = Path(corpus_dir, "ASVspoof5_protocols")
    protocol = (
        protocols if protocols.is_dir() else Path(corpus_dir)
    ) / f"ASVspoof5.{subset}.track_1.tsv"
    sets = {
        f"asvspoof5_{subset}": read_protocol(protocol, COLUMNS, Path(corpus_dir, FOLDERS[subset]))
    }
    write_data_dirs(data_dir, sets, COUNTS if expect_counts else None)


if __name__ == "__main__":
    cli.run(prepare_data)
