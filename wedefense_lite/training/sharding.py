"""Systems of which each process holds a part of every weight, for encoders beyond one GPU's memory.

Parameters, gradients and the states of optimizers are divided by ``fully_shard`` (FSDP2). They are
gathered where a model is validated and where files are written, which are those of a training
whose processes hold everything.

Source: Zhao et al., "PyTorch FSDP: experiences on scaling fully sharded data parallel", VLDB 2023,
https://arxiv.org/abs/2304.11277; the second version is described in PyTorch's documentation of
``torch.distributed.fsdp.fully_shard``.
"""

import copy
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

from wedefense_lite.files import InputError
from wedefense_lite.runtime import Precision, Process
from wedefense_lite.systems.config import TrainingConfig
from wedefense_lite.systems.tasks import Task
from wedefense_lite.weights import load_state

# Whole tensors on every rank; and on rank 0 alone, in the memory of its machine.
EVERYWHERE = StateDictOptions(full_state_dict=True)
ON_MAIN = StateDictOptions(full_state_dict=True, cpu_offload=True)
# The optimizer may hold no state of parameters that have had no gradient yet.
WITHOUT_SOME = StateDictOptions(full_state_dict=True, strict=False)


def check(config: TrainingConfig, precision: Precision) -> None:
    """Refuse settings that a divided system is not trained with.

    Args:
        config: training of the system.
        precision: the one that is meant, for ``auto`` by the device.

    Raises:
        InputError: names the setting.
    """
    if config.compile:
        raise InputError("--parallel fsdp: training.compile is true, expected false, or ddp")
    if precision == "fp16":
        raise InputError(
            "--parallel fsdp: training.precision is fp16, expected bf16, tf32 or fp32, or ddp"
        )
    if config.sam_radius > 0:
        raise InputError(
            f"--parallel fsdp: training.sam_radius is {config.sam_radius}, expected 0, or ddp"
        )


class Parts:
    """A task whose parameters are divided among the ranks.

    Args:
        task: task with the same weights on every rank.
        process: this process.
        precision: of the forward pass.

    Attributes:
        whole: undivided copy of the task, on the CPU, which is validated and saved.
    """

    def __init__(self, task: Task, process: Process, precision: Precision):
        self.whole = copy.deepcopy(task)
        self._process = process
        self._precision = precision

    def shard(self, task: Task) -> None:
        """Divide the parameters of a task among all ranks, in place.

        Those of one block of an encoder are gathered at a time, the others once a step. In bf16
        blocks are gathered in 16 bits, while gradients are summed in 32.

        Args:
            task: task on the CPU, which goes to the device in parts.

        Raises:
            InputError: a parameter that can't be divided, such as a scalar.
        """
        mesh = init_device_mesh(self._process.device.type, (self._process.world,))
        policy = MixedPrecisionPolicy()
        if self._precision == "bf16":
            # Inputs stay what autocast makes of them.
            policy = MixedPrecisionPolicy(
                param_dtype=torch.bfloat16, reduce_dtype=torch.float32, cast_forward_inputs=False
            )
        try:
            for block in task.blocks():
                fully_shard(block, mesh=mesh, mp_policy=policy)
            fully_shard(task, mesh=mesh)
        except (ValueError, NotImplementedError) as error:
            raise InputError(f"--parallel fsdp: {error}: --parallel ddp") from error

    def gather(self, task: nn.Module) -> None:
        """Give the undivided copy the weights and buffers of a divided task; all call it."""
        self.whole.load_state_dict(get_model_state_dict(task, options=EVERYWHERE))

    def whole_weights(self, task: nn.Module) -> dict[str, Tensor]:
        """State dict of a divided task on rank 0, empty on others; all call it."""
        return get_model_state_dict(task, options=ON_MAIN)

    def load_weights(self, task: nn.Module, weights: dict[str, Tensor], path: Path) -> None:
        """Give each rank its part of a state dict, which all have; all call it.

        Raises:
            InputError: weights of another system, or some that are not finite; names their file.
        """
        # All checks are those of the undivided copy.
        load_state(self.whole, weights, path)
        set_model_state_dict(task, self.whole.state_dict(), options=EVERYWHERE)

    def whole_optimizer(self, task: nn.Module, optimizer: torch.optim.Optimizer) -> dict:
        """State dict of an optimizer of a divided task on rank 0, empty on others; all call it.

        It has the numbers of parameters, as that of an undivided task has.
        """
        by_name = get_optimizer_state_dict(task, optimizer, options=ON_MAIN)
        if not by_name:
            return {}
        numbers = {}
        for group in by_name["param_groups"]:
            for name in group["params"]:
                numbers[name] = len(numbers)
        state = {numbers[name]: values for name, values in by_name["state"].items()}
        # Options as they are: those of the other state dict have lists in place of tuples.
        groups = optimizer.state_dict()["param_groups"]
        return {"state": dict(sorted(state.items())), "param_groups": groups}

    def load_optimizer(
        self, task: nn.Module, optimizer: torch.optim.Optimizer, state: dict
    ) -> None:
        """Give each rank its part of an optimizer's state dict, which all have; all call it.

        Raises:
            ValueError: a state of another number of groups or of parameters.
        """
        names_of = {parameter: name for name, parameter in task.named_parameters()}
        names = []
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                names.append(names_of[parameter])
        sizes = [len(group["params"]) for group in optimizer.param_groups]
        saved_sizes = [len(group["params"]) for group in state["param_groups"]]
        if sizes != saved_sizes:
            raise ValueError(f"groups of {saved_sizes} parameters, expected {sizes}")
        groups = []
        for group in state["param_groups"]:
            groups.append(group | {"params": [names[number] for number in group["params"]]})
        by_name = {names[number]: values for number, values in state["state"].items()}
        set_optimizer_state_dict(
            task, optimizer, {"state": by_name, "param_groups": groups}, options=WITHOUT_SOME
        )
        # Options as they were saved, with tuples.
        for group, saved_group in zip(optimizer.param_groups, state["param_groups"]):
            for name, value in saved_group.items():
                if name != "params":
                    group[name] = value
