"""Commands that are killed end alike when they are typed again."""

import contextlib
import functools
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from checks import accepted, end_of, refused
from injection import ROOT
from stages import (
    ANOTHER,
    CALIBRATED,
    EXPORT_READS,
    EXTRACT_READS,
    LLR_READS,
    SCORE_WORDS,
    SCORED_READS,
    STAGES,
    TRAIN_READS,
    Stage,
    difference,
    evaluate_words,
    export_words,
    extract_words,
    infer_words,
    llr_words,
    pack_words,
    separate_words,
    set_files,
    simulate_words,
    snapshot,
    train_words,
)

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
LONG = ("train", "extract", "make_shard_list", "simulate_mixtures", "separate", "train, 2 ranks")


def draw(injected, name: str, pairs: list[tuple], run: int) -> tuple | None:
    """Pair number ``run`` of a random order; None where there are fewer."""
    rng = random.Random(f"{injected.seed} {name}")
    rng.shuffle(pairs)
    return pairs[run] if run < len(pairs) else None


def check_again(world, stage: Stage, folder, killed, expected: dict[str, str]) -> None:
    """Check the end of a killed command, and that the same command makes the files of a run that
    nothing disturbed.
    """
    assert killed.status is not None, "it had no end"
    assert "Traceback" not in killed.output, f"traceback\n{end_of(killed)}"
    before = difference(snapshot(folder, stage.timed), expected)
    assert killed.status != 0 or not before, f"exit status 0, but {before}"
    again = world.run(stage, folder)
    assert again.status == 0, f"again: exit status {again.status}\n{end_of(again)}"
    after = difference(snapshot(folder, stage.timed), expected)
    assert not after, f"again: {after}"


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_killed_at_a_change_of_files(stage, run, world, injected):
    rank = random.Random(f"{injected.seed} {stage.name} {run}").randrange(stage.ranks)
    reference, expected = world.reference(stage, rank)
    points = range(1, len(reference.changes) + 1)
    pairs = [(point, number) for point in points for number in SIGNALS]
    pair = draw(injected, f"{stage.name} {rank}", pairs, run)
    if pair is None:
        return
    point, number = pair
    folder = world.copy(*stage.reads)
    name = f"{stage.name}: {number.name} before change {point} ({reference.changes[point - 1]})"
    with injected.fault("kill", name):
        killed = world.run(stage, folder, {"number": number, "point": point}, rank)
        check_again(world, stage, folder, killed, expected)
    shutil.rmtree(folder)


@pytest.mark.parametrize("name", LONG)
def test_killed_at_a_random_time(name, run, world, injected):
    stage = next(stage for stage in STAGES if stage.name == name)
    reference, expected = world.reference(stage)
    rng = random.Random(f"{injected.seed} {name} {run} time")
    number = rng.choice(SIGNALS)
    rank = rng.randrange(stage.ranks)
    seconds = rng.uniform(0, reference.seconds)
    folder = world.copy(*stage.reads)
    with injected.fault("kill", f"{name}: {number.name} to rank {rank} after {seconds:.2f} s"):
        killed = world.run(stage, folder, {"number": number, "seconds": seconds}, rank)
        check_again(world, stage, folder, killed, expected)
    shutil.rmtree(folder)


def test_killed_between_the_last_step_and_the_end_of_its_epoch(world, injected):
    stage = next(stage for stage in STAGES if stage.name == "train")
    reference, expected = world.reference(stage)
    saved = [number for number, change in enumerate(reference.changes, 1) if is_last(change)]
    folder = world.copy(*stage.reads)
    with injected.fault("kill", "train: SIGKILL after the last step of its first epoch is saved"):
        # Each of three steps is saved, then the epoch.
        killed = world.run(stage, folder, {"number": signal.SIGKILL, "point": saved[2] + 1})
        check_again(world, stage, folder, killed, expected)


def is_last(change: str) -> bool:
    """Whether a change gives a checkpoint the name last.pt."""
    return change.startswith("rename .last.pt")


# Results of something else are there already. Name, what is there, the command that is killed, the
# command that reads its results, and the results of that. Other data or another model gives other
# results, and what is killed between the two must not give results of both.
TAKEOVERS = {
    "extract by another model": (
        (*EXTRACT_READS, "exp/embeddings"),
        extract_words(ANOTHER),
        infer_words(ANOTHER),
        "exp/posteriors",
    ),
    "extract by another model, read for the first one": (
        (*EXTRACT_READS, "exp/embeddings"),
        extract_words(ANOTHER),
        infer_words(),
        "exp/posteriors",
    ),
    "logits_to_llr with another calibration": (
        (*EXPORT_READS, *LLR_READS, "data/eval/utt2lab"),
        llr_words("dev").replace("pi_spoof 0.05", "pi_spoof 0.5")
        + " --cal_logits_scp_path exp/posteriors/eval/logits.scp --cal_label data/eval/utt2lab",
        export_words(),
        "bundle",
    ),
    "logits_to_llr over calibrated scores": (
        (*SCORED_READS, *LLR_READS),
        CALIBRATED.replace("pi_spoof 0.05", "pi_spoof 0.5"),
        evaluate_words("eval_calibrated"),
        "exp/results_eval_calibrated.json",
    ),
    "make_shard_list of another set": (
        (*set_files("train", "dev", files="wav.scp utt2lab"), "data/dev/shards",
         "data/dev/shard.list", "exp/config.yaml", "exp/models"),
        pack_words("train", per_shard=7),
        extract_words(kind="shard"),
        "exp/embeddings",
    ),
    "export_bundle of another threshold": (
        (*EXPORT_READS, "bundle", "recording.wav"),
        export_words("--far 0.2 --decide_on bonafide_logit"),
        SCORE_WORDS,
        None,
    ),
    "simulate_mixtures of another seed": (
        ("data/train", "mix", "sep/config.yaml", "sep/models"),
        simulate_words(2),
        separate_words(),
        "streams",
    ),
    "train --overwrite on other data": (
        (*TRAIN_READS, "exp"),
        train_words("exp", "--overwrite true", "dev"),
        "wedefense_lite/bin/average_model.py --dst_model new.pt --src_path exp/models --num 2",
        "new.pt",
    ),
}  # fmt: skip


def results_of(world, folder, words: str, path: str | None) -> tuple | None:
    """Files, or the output, of a command; None where it refused."""
    ended = world.warm.run(words, folder)
    if ended.status != 0:
        refused(ended)
        return None
    if path is None:
        return (ended.output,)
    target = folder / path
    if target.suffix == ".pt":
        # An average may be of fewer epochs, all of one training.
        return (str(torch.load(target, weights_only=True)["data_hashes"]),)
    if target.is_file():
        return (target.read_bytes(),)
    return tuple(sorted(snapshot(target).items()))


@functools.cache
def undisturbed(world, name: str) -> tuple:
    """Results of before, results of after, and the changes of files between the two."""
    reads, words, next_words, path = TAKEOVERS[name]
    before = results_of(world, world.copy(*reads), next_words, path)
    folder = world.copy(*reads)
    reference = world.warm.run(words, folder, fault={"point": 0})
    accepted(reference)
    after = results_of(world, folder, next_words, path)
    return before, after, reference.changes


@pytest.mark.parametrize("name", TAKEOVERS)
def test_killed_over_results_of_something_else(name, run, world, injected):
    reads, words, next_words, path = TAKEOVERS[name]
    before, after, changes = undisturbed(world, name)
    pairs = [(point, signal.SIGKILL) for point in range(1, len(changes) + 1)]
    pair = draw(injected, name, pairs, run)
    if pair is None:
        return
    point, number = pair
    folder = world.copy(*reads)
    with injected.fault(
        "kill", f"{name}: {number.name} before change {point} ({changes[point - 1]})"
    ):
        world.warm.run(words, folder, fault={"number": number, "point": point})
        results = results_of(world, folder, next_words, path)
        mixed = results is not None and results not in (before, after)
        assert not mixed, "the next command took results of both"
    shutil.rmtree(folder)


def test_a_rank_ends_when_its_launcher_is_killed(world, injected):
    """A rank that went on would be a second writer of its folder."""
    folder = world.copy(*TRAIN_READS)
    script, *words = train_words("new", "--num_epochs 500").split()
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc_per_node=1", f"{ROOT}/{script}", *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    launcher = subprocess.Popen(command, cwd=folder, env=environment, **quiet)
    try:
        wait_for((folder / "new/models/last.pt").exists, 60)
        with injected.fault("kill", "SIGKILL to torchrun: its rank ends"):
            assert len(processes_in(folder)) == 2, "a launcher and a rank are expected"
            launcher.kill()
            launcher.wait()
            assert wait_for(lambda: not processes_in(folder), 15), "still training after 15 s"
    finally:
        for pid in processes_in(folder):
            os.kill(pid, signal.SIGKILL)


def wait_for(condition, seconds: float) -> bool:
    """Whether a condition is met within some seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


def processes_in(folder: Path) -> list[int]:
    """Processes whose working folder this is."""
    pids = []
    for path in Path("/proc").glob("[0-9]*/cwd"):
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            if path.readlink() == folder:
                pids.append(int(path.parent.name))
    return pids
