"""Shared by all tests: a tiny corpus in ASVspoof 2019 LA's layout and a way to type commands."""

import fcntl
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import soundfile as sf
import warm
from hypothesis import HealthCheck, settings

# Two workers share two cores. A test that forks must not have started threads of PyTorch before.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Options and fixtures of the faults and of a browser, which pytest takes from here alone.
pytest_plugins = ["fault_plugin", "browser_plugin"]

# What passes on a machine with a GPU is what passes on one without; tests/gpu is for that alone.
if not os.environ.get("GPU_TESTS"):
    os.environ["CUDA_VISIBLE_DEVICES"] = ""

# How long an example takes says nothing on a machine that others use. A commit always tries the
# same examples, so that a test that failed fails again; make fuzz looks for new ones.
UNTIMED = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("any machine", derandomize=True, **UNTIMED)
settings.register_profile("fuzz", max_examples=5000, **UNTIMED)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "any machine"))

ROOT = Path(__file__).resolve().parents[1]
RATE = 16000
# Commits in which long tests that take turns have all run, one way or another.
TURNS = 5
# Letter of the ids, ending of the protocol, and trials of each set.
SETS = {"train": ("T", "trn", 24), "dev": ("D", "trl", 16), "eval": ("E", "trl", 16)}
# A system that trains in seconds on one core.
TINY = (
    "--system.frontend.num_mels 24 --system.model.channels 4 --system.model.embed_dim 8 "
    "--data.crop_seconds 0.5 --batch_size 8"
).split()

# For a recipe whose system trains too shortly to score bona fide speech higher.
UNTRAINED = ("--llr_options", "--allow_negative_slope true")


def utterance(rng: np.random.Generator, spoof: bool) -> np.ndarray:
    """About a second of a buzzing voice in noise; the spoofed one has no energy over 3 kHz."""
    time = np.arange(int(RATE * rng.uniform(0.7, 1.3))) / RATE
    pitch = rng.uniform(90, 220) * (1 + 0.05 * np.sin(2 * np.pi * 3 * time))
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    highest = 14 if spoof else 60
    # The highest pitch is about 220 Hz; harmonics over half the rate would fold back.
    harmonics = [k for k in range(1, highest) if k * 220 < RATE / 2]
    voice = sum(np.sin(k * phase) / k for k in harmonics)
    noise_level = 0.001 if spoof else 0.01
    wav = 0.1 * voice + noise_level * rng.standard_normal(len(time))
    return np.clip(wav, -1, 1).astype(np.float32)


def write_la_corpus(folder: Path) -> Path:
    """Folder with a corpus in ASVspoof 2019 LA's layout.

    Its flac folders also hold enrolment files, which no protocol lists.
    """
    rng = np.random.default_rng(0)
    protocols = folder / "LA/ASVspoof2019_LA_cm_protocols"
    protocols.mkdir(parents=True)
    for name, (letter, ending, count) in SETS.items():
        flac = folder / f"LA/ASVspoof2019_LA_{name}/flac"
        flac.mkdir(parents=True)
        lines = []
        for number in range(count + 2):
            key = f"LA_{letter}_{1000000 + number}"
            spoof = number % 2 == 1
            sf.write(flac / f"{key}.flac", utterance(rng, spoof), RATE, subtype="PCM_16")
            attack_and_label = f"A0{1 + number % 3} spoof" if spoof else "- bonafide"
            if number < count:
                lines.append(f"LA_{letter}{number % 4:02d} {key} - {attack_and_label}\n")
        (protocols / f"ASVspoof2019.LA.cm.{name}.{ending}.txt").write_text("".join(lines))
    return folder


def commit_number() -> int:
    """Number that the commit decides; 0 where there is none."""
    command = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return int(commit or "0", 16)


def pytest_collection_modifyitems(config, items):
    """Of a group of long tests that take turns, a fifth: the commit decides which.

    ``@pytest.mark.turns`` makes a group of a test's cases, ``@pytest.mark.turns("recipes")`` one of
    tests of several files. ALL_TESTS=1 runs all.
    """
    if "ALL_TESTS" in os.environ:
        return
    groups = {}
    for item in items:
        marker = item.get_closest_marker("turns")
        if marker is not None:
            name = marker.args[0] if marker.args else (item.path, item.originalname)
            groups.setdefault(name, []).append(item)
    turn = commit_number() % TURNS
    left_out = set()
    for group in groups.values():
        for place, item in enumerate(group):
            if place % TURNS != turn:
                left_out.add(item)
    if left_out:
        config.hook.pytest_deselected(items=list(left_out))
        items[:] = [item for item in items if item not in left_out]


def pytest_terminal_summary(terminalreporter):
    """Counts of skipped tests by reason, so that nothing is skipped in silence."""
    counts = Counter()
    for report in terminalreporter.stats.get("skipped", []):
        if isinstance(report.longrepr, tuple):
            counts[report.longrepr[2].removeprefix("Skipped: ")] += 1
    for reason, count in counts.most_common():
        terminalreporter.write_line(f"skipped {count}: {reason}")


@pytest.fixture(scope="session")
def la_corpus(tmp_path_factory) -> Path:
    """A folder that holds LA/."""
    return write_la_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture
def typed(tmp_path):
    """Function that runs a command in a folder like the repository's root; see :func:`typist`."""
    return typist(tmp_path)


def typist(folder: Path):
    """Function that runs a command as a user types it.

    Python and torchrun, typed or in a shell script, are processes forked by tests/warm, which saves
    the seconds in which an interpreter imports PyTorch.

    Args:
        folder: working folder; it gets links to the folders of the repository.

    Returns:
        ``typed(command, status=0, fresh=False, **environment)``, which gives standard output and
        error and fails at another exit status; any status will do where it is None. ``fresh`` is
        for tests of how a command starts and ends: interpreters and torchrun are the real ones.
    """
    for name in ("conf", "egs", "tools", "wedefense_lite"):
        if not (folder / name).exists():
            (folder / name).symlink_to(ROOT / name)

    def typed(
        command: str | list, status: int | None = 0, fresh: bool = False, **environment
    ) -> str:
        words = command.split() if isinstance(command, str) else [str(word) for word in command]
        programs = [warm.programs()] if not fresh else []
        programs += [str(Path(sys.executable).parent), os.environ["PATH"]]
        path = os.pathsep.join(programs)
        own = {"PATH": path, "VIRTUAL_ENV": sys.prefix, "OMP_NUM_THREADS": "1"}
        process = subprocess.run(
            words,
            cwd=folder,
            env=warm.environment() | own | environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        output = process.stdout + process.stderr
        if status is not None:
            assert process.returncode == status, f"{words}: {process.returncode}\n{output[-5000:]}"
        return output

    return typed


@pytest.fixture(scope="session")
def prepared(la_corpus, tmp_path_factory):
    """A folder with data directories and both types of lists, and its ``typed``."""
    folder = tmp_path_factory.mktemp("root")
    typed = typist(folder)
    typed(
        "python egs/asvspoof2019_la/local/prepare_data.py --data_dir data "
        f"--corpus_dir {la_corpus} --expect_counts false"
    )
    for name in SETS:
        tables = f"data/{name}/wav.scp data/{name}/utt2lab"
        typed(
            "python tools/make_shard_list.py --num_utts_per_shard 5 --num_threads 2 "
            f"--prefix shards {tables} data/{name}/shards data/{name}/shard.list"
        )
        typed(f"python tools/make_raw_list.py {tables} data/{name}/raw.list")
    return folder, typed


def shared_folder(tmp_path_factory) -> Path:
    """Folder of this run of the tests, which all its workers share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def mini_corpus(tmp_path_factory) -> Path:
    """A twentieth of the mini corpus, as stage 1 of its recipe builds it; by one worker for all.

    A recipe that is told to build it in this folder finds it there.
    """
    if shutil.which("apt-get") is None and not (ROOT / "egs/mini/downloads").exists():
        pytest.skip("needs apt-get, or earlier downloads")
    folder = shared_folder(tmp_path_factory)
    corpus = folder / "mini_corpus"
    with open(folder / "mini_corpus.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not corpus.exists():
            typed = typist(tmp_path_factory.mktemp("mini_corpus"))
            typed(
                "bash egs/mini/run.sh --stage 1 --stop_stage 1 --scale 0.05 "
                f"--corpus_dir {corpus} --data_dir data"
            )
    return corpus


def train_command(
    exp_dir: str, kind: str = "raw", processes: int = 1, options: str = ""
) -> list[str]:
    """Words of a tiny training.

    Args:
        exp_dir: folder of the experiment.
        kind: type of the lists, raw or shard.
        processes: number of processes.
        options: more options of ``train.py``.
    """
    launcher = "python"
    if processes > 1:
        launcher = f"torchrun --standalone --nproc_per_node={processes}"
    return (
        f"{launcher} wedefense_lite/bin/train.py --config conf/resnet18.yaml --exp_dir {exp_dir} "
        f"--data_type {kind} --train_data data/train/{kind}.list --train_label data/train/utt2lab "
        f"--val_data data/dev/{kind}.list --val_label data/dev/utt2lab {options}"
    ).split() + TINY


@pytest.fixture(scope="session")
def trained(prepared) -> str:
    """``exp_dir`` of a tiny system trained for three epochs in the folder of ``prepared``."""
    _, typed = prepared
    typed(train_command("exp/tiny", options="--num_epochs 3 --num_avg 2"))
    return "exp/tiny"


def arrays_of(folder: Path, ark: str) -> dict[str, np.ndarray]:
    """Arrays of an archive, in its own order."""
    return dict(kaldiio.load_ark(str(folder / ark)))
