"""Commands under test: the words of each, what it reads, and a folder in which all were run once."""

import fnmatch
import hashlib
import shutil
import stat
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile as sf
from injection import BIN, PREPARE, ROOT, Ended, Warm

# A system that trains in a fraction of a second.
TINY = (
    f"--config {ROOT}/conf/resnet18.yaml --system.frontend.num_mels 24 --system.model.channels 4 "
    "--system.model.embed_dim 8 --data.crop_seconds 0.5 --batch_size 8"
)
TINY_SEPARATOR = (
    f"--config {ROOT}/conf/convtasnet_small.yaml --system.separator.features 16 "
    "--system.separator.bottleneck 8 --system.separator.hidden 8 --system.separator.layers 2 "
    "--system.separator.stacks 1 --data.crop_seconds 0.5 --batch_size 4"
)
NOBODY = 65534  # a user without rights
MODELS = "exp/models"
AVERAGE = f"{MODELS}/avg_model.pt"
ANOTHER = f"{MODELS}/model_2.pt"
# They state times.
TIMED = ("*/train.log", "*/tensorboard/*")


def train_words(exp_dir: str, more: str = "", train_set: str = "train") -> str:
    return (
        f"{BIN}/train.py {TINY} --exp_dir {exp_dir} --data_type raw --num_epochs 3 --num_avg 2 "
        f"--train_data data/{train_set}/raw.list --train_label data/{train_set}/utt2lab "
        f"--val_data data/dev/raw.list --val_label data/dev/utt2lab {more}"
    )


def extract_words(model: str = AVERAGE, name: str = "dev", kind: str = "raw") -> str:
    return (
        f"{BIN}/extract.py --config exp/config.yaml --model_path {model} --data_type {kind} "
        f"--data_list data/{name}/{kind}.list --embed_ark exp/embeddings/{name}/embedding.ark"
    )


def infer_words(model: str = AVERAGE, name: str = "dev") -> str:
    return (
        f"{BIN}/infer.py --config exp/config.yaml --model_path {model} --out_path "
        f"exp/posteriors/{name} --embedding_scp_path exp/embeddings/{name}/embedding.scp"
    )


def llr_words(name: str = "dev", more: str = "") -> str:
    return (
        f"{BIN}/logits_to_llr.py --logits_scp_path exp/posteriors/{name}/logits.scp "
        "--training_counts data/train/lab2num_utts --train_label data/train/utt2lab "
        f"--pi_spoof 0.05 {more}"
    )


CALIBRATED = llr_words(
    "eval",
    "--cal_logits_scp_path exp/posteriors/dev/logits.scp --cal_label data/dev/utt2lab "
    "--llr_path exp/posteriors/eval_calibrated/llr.txt",
)


def evaluate_words(name: str = "dev") -> str:
    labels = name.removesuffix("_calibrated")
    return (
        f"{BIN}/evaluate.py --m t1 --cm exp/posteriors/{name}/llr.txt "
        f"--cm_key data/{labels}/cm_key_file.txt --json exp/results_{name}.json "
        f"--txt exp/results_{name}.txt --bootstrap 20"
    )


def simulate_words(seed: int = 1) -> str:
    return (
        f"{BIN}/simulate_mixtures.py --data_dir data/train --num_mixtures 4 --seed {seed} "
        "--plan mix/plan.tsv --out_dir mix --nj 1"
    )


def separate_words(model: str = "sep/models/avg_model.pt") -> str:
    return (
        f"{BIN}/separate.py --mixtures_dir mix --out_dir streams --config sep/config.yaml "
        f"--model_path {model} --mixtures_per_shard 2"
    )


def export_words(more: str = "") -> str:
    return (
        f"{BIN}/export_bundle.py --exp_dir exp --out_dir bundle --dev_label data/dev/utt2lab "
        f"--licence apache-2.0 --training_data tiny {more}"
    )


def pack_words(name: str = "dev", per_shard: int = 5) -> str:
    return (
        f"tools/make_shard_list.py --num_utts_per_shard {per_shard} --num_threads 2 "
        f"data/{name}/wav.scp data/{name}/utt2lab data/dev/shards data/dev/shard.list"
    )


AVERAGE_WORDS = (
    f"{BIN}/average_model.py --dst_model {AVERAGE} --src_path {MODELS} --num 2 "
    "--bn_data data/train/raw.list --data_type raw"
)
SEPARATOR_WORDS = (
    f"{BIN}/train.py {TINY_SEPARATOR} --exp_dir sep --num_epochs 2 --num_avg 2 "
    "--train_data mix/shard.list --train_label mix/utt2lab --train_stems mix/stems/shard.list"
)
SEPARATOR_AVERAGE = (
    f"{BIN}/average_model.py --dst_model sep/models/avg_model.pt --src_path sep/models --num 2"
)
SEGMENT_WORDS = (
    f"{BIN}/segments.py --frame_scores frames/llr.txt --dev_frame_scores frames/llr.txt "
    "--dev_rttm frames/segments.rttm --out_dir segments"
)
LOCALIZATION_WORDS = (
    f"{BIN}/evaluate_localization.py --frame_scores frames/llr.txt --rttm frames/segments.rttm "
    "--json where.json --txt where.txt"
)
DIARIZE_WORDS = (
    f"{BIN}/diarize_spoof.py recording.wav --detector bundle --separator_config sep/config.yaml "
    "--separator_model sep/models/avg_model.pt --out_dir reports"
)
REPORT_WORDS = f"{BIN}/report.py --exp_dir exp --data_dir data"
COMPARE_WORDS = (
    f"{BIN}/compare.py exp/posteriors/eval/llr.txt exp/posteriors/eval_calibrated/llr.txt "
    "--cm_key data/eval/cm_key_file.txt --bootstrap 20 --json compared.json"
)
FUSE_WORDS = (
    f"{BIN}/fuse.py --cm exp/posteriors/eval/llr.txt --cal_cm exp/posteriors/dev/llr.txt "
    "--cal_key data/dev/cm_key_file.txt --out fused/llr.txt"
)
VALIDATE_WORDS = "tools/validate_data_dir.py data/train data/dev"
SCORE_WORDS = "tests/faults/score_bundle.py bundle recording.wav"


@dataclass(frozen=True)
class Stage:
    """A command that writes files.

    Attributes:
        name: in the table of faults.
        words: script and options.
        reads: files and folders that it reads, from the folder in which all were run.
        ranks: number of processes.
        timed: patterns of outputs that state a time.
    """

    name: str
    words: str
    reads: tuple[str, ...] = ()
    ranks: int = 1
    timed: tuple[str, ...] = field(default=TIMED)


def set_files(*names: str, files: str = "wav.scp utt2lab raw.list") -> tuple[str, ...]:
    """Paths of files of data directories."""
    paths = []
    for name in names:
        for file in files.split():
            paths.append(f"data/{name}/{file}")
    return tuple(paths)


TRAIN_READS = set_files("train", "dev", files="raw.list utt2lab")
EXTRACT_READS = ("exp/config.yaml", MODELS, *set_files("dev", files="raw.list utt2lab"))
INFER_READS = ("exp/config.yaml", MODELS, "exp/embeddings/dev")
LLR_READS = (
    *(f"exp/posteriors/{name}/logits.{end}" for name in ("dev", "eval") for end in ("ark", "scp")),
    "exp/posteriors/dev/logits.json",
    "exp/posteriors/eval/logits.json",
    *set_files("train", files="lab2num_utts utt2lab"),
    "data/dev/utt2lab",
)
SCORED_READS = (
    "exp/posteriors",
    *set_files("dev", "eval", files="cm_key_file.txt utt2lab utt2attack utt2spk utt2dur"),
)
EXPORT_READS = (
    "exp/config.yaml",
    MODELS,
    "exp/posteriors",
    "exp/results_dev.json",
    "exp/results_eval.json",
    "data/dev/utt2lab",
)
DIARIZE_READS = ("recording.wav", "bundle", "sep/config.yaml", "sep/models")
PREPARE_WORDS = f"{PREPARE} --corpus_dir corpus --data_dir data --expect_counts false"
STAGES = [
    # Relative paths are the same in every folder. Those of the other stages lead to the base.
    Stage("prepare_data", f"{PREPARE_WORDS} --relative true"),
    Stage("make_raw_list", "tools/make_raw_list.py data/dev/wav.scp data/dev/utt2lab raw.list",
          set_files("dev", files="wav.scp utt2lab")),
    Stage("make_shard_list", pack_words(), set_files("dev", files="wav.scp utt2lab")),
    Stage("wav2dur", "tools/wav2dur.py data/dev/wav.scp utt2dur",
          set_files("dev", files="wav.scp")),
    Stage("train", train_words("new", "--training.save_step_interval 1"), TRAIN_READS),
    Stage("train, 2 ranks", train_words("new", "--batch_size 4"), TRAIN_READS, ranks=2),
    Stage("average_model", AVERAGE_WORDS.replace(f"--dst_model {AVERAGE}", "--dst_model new.pt"),
          ("exp/config.yaml", "exp/metrics.csv", MODELS,
           *set_files("train", files="raw.list utt2lab"))),
    Stage("extract", extract_words(), EXTRACT_READS),
    Stage("extract, 2 ranks", extract_words(), EXTRACT_READS, ranks=2),
    Stage("infer", infer_words(), INFER_READS),
    Stage("logits_to_llr", llr_words(), LLR_READS),
    Stage("logits_to_llr, calibrated", CALIBRATED, LLR_READS),
    Stage("evaluate", evaluate_words(), SCORED_READS),
    Stage("compare", COMPARE_WORDS, SCORED_READS),
    Stage("fuse", FUSE_WORDS, SCORED_READS),
    Stage("report", REPORT_WORDS,
          ("exp/config.yaml", "exp/env.json", "exp/metrics.csv", "exp/results_dev.json",
           "exp/results_eval.json", *SCORED_READS)),
    Stage("export_bundle", export_words(), EXPORT_READS),
    Stage("simulate_mixtures", simulate_words(), ("data/train",)),
    Stage("separate", separate_words(), ("mix", "sep/config.yaml", "sep/models")),
    Stage("segments", SEGMENT_WORDS, ("frames",)),
    Stage("evaluate_localization", LOCALIZATION_WORDS, ("frames",)),
    Stage("diarize_spoof", DIARIZE_WORDS, DIARIZE_READS),
]  # fmt: skip


class World:
    """A folder in which all commands were run once, and copies of it for faults.

    Args:
        warm: process that runs commands.
        folder: empty folder.
        corpus: corpus in the layout of ASVspoof 2019 LA.
    """

    def __init__(self, warm: Warm, folder: Path, corpus: Path):
        self.warm = warm
        self.base = folder / "base"
        self.base.mkdir(parents=True)
        self.copies = folder / "copies"
        self.copies.mkdir(parents=True)
        self.count = 0
        self.undisturbed: dict[str, tuple[Ended, dict[str, str]]] = {}
        self.corpus = corpus
        self.copy(folder=self.base)
        self._write_frames()
        for words in self._commands():
            ended = warm.run(words, self.base)
            assert ended.status == 0, f"{words}: {ended.status}\n{ended.output[-3000:]}"
        recording = min((corpus / "LA").rglob("*.flac"))
        wav, rate = sf.read(recording)
        sf.write(self.base / "recording.wav", wav, rate, subtype="PCM_16")

    def _commands(self) -> list[str]:
        commands = [PREPARE_WORDS]
        for name in ("train", "dev", "eval"):
            tables = f"data/{name}/wav.scp data/{name}/utt2lab"
            commands.append(f"tools/make_raw_list.py {tables} data/{name}/raw.list")
        commands += [pack_words(), train_words("exp"), AVERAGE_WORDS]
        for name in ("dev", "eval"):
            commands += [extract_words(name=name), infer_words(name=name), llr_words(name)]
        commands.append(CALIBRATED)
        commands += [evaluate_words(name) for name in ("dev", "eval")]
        commands += [export_words(), simulate_words(), SEPARATOR_WORDS, SEPARATOR_AVERAGE]
        return commands

    def _write_frames(self) -> None:
        """Frame scores and segments of three utterances; half of two of them is spoofed."""
        rng = np.random.default_rng(0)
        scores = []
        segments = []
        for key in ("utt1", "utt2", "utt3"):
            for frame in range(40):
                llr = rng.normal(2 if frame < 20 else -2)
                scores.append(f"{key} {0.02 * frame:.2f} 0.02 {llr:.4f}\n")
            second_label = "bonafide" if key == "utt3" else "spoof"
            for start, label in ((0.0, "bonafide"), (0.4, second_label)):
                segments.append(f"SPEAKER {key} 1 {start} 0.4 <NA> <NA> {label} <NA> <NA>\n")
        (self.base / "frames").mkdir()
        (self.base / "frames/llr.txt").write_text("".join(scores))
        (self.base / "frames/segments.rttm").write_text("".join(segments))

    def copy(self, *reads: str, folder: Path | None = None) -> Path:
        """New folder with copies of files and folders, times included."""
        if folder is None:
            self.count += 1
            folder = self.copies / str(self.count)
            folder.mkdir()
        # Data directories name the files of the corpus by this path.
        (folder / "corpus").symlink_to(self.corpus)
        for name in reads:
            source = self.base / name
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, dirs_exist_ok=True)
            else:
                shutil.copy2(source, target)
        return folder

    def run(self, stage: Stage, folder: Path, fault: dict | None = None, rank: int = 0) -> Ended:
        """Run a stage to its end; of several processes, the end of the first that failed."""
        if stage.ranks == 1:
            return self.warm.run(stage.words, folder, fault=fault)
        faults = {rank: fault} if fault else None
        ends = self.warm.run_ranks(stage.words, folder, stage.ranks, faults)
        failed = [end for end in ends if end.status != 0]
        chosen = failed[0] if failed else ends[rank]
        changes = ends[rank].changes
        output = "".join(end.output for end in ends)
        return Ended(chosen.status, output, chosen.seconds, changes)

    def reference(self, stage: Stage, rank: int = 0) -> tuple[Ended, dict[str, str]]:
        """End of a stage that nothing disturbed, and the files that are there after it."""
        name = f"{stage.name} {rank}"
        if name not in self.undisturbed:
            folder = self.copy(*stage.reads)
            ended = self.run(stage, folder, {"point": 0}, rank)
            assert ended.status == 0, f"{stage.name}: {ended.status}\n{ended.output[-3000:]}"
            self.undisturbed[name] = ended, snapshot(folder, stage.timed)
            shutil.rmtree(folder)
        return self.undisturbed[name]


def snapshot(folder: Path, timed: tuple[str, ...] = TIMED) -> dict[str, str]:
    """Hash of each file below a folder by its path, but for those that state a time."""
    hashes = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink() or not path.is_file():
            continue
        if any(fnmatch.fnmatch(name, pattern) for pattern in timed):
            continue
        hashes[name] = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return hashes


def open_parents(folder: Path) -> None:
    """Let every user reach a folder: those that pytest makes are closed to others."""
    for parent in folder.parents:
        mode = stat.S_IMODE(parent.stat().st_mode)
        if not mode & stat.S_IXOTH:
            parent.chmod(mode | stat.S_IXOTH)


def difference(actual: dict[str, str], expected: dict[str, str]) -> str:
    """Files that are missing, left over or different, as a sentence; empty for none."""
    missing = sorted(expected.keys() - actual.keys())
    more = sorted(actual.keys() - expected.keys())
    changed = [name for name in sorted(actual.keys() & expected.keys())
               if actual[name] != expected[name]]  # fmt: skip
    parts = []
    for word, names in (("missing", missing), ("left over", more), ("different", changed)):
        if names:
            parts.append(f"{word}: {' '.join(names[:4])}")
    return "; ".join(parts)
