"""One phase of ASVspoof 2021 LA or DF, as published, to a data directory."""

from wedefense_lite import cli

from pathlib import Path
from typing import Literal

from wedefense_lite.audio.data_dir import Counts, write_data_dirs
from wedefense_lite.audio.protocol import read_protocol
from wedefense_lite.files import InputError

Phase = Literal["progress", "eval", "hidden"]
# The last four columns of DF describe the data of the Voice Conversion Challenges.
COLUMNS = {
    "LA": "speaker key codec transmission attack label trim phase",
    "DF": "speaker key codec source attack label trim phase vocoder - - - -",
}
# Published numbers of utterances, bona fide and spoofed.
COUNTS = {
    "asvspoof2021_la_eval": Counts(14816, 133360),
    "asvspoof2021_df_eval": Counts(14869, 519059),
}


def prepare_data(
    corpus_dir: str,
    task: Literal["LA", "DF"],
    phase: Phase,
    data_dir: str = "data",
    expect_counts: bool = True,
    relative: bool = False,
):
    """Write data/asvspoof2021_<task>_<phase>, with the codec and further columns in meta.tsv.

    Args:
        corpus_dir: folder that holds ASVspoof2021_<task>_eval/flac and
            keys/<task>/CM/trial_metadata.txt.
        task: logical access or speech deepfake.
        phase: phase of the trials. Published results are on eval; numbers on others differ.
        data_dir: folder to write the data directory into.
        expect_counts: refuse keys that don't have the published numbers of utterances of phase
            eval; the other phases are not checked.
        relative: write paths from the data directory to the audio, for trees that are moved.
    """
    keys = Path(corpus_dir, f"keys/{task}/CM/trial_metadata.txt")
    trials = read_protocol(keys, COLUMNS[task], Path(corpus_dir, f"ASVspoof2021_{task}_eval/flac"))
    trials = [trial for trial in trials if trial.meta["phase"] == phase]
    if not trials:
        raise InputError(f"{keys}: no trial of phase {phase}")
    sets = {f"asvspoof2021_{task.lower()}_{phase}": trials}
    write_data_dirs(data_dir, sets, COUNTS if expect_counts else None, relative=relative)


if __name__ == "__main__":
    cli.run(prepare_data)
