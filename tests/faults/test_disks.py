"""Commands on disks that are full, read-only or another user's: one line, and nothing torn."""

import functools
import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from checks import end_of, refused
from stages import NOBODY, STAGES, difference, open_parents, snapshot

from wedefense_lite.files import read_json
from wedefense_lite.scoring.sidecar import UNFINISHED

ALONE = [stage for stage in STAGES if stage.ranks == 1]
BLOCK = os.sysconf("SC_PAGE_SIZE")  # of a tmpfs
DISK_KINDS = ("full, 0 %", "full, 50 %", "full, 95 %", "full, over earlier files", "read-only")
KINDS = (*DISK_KINDS, "files end at half", "a file in the way", "no permission")
# Texts of the system's errors, and of ours for the same.
REASONS = {
    "full": ("space", "full"),
    "read-only": ("ead-only",),
    "files end at half": ("large", "space", "full", "limit"),
    "a file in the way": ("irectory", "folder", "exists", "file"),
    "no permission": ("ermi",),
}


@functools.cache
def can_mount() -> bool:
    """Whether a disk of our own can be made."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        return False
    probe = Path(os.environ.get("TMPDIR", "/tmp"), f"wedefense_disk_{os.getpid()}")
    probe.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(probe)]
    made = subprocess.run(command, capture_output=True, check=False).returncode == 0
    if made:
        subprocess.run(["umount", str(probe)], check=False)
    probe.rmdir()
    return made


@contextmanager
def disk(folder: Path) -> Iterator[None]:
    """A disk of 64 MB in memory at a folder."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


def used_blocks(folder: Path) -> int:
    sizes = os.statvfs(folder)
    return sizes.f_blocks - sizes.f_bfree


@functools.cache
def blocks_of(world, stage) -> int:
    """Blocks of what a stage writes."""
    folder = world.copies / f"sizes_{ALONE.index(stage)}"
    with disk(folder):
        world.copy(*stage.reads, folder=folder)
        before = used_blocks(folder)
        assert world.run(stage, folder).status == 0
        return used_blocks(folder) - before


def is_mark(path: Path) -> bool:
    """Whether a file is the mark of unfinished results, which every reader refuses."""
    return path.suffix == ".json" and UNFINISHED in read_json(path)


def check_files(folder: Path, stage, expected: dict[str, str]) -> None:
    """Check that every file is one of a run that nothing disturbed, an epoch's, or the mark of
    unfinished results.
    """
    snapshots = snapshot(folder, stage.timed)
    files = {name: value for name, value in snapshots.items() if not is_mark(folder / name)}
    if stage.name == "train":
        # An earlier epoch's. Whether they are whole is seen when the training goes on.
        epochs = ("new/metrics.csv", "new/models/model_1.pt", "new/models/best_model.pt")
        for name in (*epochs, "new/models/last.pt", "new/models/model_2.pt", "new/env.json"):
            if name in files:
                files[name] = expected.get(name)
                if files[name] is None:
                    del files[name]
    subset = {name: expected[name] for name in files if name in expected}
    problem = difference(files, subset)
    assert not problem, problem


def check_again(world, folder: Path, stage, expected: dict[str, str]) -> None:
    """Check that the same command makes all files once its disk is well."""
    again = world.run(stage, folder)
    assert again.status == 0, f"again: exit status {again.status}\n{end_of(again)}"
    problem = difference(snapshot(folder, stage.timed), expected)
    assert not problem, f"again: {problem}"


def full_or_read_only(world, stage, kind: str, expected: dict[str, str]) -> None:
    """A disk without room, or one that can't be written."""
    written = blocks_of(world, stage)
    world.count += 1
    folder = world.copies / str(world.count)
    with disk(folder):
        world.copy(*stage.reads, folder=folder)
        if kind == "read-only":
            remount(folder, "ro")
        elif kind == "full, over earlier files":
            assert world.run(stage, folder).status == 0
            remount(folder, f"size={used_blocks(folder) * BLOCK}")
        else:
            share = int(kind.removeprefix("full, ").removesuffix(" %")) / 100
            room = min(int(share * written), written - 1)
            # A size of 0 would be no limit; each stage writes more than a block.
            size = max(used_blocks(folder) + room, 1)
            remount(folder, f"size={size * BLOCK}")
        ended = world.run(stage, folder)
        if kind == "full, over earlier files" and ended.status == 0:
            # It makes its earlier files invalid first, so there is room for the new ones.
            problem = difference(snapshot(folder, stage.timed), expected)
            assert not problem, problem
            return
        refused(ended, *REASONS[kind.partition(",")[0]], status=None)
        check_files(folder, stage, expected)
        remount(folder, "rw" if kind == "read-only" else "size=64m")
        check_again(world, folder, stage, expected)


def files_end_early(world, stage, expected: dict[str, str]) -> None:
    """A limit of the size of files, at half of the largest one."""
    folder = world.copy(*stage.reads)
    present = snapshot(folder)
    world.run(stage, folder)
    sizes = [(folder / name).stat().st_size for name in snapshot(folder) if name not in present]
    shutil.rmtree(folder)
    folder = world.copy(*stage.reads)
    ended = world.warm.run(stage.words, folder, file_size=max(sizes) // 2)
    refused(ended, *REASONS["files end at half"], status=None)
    check_files(folder, stage, expected)
    check_again(world, folder, stage, expected)


def in_the_way(world, stage, expected: dict[str, str]) -> None:
    """A file where a folder is to be made; or, without folders, a folder where a file is."""
    folder = world.copy(*stage.reads)
    obstacle = None
    for name in expected:
        if (folder / name).exists():
            continue
        parents = [parent for parent in Path(name).parents if not (folder / parent).exists()]
        obstacle = folder / (parents[-1] if parents else name)
        if parents:
            obstacle.write_text("a file\n")
        else:
            obstacle.mkdir()
        break
    ended = world.run(stage, folder)
    refused(ended, *REASONS["a file in the way"], status=None)
    if obstacle.is_file():
        assert obstacle.read_text() == "a file\n", "it replaced the file"
        obstacle.unlink()
    else:
        obstacle.rmdir()
    check_files(folder, stage, expected)
    check_again(world, folder, stage, expected)


def no_permission(world, stage, expected: dict[str, str]) -> None:
    """A folder that the user may not write to."""
    folder = world.copy(*stage.reads)
    # The corpus would be another user's too.
    options = {}
    if os.geteuid() == 0:
        options = {"user": NOBODY}
        open_parents(folder)
    folders = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    for path in folders:
        path.chmod(0o555)
    ended = world.warm.run(stage.words, folder, **options)
    for path in folders:
        path.chmod(0o755)
    refused(ended, *REASONS["no permission"], status=None)
    check_files(folder, stage, expected)
    check_again(world, folder, stage, expected)


@pytest.mark.turns
@pytest.mark.parametrize("stage", ALONE, ids=lambda stage: stage.name)
def test_a_disk_that_takes_nothing(stage, run, world, injected):
    rng = random.Random(f"{injected.seed} {stage.name} disks")
    kinds = list(KINDS)
    rng.shuffle(kinds)
    if run >= len(kinds):
        return
    kind = kinds[run]
    if kind in DISK_KINDS and not can_mount():
        pytest.skip("a small disk needs root and mount")
    _, expected = world.reference(stage)
    with injected.fault("disk", f"{stage.name}: {kind}"):
        if kind in DISK_KINDS:
            full_or_read_only(world, stage, kind, expected)
        elif kind == "files end at half":
            files_end_early(world, stage, expected)
        elif kind == "a file in the way":
            in_the_way(world, stage, expected)
        else:
            no_permission(world, stage, expected)
