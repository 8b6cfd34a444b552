"""The trainer: one loop for every task, exact to resume."""

import contextlib
import copy
import logging
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from wedefense_lite.files import InputError, write_lines
from wedefense_lite.labels import LABELS
from wedefense_lite.progress import progress
from wedefense_lite.runtime import (
    Process,
    average_buffers,
    barrier,
    broadcast_from_main,
    make_deterministic,
    precision_context,
    sum_over_ranks,
    use_fused_kernels,
)
from wedefense_lite.scoring.loader import EvalLoader
from wedefense_lite.systems import checkpoint
from wedefense_lite.systems.batch import Batch
from wedefense_lite.systems.experiment import Experiment
from wedefense_lite.training.exp_dir import data_hashes, difference
from wedefense_lite.training.loader import TrainLoader
from wedefense_lite.training.validation import validate

COLUMNS = ("epoch", "step", "lr", "train_loss", "train_accuracy", "dev_loss", "dev_eer")
COUNTERS = ("epoch", "step", "updates", "history", "best", "bad_validations")


class Trainer:
    """Trains a task and leaves checkpoints and ``metrics.csv`` behind.

    Random numbers come from (seed, epoch, step, rank) alone, so training that was killed and is
    started again ends with the same bits as training that was not.

    Args:
        experiment: system and settings.
        place: where this process runs.
        exp_dir: receives ``models/`` and ``metrics.csv``.
        train_loader: training batches of this rank.
        dev_loader: this rank's part of the dev list, or None to train without validation.
        resume: continue from ``models/last.pt``, if it is there.

    Raises:
        InputError: early stopping without a dev set, or ``last.pt`` is of another configuration,
            of other training data or of another number of processes.
    """

    def __init__(
        self,
        experiment: Experiment,
        process: Process,
        exp_dir: Path,
        train_loader: TrainLoader,
        dev_loader: EvalLoader | None,
        resume: bool = True,
    ):
        self.config = experiment.training
        if dev_loader is None and self.config.early_stop_patience > 0:
            raise InputError("early_stop_patience needs a dev set: --val_data and --val_label")
        self.config_text, self.config_hash = experiment.text, experiment.config_hash
        self.process, self.exp_dir, self.models = process, exp_dir, exp_dir / "models"
        self.train_loader, self.dev_loader = train_loader, dev_loader
        if process.device.type == "cuda":
            make_deterministic()
        self.task = experiment.system.to(process.device, memory_format=torch.channels_last)
        self.ema = copy.deepcopy(self.task) if self.config.ema_decay > 0 else None
        self.optimizer = self.config.optimizer(self.task.parameter_groups())
        use_fused_kernels(self.optimizer)
        for group in self.optimizer.param_groups:
            group["lr"] *= group["rate_factor"]
        updates = math.ceil(train_loader.steps_per_epoch / self.config.accumulate_steps)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer,
            lambda update: self.config.schedule.factor(update, updates, self.config.num_epochs),
        )
        self.scaler = torch.amp.GradScaler(
            process.device.type, enabled=self.config.precision == "fp16"
        )
        # Buffers are averaged before every save instead of copied from rank 0 at every step.
        self.wrapped = (
            DistributedDataParallel(self.task, broadcast_buffers=False)
            if process.world > 1
            else self.task
        )
        self.class_prior = train_loader.class_prior
        if self.task.head is not None:
            self.class_prior = self.task.head.seen_prior(self.class_prior)
            logging.info(
                "class prior that the loss sees: spoof %.4f, bona fide %.4f", *self.class_prior
            )
        self.data_hashes = data_hashes(train_loader.index, train_loader.config.augment)
        self.epoch, self.step, self.updates = 1, 0, 0
        self.history: list[dict] = []
        self.best: list[float] | None = None
        self.bad_validations = 0
        self.sums = torch.zeros(3, dtype=torch.float64, device=process.device)
        if resume and (self.models / "last.pt").exists():
            self._resume()

    @property
    def final(self) -> nn.Module:
        """What is validated and saved: the moving average where there is one."""
        return self.task if self.ema is None else self.ema

    @property
    def finished(self) -> bool:
        """True on every rank after the last epoch or once patience has run out; rank 0 decides."""
        patience = self.config.early_stop_patience
        exhausted = 0 < patience <= self.bad_validations
        return broadcast_from_main(self.process, exhausted or self.epoch > self.config.num_epochs)

    def fit(self, on_epoch: Callable[[dict], None] = lambda row: None) -> None:
        """Train to the last epoch or until dev EER no longer falls.

        Args:
            on_epoch: called on rank 0 with each new row of ``metrics.csv``.

        Raises:
            FloatingPointError: a loss that is not finite; names the utterances of its batch.
        """
        while not self.finished:
            row = self._train_epoch()
            is_due = (
                self.epoch % self.config.validate_interval == 0
                or self.epoch == self.config.num_epochs
            )
            if self.dev_loader is not None and is_due:
                row |= validate(self.final, self.dev_loader, self.process)
            self._end_epoch(row)
            if self.process.is_main:
                on_epoch(row)
        barrier(self.process)

    def _train_epoch(self) -> dict:
        self.task.train()
        loader, first, start = self.train_loader, self.step, time.perf_counter()
        waits, unchecked = [], None
        save_every = (
            self.config.save_step_interval * self.config.accumulate_steps
        )  # no gradient is pending
        batches = _timed(loader.epoch(self.epoch, self.step), waits)
        for batch in progress(
            batches, loader.steps_per_epoch - first, f"epoch {self.epoch}", "step"
        ):
            checked, unchecked = unchecked, self._train_step(batch)
            _raise_if_not_finite(checked)  # a step late, so that a GPU need not be waited for
            if save_every and self.step % save_every == 0:
                _raise_if_not_finite(unchecked)  # what is saved must be fit to continue from
                self._synchronise()
                self._save_last()
        _raise_if_not_finite(unchecked)
        seconds = time.perf_counter() - start
        rate = (self.step - first) * loader.config.batch_size * self.process.world / seconds
        share = 100 * sum(waits) / seconds
        logging.info(
            "epoch %d: %.1f utt/s, %.1f %% spent waiting for data", self.epoch, rate, share
        )
        self._synchronise()
        loss, correct, seen = sum_over_ranks(self.process, self.sums).tolist()
        last_rate = self.schedule.base_lrs[0] * self.schedule.lr_lambdas[0](self.updates - 1)
        row = {"epoch": self.epoch, "step": self.updates, "lr": last_rate}
        decided = {} if self.task.head is None else {"train_accuracy": correct / seen}
        return row | {"train_loss": loss / seen} | decided

    def _train_step(self, batch: Batch) -> tuple[Tensor, str]:
        """One batch forward and back; whether its loss was finite, and its name."""
        origin = [self.config.seed, self.epoch, self.step, self.process.rank]
        torch.manual_seed(int(np.random.SeedSequence(origin).generate_state(1)[0]))
        name = f"epoch {self.epoch}, step {self.step + 1}: {' '.join(batch.keys)}"
        batch = batch.to(self.process.device)
        every, steps = self.config.accumulate_steps, self.train_loader.steps_per_epoch
        group = min(every, steps - self.step // every * every)
        self.step += 1
        is_update = self.step % every == 0 or self.step == steps
        alone = isinstance(self.wrapped, DistributedDataParallel) and not is_update
        with self.wrapped.no_sync() if alone else contextlib.nullcontext():
            with precision_context(self.process.device, self.config.precision):
                loss, logits_NC, labels_N = self.wrapped(batch)
            self.scaler.scale(loss / group).backward()
        if is_update:
            self._update()
        size = len(batch.keys)
        correct = size * (logits_NC.argmax(1) == labels_N).double().sum() / max(1, len(labels_N))
        self.sums += torch.stack([loss.detach() * size, correct, loss.new_tensor(size)]).double()
        return loss.detach().isfinite(), name

    def _update(self) -> None:
        self.scaler.unscale_(self.optimizer)
        if self.config.clip_norm > 0:
            nn.utils.clip_grad_norm_(self.task.parameters(), self.config.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.schedule.step()
        self.updates += 1
        if self.ema is not None:
            _follow(self.ema, self.task, self.config.ema_decay)

    def _synchronise(self) -> None:
        """Make what every rank holds, and what is saved, one and the same."""
        for module in [self.task] if self.ema is None else [self.task, self.ema]:
            average_buffers(self.process, module)

    def _end_epoch(self, row: dict) -> None:
        self.history.append(row)
        is_better = False
        if "dev_loss" in row:
            result = [row.get("dev_eer", 0.0), row["dev_loss"]]
            is_better = self.best is None or result < self.best
            self.best = result if is_better else self.best
            self.bad_validations = 0 if is_better else self.bad_validations + 1
        if self.process.is_main:
            names = [f"model_{self.epoch}.pt"] + ["best_model.pt"] * is_better
            for name in names:
                checkpoint.save(self.models / name, self._inference_state())
            self._write_history()
        self.epoch, self.step = self.epoch + 1, 0
        self.sums.zero_()
        self._save_last()
        if self.process.is_main:
            self._forget(self.epoch - 1 - max(0, self.config.num_avg))

    def _forget(self, epoch: int) -> None:
        """Remove an epoch that neither averaging nor ``save_epoch_interval`` needs any more."""
        interval = self.config.save_epoch_interval
        is_kept = interval > 0 and epoch % interval == 0
        if epoch > 0 and not is_kept:
            (self.models / f"model_{epoch}.pt").unlink(missing_ok=True)

    def _write_history(self) -> None:
        rows = (",".join(str(row.get(name, "")) for name in COLUMNS) for row in self.history)
        write_lines(self.exp_dir / "metrics.csv", [",".join(COLUMNS), *rows])

    def _inference_state(self) -> dict:
        state = {
            "model": self.final.state_dict(),
            "labels": list(LABELS),
            "class_prior": self.class_prior,
        }
        return state | {
            "epoch": self.epoch,
            "config_hash": self.config_hash,
            "data_hashes": self.data_hashes,
        }

    def _parts(self) -> dict:
        """Everything with a ``state_dict`` that the next step depends on."""
        parts = {"model": self.task, "optimizer": self.optimizer}
        parts |= {"schedule": self.schedule, "scaler": self.scaler}
        return parts if self.ema is None else parts | {"ema": self.ema}

    def _save_last(self) -> None:
        sums = sum_over_ranks(self.process, self.sums)
        if not self.process.is_main:
            self.sums.zero_()
            return
        self.sums.copy_(sums)
        state = {name: part.state_dict() for name, part in self._parts().items()}
        state |= {name: getattr(self, name) for name in COUNTERS}
        state |= {"world": self.process.world, "sums": sums, "config": self.config_text}
        state |= {"config_hash": self.config_hash, "data_hashes": self.data_hashes}
        state |= {
            "labels": list(LABELS),
            "class_prior": self.class_prior,
            "torch": str(torch.__version__),
        }
        checkpoint.save(self.models / "last.pt", state)

    def _resume(self) -> None:
        path = self.models / "last.pt"
        state = checkpoint.load(path)
        differing = difference(state, self.config_text, self.data_hashes)
        if differing:
            raise InputError(f"{path} was trained {differing}: take another --exp_dir")
        if state["world"] != self.process.world and state["epoch"] <= self.config.num_epochs:
            found = f"by {state['world']} processes, not {self.process.world}"
            raise InputError(
                f"{path} was trained {found}: keep their number or take another --exp_dir"
            )
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        for name in COUNTERS:
            setattr(self, name, state[name])
        if self.process.is_main:
            self.sums.copy_(state["sums"])
            self._write_history()
        logging.info("continue from %s: epoch %d, step %d", path, self.epoch, self.step)


def _timed(items: Iterator, waits: list[float]) -> Iterator:
    """The items; the seconds that each was waited for are added to ``waits``."""
    while True:
        start = time.perf_counter()
        item = next(items, None)
        waits.append(time.perf_counter() - start)
        if item is None:
            return
        yield item


def _raise_if_not_finite(step: tuple[Tensor, str] | None) -> None:
    if step is not None and not step[0]:
        raise FloatingPointError(
            f"the loss is not finite (a lower rate or --training.clip_norm may help) at {step[1]}"
        )


@torch.no_grad()
def _follow(average: nn.Module, module: nn.Module, decay: float) -> None:
    """Move an exponential moving average one step; counters are copied."""
    current = module.state_dict()
    for name, value in average.state_dict().items():
        if value.is_floating_point():
            value.lerp_(current[name], 1 - decay)
        else:
            value.copy_(current[name])
