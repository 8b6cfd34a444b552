"""One of two processes that train together, with all weights and with a part of each; writes what
it ended with. Started by the test beside it.
"""

import contextlib
import copy
import json
import os
import signal
import sys
from functools import partial
from pathlib import Path

import tiny
import torch
from torch import Tensor, nn

from wedefense_lite.files import InputError
from wedefense_lite.frontends.ssl import SSL
from wedefense_lite.heads import CrossEntropy
from wedefense_lite.models.weighted_sum import WeightedSum
from wedefense_lite.preemption import Preempted
from wedefense_lite.runtime import Process, barrier, end_process, start_process
from wedefense_lite.systems import checkpoint
from wedefense_lite.systems.batch import Batch
from wedefense_lite.systems.experiment import Experiment
from wedefense_lite.systems.tasks import Detection
from wedefense_lite.training.trainer import StepLoss, Trainer

LAYER_NORM = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
# A norm far below that of the gradients, so that each step depends on the norm of all parts.
CLIP_NORM = 0.05
# Steps of gradients near 0 are small, which otherwise would be as large as all, and of rounding.
ADAM = partial(torch.optim.AdamW, lr=0.001, eps=1e-2)


def resnet(epochs: int = 2) -> Experiment:
    """System with batch norm, updated by two batches at a time, with an average of its weights."""
    exp = tiny.experiment(
        num_epochs=epochs,
        data={"batch_size": 2},
        clip_norm=CLIP_NORM,
        accumulate_steps=2,
        ema_decay=0.5,
    )
    exp.training.optimizer = ADAM
    return exp


def encoder(precision: str) -> Experiment:
    """Encoder that recomputes its activations, whose layers are gathered one at a time."""
    exp = tiny.experiment(data={"batch_size": 2}, precision=precision, clip_norm=CLIP_NORM)
    exp.training.optimizer = ADAM
    shape = tiny.ENCODER | {"model_type": "wav2vec2"} | LAYER_NORM
    torch.manual_seed(0)
    frontend = SSL("tiny", shape, "all", checkpointing=True, rate_factor=0.5, dropout=0.0)
    exp.system = Detection(frontend, partial(WeightedSum, num_layers=3, embed_dim=8), CrossEntropy)
    return exp


def train(trained: Trainer) -> list[float]:
    """Losses of the steps of this rank."""
    losses = []
    forward = trained._forward

    def noted(batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        result = forward(batch)
        losses.append(float(result[0].detach()))
        return result

    trained._forward = noted
    trained.fit()
    return losses


def numbers(trained: Trainer) -> int:
    """Numbers of the weights that this rank holds."""
    count = 0
    for parameter in trained.task.parameters():
        is_part = hasattr(parameter, "to_local")
        count += (parameter.to_local() if is_part else parameter).numel()
    return count


def signalled(trained: Trainer, process: Process, step: int) -> None:
    """Train until a signal to the second rank after a step of the first epoch."""
    compute = trained._train_step

    def stopped(batch: Batch) -> StepLoss:
        if process.rank == 1 and (trained.epoch, trained.step) == (1, step):
            os.kill(os.getpid(), signal.SIGUSR1)
        return compute(batch)

    trained._train_step = stopped
    with contextlib.suppress(Preempted):
        trained.fit()
        raise AssertionError("the signal has not ended the training")
    # The first rank has written it now.
    barrier(process)


def refusal(folder: Path, rows: list, process: Process, exp: Experiment) -> str:
    """Message of a system that isn't trained in parts."""
    try:
        tiny.trainer(exp, folder, rows, None, process, "fsdp")
    except InputError as error:
        return str(error)
    return ""


class ScaledFrame(tiny.MeanFrame):
    """A model with a scalar among its parameters."""

    def __init__(self, dim: int):
        super().__init__(dim)
        self.scale = nn.Parameter(torch.tensor(1.0))


def compare(exp: Experiment, folder: Path, rows: list, dev: list | None, process: Process) -> dict:
    """What a training of this rank ended with, by ``ddp`` and by ``fsdp``."""
    # A training changes the system of its experiment.
    experiments = {"ddp": copy.deepcopy(exp), "fsdp": exp}
    results = {}
    for parallel, own in experiments.items():
        trained = tiny.trainer(own, folder / parallel, rows, dev, process, parallel)
        results[parallel] = {
            "losses": train(trained),
            "numbers": numbers(trained),
            "history": trained.history,
        }
    return results


def train_encoders(folder: Path, rows: list, process: Process) -> dict:
    """An encoder in two precisions."""
    return {
        "fp32": compare(encoder("fp32"), folder / "fp32", rows[:12], None, process),
        "bf16": compare(encoder("bf16"), folder / "bf16", rows[:4], None, process),
    }


def train_resnets(folder: Path, rows: list, dev: list, process: Process) -> dict:
    """Twenty steps; four, with and without a signal behind the second; and what is refused."""
    few = rows[:16]
    found = {
        "resnet": compare(resnet(), folder / "resnet", rows, dev, process),
        "few": compare(resnet(1), folder / "few", few, None, process),
    }
    # On from what was saved: in parts, and with all weights again.
    for name, parallel in (("again", "fsdp"), ("joined", "ddp")):
        stopped = tiny.trainer(resnet(1), folder / name, few, None, process, "fsdp")
        signalled(stopped, process, 1)
        if process.is_main:
            state = checkpoint.load(folder / name / "models/last.pt")
            found["saved"] = [state["epoch"], state["step"], "own_states" in state]
        barrier(process)
        trained = tiny.trainer(resnet(1), folder / name, few, None, process, parallel)
        found[name] = train(trained)
    found["refused"] = [
        refusal(folder / "none", rows, process, exp)
        for exp in (
            tiny.experiment(compile=True),
            tiny.experiment(precision="fp16"),
            tiny.experiment(sam_radius=0.1),
            tiny.experiment(model=ScaledFrame),
        )
    ]
    return found


def main(folder: Path, kind: str) -> None:
    process = start_process()
    torch.set_num_threads(1)
    own = folder / str(process.rank)
    rows = tiny.corpus(own / "train", 40, 0)
    dev = tiny.corpus(own / "dev", 6, 1)
    if kind == "encoders":
        found = train_encoders(folder, rows, process)
    else:
        found = train_resnets(folder, rows, dev, process)
    (folder / f"rank{process.rank}.json").write_text(json.dumps(found))
    end_process()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
