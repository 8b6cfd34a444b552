"""One of two processes that train together; writes what it ended with. Started by the test beside
it.
"""

import contextlib
import hashlib
import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import tiny
import torch
from torch import nn

from wedefense_lite.audio.segments import Segments
from wedefense_lite.frontends import Fbank
from wedefense_lite.heads import CrossEntropy
from wedefense_lite.localization.tasks import Localization
from wedefense_lite.models.resnet import FrameResNet
from wedefense_lite.preemption import Preempted
from wedefense_lite.runtime import Process, end_process, start_process
from wedefense_lite.systems.batch import Batch
from wedefense_lite.training.trainer import StepLoss, Trainer


def digest(module: torch.nn.Module) -> str:
    tensors = (
        value.detach().contiguous().numpy().tobytes() for value in module.state_dict().values()
    )
    return hashlib.sha256(b"".join(tensors)).hexdigest()


def frame_level(exp_dir: Path, rows: list, process: Process) -> list[str]:
    """What the parameters of a localizer are after each step, at first included; second halves are
    spoof.
    """
    exp, noted = tiny.experiment(num_epochs=2, data={"batch_size": 2}), []
    exp.system = Localization(Fbank(8), lambda dim: FrameResNet(dim, 4, (1, 1), 6), CrossEntropy)
    ends = [row.samples / tiny.RATE for row in rows]
    halves = [
        Segments(np.array([0, end / 2]), np.array([end / 2, end]), np.array([1, 0])) for end in ends
    ]
    rows = [replace(row, segments=segments) for row, segments in zip(rows, halves)]
    trained = tiny.trainer(exp, exp_dir, rows, None, process)
    update = trained._update

    def note() -> None:
        noted.append(digest(nn.ParameterList(exp.system.parameters())))

    trained._update = lambda: (update(), note())
    note()
    trained.fit()
    return noted


def preempted(folder: Path, rows: list, process: Process) -> list[str]:
    """State and running sums after two epochs of two steps: of a training that nothing disturbs,
    and of one that a signal to the second rank ends after the first step and that goes on.
    """

    def trainer(name: str) -> Trainer:
        exp = tiny.experiment(num_epochs=2, data={"batch_size": 2}, ema_decay=0.5)
        return tiny.trainer(exp, folder / name, rows, None, process)

    undisturbed = trainer("undisturbed")
    undisturbed.fit()
    stopped = trainer("stopped")
    compute = stopped._train_step

    def signalled(batch: Batch) -> StepLoss:
        if process.rank == 1 and stopped.step == 0:
            os.kill(os.getpid(), signal.SIGUSR1)
        return compute(batch)

    stopped._train_step = signalled
    with contextlib.suppress(Preempted):
        stopped.fit()
        raise AssertionError("the signal has not ended the training")
    again = trainer("stopped")
    assert (again.epoch, again.step) == (1, 1)
    again.fit()
    states = []
    for trained in (undisturbed, again):
        history = json.dumps(trained.history)
        states.append(f"{digest(trained.task)} {digest(trained.ema)} {history}")
    return states


def main(folder: Path) -> None:
    process = start_process()
    torch.set_num_threads(1)
    own = folder / str(process.rank)
    train, dev = (tiny.corpus(own / name, 8, seed) for seed, name in enumerate(["train", "dev"]))
    saved = []
    exp = tiny.experiment(
        num_epochs=9, ema_decay=0.5, early_stop_patience=1, lr=0.0, save_step_interval=1
    )
    trained = tiny.trainer(exp, folder / "exp", train, dev, process)
    synchronise = trained._synchronise

    def noted() -> None:
        synchronise()
        saved.append([digest(trained.task), digest(trained.ema)])

    trained._synchronise = noted
    trained.fit()
    large = tiny.experiment(num_epochs=1, data={"batch_size": 4}, model=tiny.MeanFrame)
    tiny.trainer(large, folder / "together", train, None, process).fit()
    sharp = tiny.experiment(
        num_epochs=1, data={"batch_size": 4}, model=tiny.MeanFrame, sam_radius=0.1
    )
    tiny.trainer(sharp, folder / "sharp", train, None, process).fit()
    located = frame_level(folder / "located", train, process)
    found = {
        "located": located,
        "preempted": preempted(folder / "preempted", train, process),
        "saved": saved,
        "epochs": len(trained.history),
        "dev": trained.history[-1]["dev_loss"],
    }
    for name, exp in (("weights", large), ("sharp", sharp)):
        found[name] = [value.flatten().tolist() for value in exp.system.state_dict().values()]
    (folder / f"rank{process.rank}.json").write_text(json.dumps(found))
    end_process()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
