"""The sets of ASVspoof 5 (track 1), as published, to data directories."""

from pathlib import Path
from typing import Literal

from wedefense_lite import cli
from wedefense_lite.audio.data_dir import Counts, write_data_dirs
from wedefense_lite.audio.protocol import read_protocol

COLUMNS = "speaker key gender codec codec_q codec_seed attack_tag attack label -"
PROTOCOLS = {"train": "train", "dev": "dev.track_1", "eval": "eval.track_1"}
FOLDERS = {"train": "flac_T", "dev": "flac_D", "eval": "flac_E_eval"}
# Published numbers of utterances, bona fide and spoofed.
COUNTS = {
    "train": Counts(18797, 163560),
    "dev": Counts(31334, 109616),
    "eval": Counts(138688, 542086),
}


def prepare_data(
    corpus_dir: str,
    subset: Literal["train", "dev", "eval", "all"] = "eval",
    data_dir: str = "data",
    expect_counts: bool = True,
    relative: bool = False,
):
    """Write data/asvspoof5_<subset>, or data/{train,dev,eval} of all three sets.

    Codec, its setting, gender and attack tag are in meta.tsv.

    Args:
        corpus_dir: folder that holds flac_T, flac_D and flac_E_eval, and the protocols, either in
            ASVspoof5_protocols or beside the audio folders.
        subset: set to prepare as a test set; all: the three sets of a training.
        data_dir: folder to write the data directories into.
        expect_counts: refuse a protocol that doesn't have the published numbers of utterances.
        relative: write paths from the data directory to the audio, for trees that are moved.
    """
    protocols = Path(corpus_dir, "ASVspoof5_protocols")
    if not protocols.is_dir():
        protocols = Path(corpus_dir)
    prefix = "" if subset == "all" else "asvspoof5_"
    sets = {}
    counts = {}
    for name in PROTOCOLS if subset == "all" else [subset]:
        protocol = protocols / f"ASVspoof5.{PROTOCOLS[name]}.tsv"
        sets[prefix + name] = read_protocol(protocol, COLUMNS, Path(corpus_dir, FOLDERS[name]))
        counts[prefix + name] = COUNTS[name]
    write_data_dirs(data_dir, sets, counts if expect_counts else None, relative=relative)


if __name__ == "__main__":
    cli.run(prepare_data)
