"""Two commands in one folder at once: one is refused, or both are right."""

import shutil

import pytest
from checks import end_of, refused
from stages import (
    EXTRACT_READS,
    SEPARATOR_WORDS,
    TRAIN_READS,
    difference,
    extract_words,
    pack_words,
    set_files,
    simulate_words,
    snapshot,
    train_words,
)

AVERAGE_NEW = "wedefense_lite/bin/average_model.py --dst_model new.pt --src_path new/models --num 2"
# What is there, the two commands, and the command that reads the results of either.
PAIRS = {
    "train, two seeds": (
        TRAIN_READS, train_words("new", "--seed 1"), train_words("new", "--seed 2"), AVERAGE_NEW,
    ),
    "train, two lists": (
        TRAIN_READS, train_words("new"), train_words("new", train_set="dev"), AVERAGE_NEW,
    ),
    "train, twice the same": (
        TRAIN_READS, train_words("new"), train_words("new"), AVERAGE_NEW,
    ),
    "make_shard_list of two sets": (
        (*set_files("train", "dev", files="wav.scp utt2lab"), "exp/config.yaml", "exp/models"),
        pack_words("dev"), pack_words("train", 3), extract_words(kind="shard"),
    ),
    "make_shard_list, twice the same": (
        (*set_files("dev", files="wav.scp utt2lab"), "exp/config.yaml", "exp/models"),
        pack_words(), pack_words(), extract_words(kind="shard"),
    ),
    "simulate_mixtures, two seeds": (
        ("data/train",), simulate_words(1), simulate_words(2), SEPARATOR_WORDS,
    ),
    "extract by two models": (
        EXTRACT_READS, extract_words(), extract_words("exp/models/model_2.pt"), None,
    ),
}  # fmt: skip


@pytest.mark.turns
@pytest.mark.parametrize("name", PAIRS)
def test_two_at_once(name, run, world, injected):
    reads, first_words, second_words, next_words = PAIRS[name]
    references = []
    for words in (first_words, second_words):
        folder = world.copy(*reads)
        ended = world.warm.run(words, folder)
        assert ended.status == 0, ended.output[-2000:]
        if next_words:
            assert world.warm.run(next_words, folder).status == 0
        references.append(snapshot(folder))
        shutil.rmtree(folder)
    folder = world.copy(*reads)
    with injected.fault("together", f"{name}, try {run + 1}"):
        running = [world.warm.start(words, folder) for words in (first_words, second_words)]
        ends = [process.wait() for process in running]
        for ended in ends:
            assert ended.status is not None, "no end"
            if ended.status != 0:
                refused(ended)
        assert any(ended.status == 0 for ended in ends), "both were refused"
        if next_words:
            following = world.warm.run(next_words, folder)
            assert following.status == 0, f"then: {end_of(following)}"
        files = snapshot(folder)
        problems = [difference(files, reference) for reference in references]
        assert not all(problems), f"results of neither alone: {problems[0]}"
    shutil.rmtree(folder)


def test_a_training_of_which_files_were_deleted_says_so(world, injected):
    """The same command again makes them, or tells that they are missing."""
    for name in ("config.yaml", "env.json", "models/model_3.pt", "models/best_model.pt"):
        folder = world.copy(*TRAIN_READS, "exp")
        (folder / "exp" / name).unlink()
        with injected.fault("together", f"{name} of a finished training was deleted"):
            ended = world.warm.run(train_words("exp"), folder)
            if ended.status == 0:
                told = name in ended.output
                assert (folder / "exp" / name).exists() or told, "missing, nothing said"
            else:
                refused(ended)
        shutil.rmtree(folder)


def test_models_of_an_earlier_training_are_not_averaged(world, injected):
    folder = world.copy(*TRAIN_READS, "exp")
    (folder / "exp/models/last.pt").unlink()
    with injected.fault("together", "last.pt was removed, another list is trained on"):
        ended = world.warm.run(train_words("exp", train_set="dev"), folder)
        refused(ended, "another training")
    shutil.rmtree(folder)


@pytest.mark.parametrize("size", [64_000, 300_000, 700_000])
def test_a_small_shared_memory_loses_no_batch(size, world, injected, request):
    from test_disks import can_mount

    if not can_mount():
        pytest.skip("a small shared memory needs root and mount")
    folder = world.copy(*TRAIN_READS)
    words = train_words("new", "--num_workers 2 --data.crop_seconds 4 --num_epochs 1 --num_avg 1")
    with injected.fault("together", f"train with two readers and {size // 1000} kB of /dev/shm"):
        ended = world.warm.run(words, folder, shared_memory=size)
        if ended.status != 0:
            refused(ended, "shared memory", "shm")
        else:
            rows = (folder / "new/metrics.csv").read_text().splitlines()
            assert rows[1].split(",")[1] == "3", f"steps of the epoch: {rows}"
    shutil.rmtree(folder)
