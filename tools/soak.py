"""Hours of training and scoring with random kills: results stay, and nothing grows.

A round packs a tiny corpus, trains, averages and scores, each command in a process of its own as a
recipe starts it. Every minute a command is killed at a random moment by a random signal and typed
again. The scores of each round must have the bytes of the first round, which nothing disturbs.
Memory, open files and shared memory of the commands must not grow from round to round.
"""

from wedefense_lite import cli

import logging
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile as sf
from jsonargparse.typing import NonNegativeInt, PositiveFloat

from wedefense_lite.files import InputError, write_table

ROOT = Path(__file__).resolve().parents[1]
RATE = 16000  # Hz
SETS = {"train": 32, "dev": 16, "eval": 16}
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
# Share by which a measurement may rise from the first rounds to the last, and what is always
# allowed: pages and files that libraries open at will.
GROWTH = 0.1
SLACK = {"memory": 30.0, "files": 8.0, "shared memory": 0.0}
SHARED_MEMORY = Path("/dev/shm")
PREFIXES = ("torch_", "psm_", "sem.mp-", "pym-")  # of torch, and of multiprocessing
LIMIT = 600  # seconds in which a command must end


@dataclass
class Round:
    """Measurements of a round.

    Attributes:
        seconds: its length.
        kills: commands that were killed.
        memory: highest resident memory of a command, MB.
        files: highest number of open files of a command.
        shared: names in /dev/shm after the round.
    """

    seconds: float = 0.0
    kills: int = 0
    memory: float = 0.0
    files: int = 0
    shared: int = 0


class Broken(Exception):
    """Something that was promised and did not hold."""


class Killer:
    """Moments of the kills.

    Args:
        seconds: mean time between two; the draw is uniform from half of it to one and a half.
        rng: random numbers.
    """

    def __init__(self, seconds: float, rng: random.Random):
        self.seconds = seconds
        self.rng = rng
        self.next = float("inf")

    def begin(self) -> None:
        """Draw the moment of the next kill."""
        self.next = time.monotonic() + self.seconds * self.rng.uniform(0.5, 1.5)

    def is_due(self) -> bool:
        """Whether the moment has come."""
        return time.monotonic() >= self.next

    def signal(self) -> signal.Signals:
        """A random signal; the next moment is drawn."""
        self.begin()
        return self.rng.choice(SIGNALS)


def soak(
    hours: PositiveFloat = 1.0,
    kill_seconds: PositiveFloat = 60.0,
    seed: NonNegativeInt = 1,
    num_workers: NonNegativeInt = 2,
    folder: str | None = None,
) -> None:
    """Train and score in a loop, and kill commands at random; exit status 1 where results change.

    Args:
        hours: how long, from the end of the first round; a round that has begun is finished.
        kill_seconds: mean time between two kills.
        seed: of kills.
        num_workers: reading processes of each command.
        folder: where to work, an empty folder; unless given, a temporary one.
    """
    if folder is not None and Path(folder).exists() and any(Path(folder).iterdir()):
        raise InputError(f"--folder {folder}: expected an empty folder")
    place = Path(folder or tempfile.mkdtemp(prefix="soak"))
    place.mkdir(parents=True, exist_ok=True)
    write_corpus(place)
    killer = Killer(kill_seconds, random.Random(seed))
    rounds: list[Round] = []
    problem = ""
    expected = b""
    try:
        expected = play(place, num_workers, killer, Round())
        killer.begin()
        end = time.monotonic() + 3600 * hours
        while not rounds or time.monotonic() < end:
            measured = Round()
            scores = play(place, num_workers, killer, measured)
            rounds.append(measured)
            if scores != expected:
                raise Broken(f"round {len(rounds)}: other scores than those of the first round")
            print(line_of(len(rounds), measured), flush=True)
        problem = growth(rounds)
    except Broken as error:
        problem = str(error)
    kills = sum(measured.kills for measured in rounds)
    print(f"{len(rounds)} rounds, {kills} kills: {problem or 'results stayed, nothing grew'}")
    if problem:
        print(f"the files are in {place}")
        sys.exit(1)
    if folder is None:
        shutil.rmtree(place)


def write_corpus(place: Path) -> None:
    """Write data directories of noise, in which the spoofs have no high frequencies."""
    rng = np.random.default_rng(0)
    for name, count in SETS.items():
        wavs = {}
        labels = {}
        for number in range(count):
            key = f"{name}_{number:03d}"
            noise = 0.1 * rng.standard_normal(int(RATE * rng.uniform(0.8, 1.4)))
            labels[key] = "bonafide"
            if number % 2:
                noise = np.convolve(noise, np.full(4, 0.25), mode="same")
                labels[key] = "spoof"
            path = place / f"audio/{key}.flac"
            path.parent.mkdir(exist_ok=True)
            sf.write(path, noise, RATE)
            wavs[key] = str(path)
        write_table(place / f"data/{name}/wav.scp", wavs)
        write_table(place / f"data/{name}/utt2lab", labels)


def commands(num_workers: int) -> list[str]:
    """Commands of a round, in a folder that holds ``data``."""
    binary = f"{ROOT}/wedefense_lite/bin"
    packs = []
    for name in SETS:
        tables = f"data/{name}/wav.scp data/{name}/utt2lab"
        packs.append(
            f"{ROOT}/tools/make_shard_list.py --num_utts_per_shard 5 {tables} "
            f"run/{name} run/{name}.list"
        )
    model = "run/exp/models/avg_model.pt"
    system = f"--config run/exp/config.yaml --model_path {model}"
    return [
        *packs,
        f"{binary}/train.py --config {ROOT}/conf/resnet18.yaml --system.frontend.num_mels 24 "
        "--system.model.channels 4 --system.model.embed_dim 8 --data.crop_seconds 0.5 "
        f"--batch_size 8 --num_epochs 6 --num_avg 3 --num_workers {num_workers} "
        "--training.save_step_interval 2 --exp_dir run/exp "
        "--train_data run/train.list --train_label data/train/utt2lab "
        "--val_data run/dev.list --val_label data/dev/utt2lab",
        f"{binary}/average_model.py --dst_model {model} --src_path run/exp/models --num 3 "
        "--bn_data run/train.list",
        f"{binary}/extract.py {system} --data_list run/eval.list --num_workers {num_workers} "
        "--embed_ark run/embeddings/embedding.ark",
        f"{binary}/infer.py {system} --embedding_scp_path run/embeddings/embedding.scp "
        "--out_path run/posteriors",
        f"{binary}/logits_to_llr.py --logits_scp_path run/posteriors/logits.scp --pi_spoof 0.05",
    ]


def play(place: Path, num_workers: int, killer: Killer, measured: Round) -> bytes:
    """Play a round from its beginning.

    Args:
        place: folder with the corpus.
        num_workers: reading processes of each command.
        killer: moments of the kills.
        measured: measurements, which are filled in.

    Returns:
        Content of the scores.

    Raises:
        Broken: a command failed, hung, or left processes behind.
    """
    start = time.monotonic()
    run = place / "run"
    shutil.rmtree(run, ignore_errors=True)
    run.mkdir()
    for command in commands(num_workers):
        while not ends_well(command, place, killer, measured):
            measured.kills += 1
    hidden = [path.name for path in run.rglob(".*") if path.is_file()]
    if any("lock" not in name for name in hidden):
        raise Broken(f"left over: {' '.join(hidden[:3])}")
    measured.seconds = time.monotonic() - start
    measured.shared = shared_names()
    return (run / "posteriors/llr.txt").read_bytes()


def ends_well(command: str, place: Path, killer: Killer, measured: Round) -> bool:
    """Whether a command ends; False where it was killed.

    Raises:
        Broken: it failed by itself, hung, or left processes behind.
    """
    log = place / "log"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, *command.split()],
            cwd=place,
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    name = Path(command.split(maxsplit=1)[0]).name
    end = time.monotonic() + LIMIT
    killed = None
    while process.poll() is None:
        measure(process.pid, measured)
        if killed is None and killer.is_due():
            killed = killer.signal()
            process.send_signal(killed)
        if time.monotonic() > end:
            os.killpg(process.pid, signal.SIGKILL)
            raise Broken(f"{name}: no end within {LIMIT} s")
        time.sleep(0.02)
    check_gone(process.pid, name)
    if process.returncode == 0:
        return True
    if killed is not None:
        logging.info("%s: %s", name, killed.name)
        return False
    lines = log.read_text(errors="replace").splitlines()
    raise Broken(f"{name}: exit status {process.returncode}: {' / '.join(lines[-3:])}")


def check_gone(group: int, name: str) -> None:
    """Wait for the end of what a command started.

    Raises:
        Broken: something goes on.
    """
    end = time.monotonic() + 15
    while members_of(group):
        if time.monotonic() > end:
            with suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
            raise Broken(f"{name}: left processes behind")
        time.sleep(0.1)


def members_of(group: int) -> list[int]:
    """Processes of a group, but for those that have ended and that nobody has waited for."""
    members = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it ended meanwhile
            # The name of the program, in brackets, may hold spaces.
            state, _, process_group = path.read_text().rpartition(")")[2].split()[:3]
            if int(process_group) == group and state != "Z":
                members.append(int(path.parent.name))
    return members


def measure(pid: int, measured: Round) -> None:
    """Note memory and open files of a process, where they are the highest of the round."""
    with suppress(OSError, ValueError):  # it may end meanwhile
        sizes = Path(f"/proc/{pid}/statm").read_text().split()
        resident_pages = int(sizes[1])
        megabytes = resident_pages * os.sysconf("SC_PAGE_SIZE") / 1e6
        measured.memory = max(measured.memory, megabytes)
        open_files = os.listdir(f"/proc/{pid}/fd")
        measured.files = max(measured.files, len(open_files))


def shared_names() -> int:
    """Shared memory of this user that has a name, as torch and Python name it."""
    count = 0
    for path in SHARED_MEMORY.glob("*"):
        with suppress(OSError):
            if path.name.startswith(PREFIXES) and path.stat().st_uid == os.getuid():
                count += 1
    return count


def growth(rounds: list[Round]) -> str:
    """Measurement that rose from the first rounds to the last, as a sentence; empty for none."""
    if len(rounds) < 4:
        return ""
    quarter = len(rounds) // 4
    columns = {
        "memory": [measured.memory for measured in rounds],
        "files": [float(measured.files) for measured in rounds],
        "shared memory": [float(measured.shared) for measured in rounds],
    }
    for name, values in columns.items():
        first = statistics.median(values[:quarter])
        last = statistics.median(values[-quarter:])
        if last > first * (1 + GROWTH) + SLACK[name]:
            return f"{name} rose from {first:g} to {last:g}"
    return ""


def line_of(number: int, measured: Round) -> str:
    """A round as a line of text."""
    return (
        f"round {number}: {measured.seconds:.1f} s, {measured.kills} kills, "
        f"{measured.memory:.0f} MB, {measured.files} open files, "
        f"{measured.shared} in {SHARED_MEMORY}, the same scores"
    )


if __name__ == "__main__":
    cli.run(soak)
