"""Device, precision, backend and collectives: the one place that decides where things run."""

from wedefense_lite import heartbeat

import gc
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Literal

import torch
import torch.distributed as dist
from torch import nn

from wedefense_lite.files import InputError
from wedefense_lite.processes import keep_memory, usable_cores

Precision = Literal["fp32", "tf32", "bf16", "fp16", "auto"]
# Of a training by several processes: each holds all weights, or a part of them.
Parallel = Literal["ddp", "fsdp"]

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
# Flags of processors that multiply bf16 by instructions of their own: AVX-512, AMX, and ARM's.
BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}
CPU_INFO = Path("/proc/cpuinfo")
# Longest wait of a process for another one. A process that is stopped or killed is noticed within a
# minute by its heartbeat; this is for two that wait for each other. In scoring they meet only at
# the end, after work of unequal length.
TRAINING_TIMEOUT = timedelta(minutes=30)
SCORING_TIMEOUT = timedelta(hours=12)
# Longest wait for a batch of the reading processes.
READING_TIMEOUT = timedelta(minutes=10)
MOST_PROCESSES = 10**6
# Of ``num_workers: auto``: reading processes of a process, and threads of a CPU for each.
MOST_READERS = 8
THREADS_OF_READER = 4
# Minutes that take the place of all three.
TIMEOUT_VARIABLE = "WEDEFENSE_TIMEOUT"


@dataclass(frozen=True)
class Process:
    """Place of this process among all.

    Attributes:
        device: device of the model.
        rank: number of this process, from 0.
        world: number of processes.
    """

    device: torch.device
    rank: int
    world: int

    @property
    def is_main(self) -> bool:
        """True for the one process that writes files and logs."""
        return self.rank == 0

    @property
    def gpu_name(self) -> str | None:
        """Name of the GPU; None on a CPU."""
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else None


def longest_wait(default: timedelta) -> timedelta:
    """Longest wait for another process: that of the environment in minutes, or a default.

    Raises:
        InputError: the variable of the environment is no number of minutes.
    """
    text = os.environ.get(TIMEOUT_VARIABLE)
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]+)?", text) or float(text) == 0:
        raise InputError(f"{TIMEOUT_VARIABLE} is {text!r}, expected a number of minutes over 0")
    return timedelta(minutes=float(text))


def reading_processes(setting: int | Literal["auto"]) -> int:
    """Number of processes that read for this one.

    Args:
        setting: number, or ``auto``: with a GPU, all cores of this process but one, at most 8;
            without, one for every four threads, as the model has use for all of them.
    """
    if setting != "auto":
        return setting
    if torch.cuda.is_available():
        cores = usable_cores() // _variable("LOCAL_WORLD_SIZE", default=1, least=1)
        return max(0, min(MOST_READERS, cores - 1))
    return min(MOST_READERS, torch.get_num_threads() // THREADS_OF_READER)


def start_process(gpus: str | None = None, timeout: timedelta = SCORING_TIMEOUT) -> Process:
    """Choose the device, join the processes that ``torchrun`` or ``srun`` started, and let this one
    keep memory that arrays leave.

    Args:
        gpus: CUDA devices of this node by index, such as ``0,1`` or ``[0,1]``, one a process; by
            default process k takes device k. Without a GPU the CPU is used, and the log says so.
        timeout: longest wait of a process for another one; ``WEDEFENSE_TIMEOUT`` takes precedence.

    Raises:
        InputError: no list of devices, fewer devices than processes, several tasks of a Slurm step
            that would each do the whole work, or no sensible ``WEDEFENSE_TIMEOUT``.
    """
    timeout = longest_wait(timeout)
    heartbeat.end_with_launcher()
    keep_memory()
    # Ranks, as torchrun sets them.
    world = _variable("WORLD_SIZE", default=1, least=1)
    rank = _variable("RANK", default=0, most=world - 1)
    local_world = _variable("LOCAL_WORLD_SIZE", default=1, least=1)
    # Launchers of other kinds may set it without the number of processes.
    local_rank = _variable("LOCAL_RANK", default=0)
    local_world = max(local_world, local_rank + 1)
    if world > 1:
        _check_meeting_place()
    tasks = _variable("SLURM_STEP_NUM_TASKS", default=1)
    if world < tasks:
        raise InputError(
            f"{tasks} Slurm tasks, each in a world of {world}: start with tools/launch.sh"
        )
    # Device, and threads of a CPU.
    devices = _parse_devices(gpus)
    if torch.cuda.is_available():
        if devices is None:
            devices = list(range(torch.cuda.device_count()))
        if local_world > len(devices):
            raise InputError(f"{local_world} processes on this node for GPUs {devices}")
        device = torch.device("cuda", devices[local_rank])
        torch.cuda.set_device(device)
        # PyTorch allows TF32 in convolutions by default; here float32 means float32.
        torch.backends.cudnn.allow_tf32 = False
    else:
        device = torch.device("cpu")
        # The user's number of threads counts for one process. For several, torchrun sets it to 1.
        if local_world > 1 or "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(max(1, usable_cores() // local_world))
    # Process group: gloo on CPUs, nccl on GPUs.
    if world > 1 and not dist.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, timeout=timeout)
        heartbeat.start(rank, world)
    remark = ""
    if gpus and device.type == "cpu":
        remark = f" (--gpus {gpus}, but there is no GPU)"
    # Only rank 0 logs.
    logging.info("process 0 of %d on %s%s", world, device, remark)
    return Process(device, rank, world)


def _variable(name: str, default: int, least: int = 0, most: int = MOST_PROCESSES) -> int:
    """Number of the environment.

    Raises:
        InputError: a text that is no number, or one out of range.
    """
    text = os.environ.get(name, str(default))
    if re.fullmatch(r"[0-9]{1,9}", text) and least <= int(text) <= most:
        return int(text)
    raise InputError(
        f"environment variable {name} is {text!r}, expected {least} to {most}: unset it, or start "
        "several processes with tools/launch.sh"
    )


def _check_meeting_place() -> None:
    """Refuse several processes that don't know where to meet.

    Raises:
        InputError: names the variable of the environment that is missing.
    """
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        if name not in os.environ:
            raise InputError(
                f"environment variable WORLD_SIZE is {os.environ['WORLD_SIZE']}, but {name} is not "
                "set: start several processes with tools/launch.sh"
            )
    _variable("MASTER_PORT", default=0, least=1, most=65535)


def choose_kernels(device: torch.device, deterministic: bool) -> None:
    """Choose the kernels of a GPU for training; a CPU has deterministic ones alone.

    Args:
        device: device of the model.
        deterministic: whether gradients are the same each time, so that a resumed training is
            bit-identical; otherwise the fastest kernels are taken.
    """
    if device.type != "cuda":
        return
    if deterministic:
        _make_deterministic()
    else:
        _allow_all_kernels()


def _make_deterministic() -> None:
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False
    # Where others only warn, the gradients of fused attention differ from run to run.
    torch.backends.cuda.enable_flash_sdp(False)
    torch.backends.cuda.enable_mem_efficient_sdp(False)
    torch.backends.cuda.enable_cudnn_sdp(False)


def _allow_all_kernels() -> None:
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.enable_flash_sdp(True)
    torch.backends.cuda.enable_mem_efficient_sdp(True)
    torch.backends.cuda.enable_cudnn_sdp(True)


def multiplies_bf16(device: torch.device) -> bool:
    """Whether a device has instructions for bf16; without them it is several times slower."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    try:
        words = CPU_INFO.read_text().split()
    except OSError:  # macOS has no such file
        return False
    return not BF16_FLAGS.isdisjoint(words)


def choose_precision(device: torch.device, precision: Precision) -> Precision:
    """The precision that is meant, for ``auto`` by the device; another one stays.

    A warning says where bf16 was asked for and is slower than fp32.
    """
    if precision == "auto":
        chosen = "bf16" if multiplies_bf16(device) else "tf32"
        logging.info("precision auto: %s on this %s", chosen, device.type)
        return chosen
    if precision == "bf16" and not multiplies_bf16(device):
        logging.warning(
            "precision bf16: this %s has no instructions for it, which makes it up to eleven times "
            "slower than fp32; --precision auto takes what is fast",
            device.type,
        )
    return precision


def use_fused_kernels(optimizer: torch.optim.Optimizer) -> None:
    """Use the fused CUDA kernel of an optimizer, if it has one."""
    for group in optimizer.param_groups:
        undecided = group.get("fused", True) is None and group.get("foreach") is None
        if undecided and all(parameter.is_cuda for parameter in group["params"]):
            group["fused"] = True


def _parse_devices(gpus: str | None) -> list[int] | None:
    if gpus is None:
        return None
    if not re.fullmatch(r"\[?\s*\d+(\s*,\s*\d+)*\s*\]?", gpus):
        raise InputError(f"--gpus {gpus!r}: expected device numbers such as 0,1 or [0,1]")
    return [int(number) for number in re.findall(r"\d+", gpus)]


def end_process() -> None:
    """End the process group, if there is one. No wrapped model may be held any more."""
    heartbeat.stop()
    if dist.is_initialized():
        # A wrapped model that outlived the group would end gloo's threads when it is too late.
        gc.collect()
        dist.destroy_process_group()


def barrier(process: Process) -> None:
    """Wait for all processes."""
    if process.world > 1:
        gather_objects(process, None)


def gather_objects(process: Process, value) -> list:
    """``value`` of every rank, in rank order, on every rank."""
    if process.world == 1:
        return [value]
    values = [None] * process.world
    with _lost_processes_told():
        dist.all_gather_object(values, value)
    return values


@contextmanager
def _lost_processes_told() -> Iterator[None]:
    """Context of a collective, which fails where another process has ended or never comes.

    Raises:
        InputError: in place of the backend's error.
    """
    try:
        yield
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"another process of the run has ended or doesn't answer ({reason}): "
            "its own message says why, the same command continues"
        ) from error


@_lost_processes_told()
def any_rank(process: Process, value: bool) -> bool:
    """Whether ``value`` is true on any rank; a number on the CPU, so that no GPU is waited for."""
    if process.world == 1:
        return value
    flag = torch.tensor([int(value)], dtype=torch.int32)
    dist.all_reduce(flag, dist.ReduceOp.MAX)
    return bool(flag.item())


def broadcast_from_main(process: Process, value):
    """``value`` of rank 0, on every rank."""
    return gather_objects(process, value)[0]


def sum_over_ranks(process: Process, values: torch.Tensor) -> torch.Tensor:
    """Sum over ranks of a vector, on the CPU."""
    return torch.stack(gather_objects(process, values.cpu())).sum(0)


@_lost_processes_told()
def average_buffers(process: Process, module: nn.Module) -> None:
    """Give all ranks the mean of their floating buffers, and the counters of rank 0.

    Batch norm keeps statistics of the batches of its own rank, but one model is validated and
    saved.
    """
    if process.world == 1:
        return
    for buffer in saved_buffers(module).values():
        if buffer.is_floating_point():
            dist.all_reduce(buffer)
            buffer /= process.world
        else:
            dist.broadcast(buffer, 0)


def saved_buffers(module: nn.Module) -> dict[str, torch.Tensor]:
    """Buffers of a module's ``state_dict``, which DDP leaves to each rank, by their names."""
    buffers = module.state_dict()
    for name, _ in module.named_parameters(remove_duplicate=False):
        buffers.pop(name, None)
    return buffers


@contextmanager
def float32_precision(precision: Precision = "fp32") -> Iterator[None]:
    """Context in which a GPU multiplies float32 in full or, for ``tf32``, with ten mantissa bits.

    The switches are global. Forward and backward pass read them, so both go inside; afterwards
    they are what they were.
    """
    matmul_precision = torch.get_float32_matmul_precision()
    cudnn_allows_tf32 = torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(matmul_precision)
        torch.backends.cudnn.allow_tf32 = cudnn_allows_tf32


def autocast(device: torch.device, precision: Precision = "fp32") -> torch.autocast:
    """Context of a forward pass in 16 bits; for fp32 and tf32 without effect."""
    dtype = AUTOCAST.get(precision)
    return torch.autocast(device.type, dtype=dtype, enabled=dtype is not None)


@contextmanager
def precision_context(device: torch.device, precision: Precision = "fp32") -> Iterator[None]:
    """Context of a forward pass without a backward one: both of the above."""
    with float32_precision(precision), autocast(device, precision):
        yield
