"""The sets of ASVspoof 5, as published, to data directories."""

from wedefense_lite import cli

from pathlib import Path
from typing import Literal

from wedefense_lite.audio.data_dir import Counts, Trial, write_data_dirs
from wedefense_lite.audio.protocol import make_trial, read_protocol
from wedefense_lite.files import InputError
from wedefense_lite.interop.verification_tables import classes_of, read_verification_table
from wedefense_lite.labels import BONAFIDE, LABELS, SPOOF

COLUMNS = "speaker key gender codec codec_q codec_seed attack_tag attack label -"
PROTOCOLS = {"train": "train", "dev": "dev.track_1", "eval": "eval.track_1"}
FOLDERS = {"train": "flac_T", "dev": "flac_D", "eval": "flac_E_eval"}
# Published numbers of utterances, bona fide and spoofed.
COUNTS = {
    "train": Counts(18797, 163560),
    "dev": Counts(31334, 109616),
    "eval": Counts(138688, 542086),
}


def read_track2(path: Path, folder: Path) -> list[Trial]:
    """Utterances of the trials of track 2, each once; targets and nontargets are bona fide.

    Raises:
        InputError: an utterance that is spoofed in one trial and not in another, or as
            ``make_trial``.
    """
    table = read_verification_table(path)
    classes = classes_of(path, table)
    columns = [table.columns[name] for name in ("utt", "gender", "attack")]
    trials: dict[str, Trial] = {}
    for number, label, key, gender, attack in zip(table.lines, classes, *columns):
        label = LABELS[SPOOF] if label == LABELS[SPOOF] else LABELS[BONAFIDE]
        # The speaker of a trial is the one who is claimed, not the one who talks.
        row = {"key": key, "label": label, "attack": attack, "gender": gender}
        trial = make_trial(f"{path}:{number}", row, folder)
        if trials.setdefault(trial.key, trial) != trial:
            raise InputError(f"{path}:{number}: {trial.key} has another label or attack before")
    return list(trials.values())


def prepare_data(
    corpus_dir: str,
    subset: Literal["train", "dev", "eval", "all", "dev_track2", "eval_track2"] = "eval",
    data_dir: str = "data",
    expect_counts: bool = True,
    relative: bool = False,
):
    """Write data/asvspoof5_<subset>, or data/{train,dev,eval} of all three sets.

    Codec, its setting, gender and attack tag are in meta.tsv.

    Args:
        corpus_dir: folder that holds flac_T, flac_D and flac_E_eval, and the protocols, either in
            ASVspoof5_protocols or beside the audio folders.
        subset: set to prepare as a test set; all: the three sets of a training; dev_track2 and
            eval_track2: the utterances of the trials of track 2, each once.
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
    if subset.endswith("_track2"):
        name = subset.removesuffix("_track2")
        path = protocols / f"ASVspoof5.{name}.track_2.trial.tsv"
        sets[prefix + subset] = read_track2(path, Path(corpus_dir, FOLDERS[name]))
        write_data_dirs(data_dir, sets, relative=relative)
        return
    for name in PROTOCOLS if subset == "all" else [subset]:
        protocol = protocols / f"ASVspoof5.{PROTOCOLS[name]}.tsv"
        sets[prefix + name] = read_protocol(protocol, COLUMNS, Path(corpus_dir, FOLDERS[name]))
        counts[prefix + name] = COUNTS[name]
    write_data_dirs(data_dir, sets, counts if expect_counts else None, relative=relative)


if __name__ == "__main__":
    cli.run(prepare_data)
