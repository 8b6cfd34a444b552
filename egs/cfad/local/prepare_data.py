"""CFAD, as published, to data directories: clean, noisy or coded."""

from wedefense_lite import cli

from pathlib import Path
from typing import Literal

from wedefense_lite.audio.data_dir import Counts, Trial
from wedefense_lite.audio.protocol import make_trial
from wedefense_lite.audio.published import Subset, find_audio, write_sets

# Published numbers of utterances of the clean test sets, bona fide and spoofed.
COUNTS = {"seen": Counts(14000, 28000), "unseen": Counts(7000, 14000)}


def prepare_data(
    corpus_dir: str,
    version: Literal["clean", "noisy", "codec"] = "clean",
    subset: Subset = "eval",
    test: Literal["seen", "unseen"] = "unseen",
    data_dir: str = "data",
    expect_counts: bool = True,
    relative: bool = False,
):
    """Write data/cfad_<version>_<test>_<subset>, or data/{train,dev,eval} of all three sets.

    The attack is the synthesiser; for bona fide speech the corpus that it comes from is in the
    column source of meta.tsv.

    Args:
        corpus_dir: folder that holds <version>_version/<set>_*/{real,fake}_*/<source>/*.wav.
        version: as recorded, with noise, or through codecs.
        subset: set to prepare as a test set; all: the three sets of a training.
        test: test set that is eval, by whether training has its synthesisers.
        data_dir: folder to write the data directories into.
        expect_counts: refuse a clean test set that doesn't have the published numbers of
            utterances; other sets are not checked.
        relative: write paths from the data directory to the audio, for trees that are moved.
    """
    folder = Path(corpus_dir, f"{version}_version")

    def read_set(name: str) -> list[Trial]:
        begin = f"test_{test}" if name == "eval" else name
        trials = []
        for audio in find_audio(folder, f"{begin}_*/*_*/*/*"):
            _, label, source, _ = audio.split("/")
            # real_clean, fake_codec ...
            row = {"key": audio, "label": label.split("_")[0], "attack": source, "source": source}
            trials.append(make_trial(str(folder / audio), row, folder))
        return trials

    counts = {"eval": COUNTS[test]} if version == "clean" else {}
    write_sets(
        f"cfad_{version}_{test}",
        subset,
        read_set,
        counts,
        data_dir,
        expect_counts,
        relative=relative,
    )


if __name__ == "__main__":
    cli.run(prepare_data)
