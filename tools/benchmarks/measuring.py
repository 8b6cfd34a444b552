"""Times and memory of two sides of a comparison, which run by turns."""

import logging
import resource
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from benchmarks.work import Comparison
from wedefense_lite.files import inputs_kept

RESET_PEAK = "5"  # to /proc/self/clear_refs: the peak of resident memory begins anew
MEGABYTE = 2**20


def cpu_seconds() -> float:
    """CPU time of this process, of all its threads, and of children that have ended."""
    seconds = 0.0
    for kind in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        usage = resource.getrusage(kind)
        seconds += usage.ru_utime + usage.ru_stime
    return seconds


def _reset_peak() -> None:
    try:
        Path("/proc/self/clear_refs").write_text(RESET_PEAK)
    except OSError:
        logging.debug("no /proc: peaks of memory are those of all work so far")


def _peak_memory() -> float | None:
    """Highest resident memory since ``_reset_peak``, in MB; None where the system doesn't say."""
    return memory_of_status("VmHWM:", "/proc/self/status")


def memory_of_status(name: str, path: str) -> float | None:
    """Memory in MB that a file of ``/proc`` states in kB; None where there is no such file."""
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith(name):
            return int(line.split()[1]) * 1024 / MEGABYTE
    return None


def measured(function: Callable[[], object], tells_memory: bool = False) -> dict[str, float | None]:
    """CPU and wall seconds of a call, and its peak of memory in MB, which it may tell itself."""
    _reset_peak()
    cpu = cpu_seconds()
    start = time.perf_counter()
    with inputs_kept():  # a command for itself: it may write what an earlier one has read
        result = function()
    wall = time.perf_counter() - start
    cpu = cpu_seconds() - cpu
    memory = result if tells_memory else _peak_memory()
    return {"cpu": cpu, "wall": wall, "memory": memory}


def compared(comparison: Comparison, rounds: int) -> dict:
    """Medians of both sides and of their ratios.

    Args:
        comparison: both sides run by turns, so that other work on the machine disturbs them alike.
        rounds: that count; one more warms up.
    """
    ours = []
    floor = []
    for number in range(rounds + 1):
        mine = measured(comparison.ours, comparison.tells_memory)
        least = measured(comparison.floor, comparison.tells_memory)
        if number:
            ours.append(mine)
            floor.append(least)
    ratios = []
    for mine, least in zip(ours, floor):
        ratios.append(mine[comparison.unit] / max(least[comparison.unit], 1e-9))
    return {
        "ours": _medians(ours),
        "floor": _medians(floor),
        "ratio": median(ratios),
        "lowest_ratio": min(ratios),
        "highest_ratio": max(ratios),
        "floor_name": comparison.floor_name,
        "goal": comparison.goal,
        "count": comparison.count,
        "unit": comparison.unit,
    }


def _medians(sides: list[dict[str, float | None]]) -> dict[str, float | None]:
    """Median of each unit, None where it isn't known."""
    medians = {}
    for unit in sides[0]:
        values = [side[unit] for side in sides]
        medians[unit] = None if None in values else median(values)
    return medians
