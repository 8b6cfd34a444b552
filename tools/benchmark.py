"""Times of the toolkit beside their floors: plain loops over the library calls that must happen.

    python tools/benchmark.py [--cases read,train] [--json now.json] [--compare earlier.json]

Both sides of a comparison run in this process by turns, so that other work on the machine disturbs
them alike; the first round warms up and isn't counted. Audio is noise and weights are random:
nothing is downloaded. Use ratios: seconds depend on the machine and on what else it does.
"""

from wedefense_lite import cli

import math
import os
import platform
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from benchmarks.data import SCALES, packing, prep, reading, scale
from benchmarks.measuring import compared, cpu_seconds
from benchmarks.signals import augmenting, features
from benchmarks.systems import extraction, scoring, training
from benchmarks.talkers import mixtures
from benchmarks.text import metrics, startup
from benchmarks.work import SMALLEST, Bench, Size
from jsonargparse.typing import PositiveInt

from wedefense_lite.files import NO_VALUE, InputError, read_json
from wedefense_lite.processes import keep_memory, usable_cores
from wedefense_lite.provenance import code_commit
from wedefense_lite.report.tables import check_outputs, publish, table
from wedefense_lite.runtime import Precision
from wedefense_lite.systems.config import Workers

CASES = {
    "prep": prep,
    "pack": packing,
    "read": reading,
    "augment": augmenting,
    "features": features,
    "train": training,
    "score": scoring,
    "extract": extraction,
    "metrics": metrics,
    "startup": startup,
    "mixtures": mixtures,
    "scale": scale,
}
# Of the cores, the share that other programs may use before there is no verdict.
QUIET_SHARE = 0.25
HEADER = (
    "case,work,CPU s,floor,wall s,floor,MB,floor,per s,ratio,lowest,highest,goal,before,of,"
    "the floor is"
).split(",")


def benchmark(
    cases: str = ",".join(CASES),
    rounds: PositiveInt = 5,
    smallest: bool = False,
    config: str = "conf/resnet18_small.yaml",
    num_workers: Workers = 0,
    precision: Precision | None = None,
    compile: bool = False,
    deterministic: bool = True,
    gpus: str | None = None,
    json: str | None = None,
    compare: str | None = None,
) -> None:
    """Print times, peak memory and ratios of work and of its floor.

    Args:
        cases: names of cases, separated by commas.
        rounds: of which the medians are printed; another one warms up.
        smallest: the least work, which shows that the cases run and nothing else.
        config: YAML of a system that decides for utterances, of train, score and extract.
        num_workers: reading processes of train.
        precision: of train; by default the YAML's.
        compile: compile the step of train.
        deterministic: of train; false lets a GPU choose among all kernels.
        gpus: device of train, score and extract, as 0.
        json: file for the results.
        compare: results of an earlier call, whose ratios are printed beside.
    """
    names = cases.split(",")
    for name in names:
        if name not in CASES:
            raise InputError(f"--cases {cases}: no case {name!r}, expected {', '.join(CASES)}")
    check_outputs(json)
    keep_memory()  # as training and scoring do
    earlier = _read_earlier(compare) if compare else {}
    size = SMALLEST if smallest else Size()
    cores = usable_cores()
    load_before = os.getloadavg()[0]
    cpu = cpu_seconds()
    start = time.perf_counter()
    results = {}
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            bench = Bench(
                Path(folder), size, config, num_workers, precision, compile, deterministic, gpus
            )
            by_work = {}
            for comparison in CASES[name](bench):
                by_work[comparison.name] = compared(comparison, rounds)
        results[name] = by_work
    own_load = (cpu_seconds() - cpu) / (time.perf_counter() - start)
    load_after = os.getloadavg()[0]
    machine = {
        "commit": code_commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "processor": processor_name(),
        "cores": cores,
        "threads": torch.get_num_threads(),
        "load before": round(load_before, 2),
        "load after": round(load_after, 2),
        "rounds": rounds,
    }
    if torch.cuda.is_available():
        machine["gpu"] = torch.cuda.get_device_name()
    growth = exponents(results.get("scale", {}))
    lines = [", ".join(f"{key} {value}" for key, value in machine.items())]
    lines += table(_rows(results, earlier))
    for work, exponent in growth.items():
        lines.append(f"{work}: time grows by the power {exponent:.2f} of the rows")
    other_load = max(load_before, load_after - own_load)
    if smallest:
        lines.append("no verdict: the smallest size measures nothing")
    elif other_load > QUIET_SHARE * cores:
        lines.append(
            f"no verdict: a load of {other_load:.2f} on {cores} cores beside this program, "
            f"expected at most {QUIET_SHARE * cores:.2f}"
        )
    else:
        lines.append(verdict(results))
    publish(lines, {"machine": machine, "cases": results, "growth": growth}, json)


def _read_earlier(path: str) -> dict:
    """Results by case of an earlier call.

    Raises:
        InputError: the file has none.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("cases"), dict):
        raise InputError(f"{path}: no results of benchmark.py --json")
    return content["cases"]


def processor_name() -> str:
    """Name of the processor; of its kind where the system doesn't say more."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine()


def exponents(results: dict[str, dict]) -> dict[str, float]:
    """Growth of the CPU time with the number of rows, by the two largest sizes; 1 is linear."""
    growth = {}
    small, large = SCALES[-2:]
    for name, result in results.items():
        work, _, factor = name.rpartition(" ")
        if factor == f"{large}x" and work != "reader":
            shorter = results[f"{work} {small}x"]["ours"]["cpu"]
            ratio = result["ours"]["cpu"] / max(shorter, 1e-9)
            growth[work] = math.log(ratio) / math.log(large / small)
    return growth


def _rows(cases: dict[str, dict], earlier: dict[str, dict]) -> list[list[str]]:
    rows = [HEADER]
    for case, results in cases.items():
        for work, result in results.items():
            cells = [case, work]
            for unit, form in (("cpu", ".3f"), ("wall", ".3f"), ("memory", ".0f")):
                for side in ("ours", "floor"):
                    value = result[side][unit]
                    cells.append(NO_VALUE if value is None else format(value, form))
            seconds = max(result["ours"][result["unit"]], 1e-9)
            cells.append(f"{result['count'] / seconds:.0f}")
            before = earlier.get(case, {}).get(work, {}).get("ratio")
            ratios = [result["ratio"], result["lowest_ratio"], result["highest_ratio"]]
            for ratio in (*ratios, result["goal"], before):
                cells.append(NO_VALUE if ratio is None else f"{ratio:.2f}")
            rows.append([*cells, result["unit"], result["floor_name"]])
    return rows


def verdict(cases: dict[str, dict]) -> str:
    """Sentence about the goals."""
    missed = []
    count = 0
    for case, results in cases.items():
        for work, result in results.items():
            if result["goal"] is None:
                continue
            count += 1
            if result["ratio"] > result["goal"]:
                missed.append(f"{case} {work}")
    if missed:
        return f"{len(missed)} of {count} goals missed: {', '.join(missed)}"
    return f"all of {count} goals met"


if __name__ == "__main__":
    cli.run(benchmark, builds_systems=True)
