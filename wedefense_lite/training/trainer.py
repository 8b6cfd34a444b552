"""The trainer: one loop for every task, exact to resume.

Shapes: N rows with a label in a loss, C classes [spoof, bonafide].
"""

import contextlib
import copy
import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from wedefense_lite.files import InputError, write_lines
from wedefense_lite.labels import LABELS
from wedefense_lite.preemption import Preempted, Requests
from wedefense_lite.processes import usable_cores
from wedefense_lite.progress import progress
from wedefense_lite.runtime import (
    Parallel,
    Process,
    any_rank,
    autocast,
    average_buffers,
    barrier,
    broadcast_from_main,
    choose_kernels,
    choose_precision,
    float32_precision,
    gather_objects,
    saved_buffers,
    sum_over_ranks,
    use_fused_kernels,
)
from wedefense_lite.scoring.loader import EvalLoader
from wedefense_lite.systems import checkpoint
from wedefense_lite.systems.batch import Batch
from wedefense_lite.systems.config import TrainingConfig
from wedefense_lite.systems.delivery import lost_workers_told
from wedefense_lite.systems.experiment import Experiment
from wedefense_lite.systems.tasks import Task
from wedefense_lite.training import last
from wedefense_lite.training.exp_dir import (
    data_hashes,
    difference,
    epoch_models,
    epochs_of_lowest_eer,
    last_epoch,
)
from wedefense_lite.training.loader import TrainLoader
from wedefense_lite.training.validation import validate
from wedefense_lite.weights import load_state

COLUMNS = ("epoch", "step", "lr", "train_loss", "train_accuracy", "dev_loss", "dev_eer")
# Attributes of the trainer that last.pt holds beside the state dicts.
COUNTERS = ("epoch", "step", "updates", "history", "best", "bad_validations")
# Draws of the epoch by another number of processes, which those of today begin after.
DRAWN = "drawn"
# States of each rank, where a signal has ended several within an epoch.
OWN_STATES = "own_states"
# Attributes that later ones hold as well.
MODEL_NOTES = ("kept", "best_epoch")
SMALLEST_NORM = 1e-12  # of a gradient that gives a direction
MOST_WAITING = 0.05  # share of the time, beyond which the log says what shortens it
MAX_RATE = 1000  # of any optimizer; far over what trains


class Running:
    """Sums of loss and accuracy over the utterances of an epoch so far.

    They stay on the device, in double precision, so that adding to them never waits for a GPU.

    Args:
        device: of the losses that are added.
    """

    def __init__(self, device: torch.device):
        self.loss = torch.zeros((), dtype=torch.float64, device=device)
        self.correct = torch.zeros((), dtype=torch.float64, device=device)
        self.utterances = torch.zeros((), dtype=torch.float64, device=device)

    def add(self, loss: Tensor, logits_NC: Tensor, labels_N: Tensor, utterances: int) -> None:
        """Add a batch; its mean loss and its accuracy count once for each of its utterances."""
        self.loss += loss.detach() * utterances
        self.utterances += utterances
        if len(labels_N) > 0:
            num_correct = (logits_NC.argmax(1) == labels_N).double().sum()
            self.correct += utterances * num_correct / len(labels_N)

    def sums(self) -> Tensor:
        """``(3,)``: loss, correct decisions and utterances, as ``last.pt`` holds them."""
        return torch.stack([self.loss, self.correct, self.utterances])

    def set(self, sums: Tensor) -> None:
        """Go on from what ``sums`` gave."""
        self.loss.copy_(sums[0])
        self.correct.copy_(sums[1])
        self.utterances.copy_(sums[2])

    def reset(self) -> None:
        """Forget all batches."""
        for total in (self.loss, self.correct, self.utterances):
            total.zero_()


@dataclass(frozen=True)
class StepLoss:
    """Whether the loss of a step is finite, which a GPU may still be computing.

    Attributes:
        is_finite: a boolean on the device.
        name: epoch, step and utterances, for the error.
    """

    is_finite: Tensor
    name: str

    def check(self) -> None:
        """Wait for the loss.

        Raises:
            FloatingPointError: it is not finite.
        """
        if not self.is_finite:
            advice = "a lower rate or --training.clip_norm may help"
            raise FloatingPointError(f"the loss is not finite ({advice}) at {self.name}")


class TimedBatches:
    """The batches of an epoch, and the seconds that were spent waiting for them.

    Attributes:
        waited: seconds so far.
    """

    def __init__(self, batches: Iterator[Batch]):
        self._batches = batches
        self.waited = 0.0

    def __iter__(self) -> Iterator[Batch]:
        while True:
            start = time.perf_counter()
            batch = next(self._batches, None)
            self.waited += time.perf_counter() - start
            if batch is None:
                return
            yield batch


class Trainer:
    """Trains a task and leaves checkpoints and ``metrics.csv`` behind.

    Random numbers come from (seed, epoch, step, rank) alone, so a training that was killed and
    started again ends with the same bits as one that was not.

    Args:
        experiment: system and settings.
        process: device and rank of this process.
        exp_dir: receives ``models/`` and ``metrics.csv``.
        train_loader: training batches of this rank.
        dev_loader: this rank's share of the dev list, or None to train without validation.
        resume: continue from ``models/last.pt``, if it is there. Another number of processes
            continues with the utterances of the epoch that have not been drawn yet.
        parallel: ddp: each process holds the whole system; fsdp: a part of every weight. A run may
            go on by the other one.

    Raises:
        InputError: early stopping or a plateau without a dev set, training data of one class,
            numbers that the optimizer can't take, or ``last.pt`` is damaged, of another
            configuration or of other training data.
    """

    def __init__(
        self,
        experiment: Experiment,
        process: Process,
        exp_dir: Path,
        train_loader: TrainLoader,
        dev_loader: EvalLoader | None,
        resume: bool = True,
        parallel: Parallel = "ddp",
    ):
        self.config = experiment.training
        if dev_loader is None:
            _check_no_dev_set_needed(self.config)
        self.config_text = experiment.text
        self.config_hash = experiment.config_hash
        self.process = process
        self.exp_dir = exp_dir
        self.models = exp_dir / "models"
        self.train_loader = train_loader
        self.dev_loader = dev_loader
        self.requests = Requests()

        # The model, and the moving average of its weights. torch.optim.swa_utils.AveragedModel
        # gives other numbers: its average starts at the first update, not at the initial weights,
        # and decays integer buffers, which are copied here; its state dict has other names than
        # those in the last.pt of earlier trainings.
        choose_kernels(process.device, self.config.deterministic)
        self.precision = choose_precision(process.device, self.config.precision)
        self.task = experiment.system
        self.ema: Task | None = None
        # Of a system that is divided among the ranks.
        self.parts = None
        self._place(parallel)

        # The optimizers, their learning rates, and the scale of losses in fp16. The head has an
        # optimizer of its own where the configuration says so.
        self.optimizers = make_optimizers(self.config, self.task)
        self.optimizer = self.optimizers["optimizer"]
        self._scale_rates()
        # Updates after which a schedule that waits on a plateau has lowered the rate: a function of
        # the history, which last.pt holds.
        self.reductions: list[int] = []
        self.updates_per_epoch = math.ceil(
            train_loader.steps_per_epoch / self.config.accumulate_steps
        )
        self.schedules = self._make_schedules()
        self.schedule = self.schedules["schedule"]
        # Rates of this number of processes, before the schedule.
        self.base_rates = {name: list(each.base_lrs) for name, each in self.schedules.items()}
        uses_fp16 = self.precision == "fp16"
        self.scaler = torch.amp.GradScaler(process.device.type, enabled=uses_fp16)

        # Several ranks. Buffers are averaged before every save instead of copied from rank 0 at
        # every step.
        self.wrapped = self._averaging_gradients()
        if self.config.compile:
            # In place: names of weights stay. The moving average, a copy, is only validated.
            self.task.compile()

        # What checkpoints say of the data.
        self.class_prior = train_loader.class_prior
        if self.task.head is not None and not self.task.classes:
            self._check_classes()
            self.class_prior = self.task.head.seen_prior(self.class_prior)
            logging.info(
                "class prior that the loss sees: spoof %.4f, bona fide %.4f", *self.class_prior
            )
        self.data_hashes = data_hashes(train_loader.index, train_loader.config.augment)

        # Where training is. Epochs count from 1; a step is a batch, an update is a step of the
        # optimizer.
        self.epoch = 1
        self.step = 0
        self.drawn = 0
        self.updates = 0
        self.history: list[dict] = []
        self.best: list[float] | None = None
        self.best_epoch: int | None = None
        self.bad_validations = 0
        # Epochs whose model_N.pt is there.
        self.kept: list[int] = []
        # Device and number of the folder, from the first step on.
        self._folder_id: tuple[int, int] | None = None
        self.running = Running(process.device)
        if resume and (self.models / "last.pt").exists():
            self._resume()

    def _place(self, parallel: Parallel) -> None:
        """Bring the task and the moving average of its weights to the device, or parts of them.

        Raises:
            InputError: a system that can't be divided, or settings that it isn't trained with.
        """
        has_average = self.config.ema_decay > 0
        if parallel == "fsdp" and self.process.world > 1:
            # Slow to import.
            from wedefense_lite.training import sharding

            sharding.check(self.config, self.precision)
            self.parts = sharding.Parts(self.task, self.process, self.precision)
            if has_average:
                self.ema = copy.deepcopy(self.task)
                self.parts.shard(self.ema)
            self.parts.shard(self.task)
            return
        self.task.to(self.process.device, memory_format=torch.channels_last)
        if has_average:
            self.ema = copy.deepcopy(self.task)

    def _make_schedules(self) -> dict[str, torch.optim.lr_scheduler.LambdaLR]:
        """Courses of the rates of all optimizers, by their names in ``last.pt``."""

        # A plain function, of which the schedule's state dict, and so last.pt, holds nothing.
        def factor_of_update(update: int) -> float:
            return self.config.schedule.factor(
                update, self.updates_per_epoch, self.config.num_epochs, self.reductions
            )

        schedules = {}
        for name, optimizer in self.optimizers.items():
            schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor_of_update)
            schedules[name.replace("optimizer", "schedule")] = schedule
        return schedules

    def _averaging_gradients(self) -> nn.Module:
        """The task, whose backward pass averages gradients over the ranks."""
        if self.process.world == 1 or self.parts is not None:
            return self.task
        return DistributedDataParallel(self.task, broadcast_buffers=False)

    def _check_classes(self) -> None:
        for label, share in zip(LABELS, self.class_prior):
            if share <= 0:
                raise InputError(
                    f"the training set has no {label}: a system that decides needs both classes "
                    "(--train_data, --train_label)"
                )

    @property
    def final(self) -> nn.Module:
        """The module that is validated and saved: the moving average where there is one."""
        if self.parts is not None:
            return self.parts.whole
        return self.task if self.ema is None else self.ema

    @property
    def finished(self) -> bool:
        """True on every rank after the last epoch or once patience has run out; rank 0 decides."""
        patience = self.config.early_stop_patience
        exhausted = 0 < patience <= self.bad_validations
        return broadcast_from_main(self.process, exhausted or self.epoch > self.config.num_epochs)

    @lost_workers_told()
    def fit(self, on_epoch: Callable[[dict], None] | None = None) -> None:
        """Train to the last epoch or until the dev EER no longer falls.

        Args:
            on_epoch: called on rank 0 with each new row of ``metrics.csv``.

        Raises:
            FloatingPointError: a loss that is not finite, names the utterances of its batch; or
                weights that are not finite, which are not saved.
            InputError: the folder was removed or replaced meanwhile, or a model that should be
                there is missing at the end.
            Preempted: a signal has arrived; ``last.pt`` has the step that it arrived in.
        """
        self._log_batches()
        if self.process.is_main:
            self.models.mkdir(parents=True, exist_ok=True)
            self._folder_id = _folder_id(self.exp_dir)
            self._remove_superseded()
            if (last_epoch(self.exp_dir) or 0) < len(self.history):
                self._write_history()
        with self.requests.noted(), contextlib.ExitStack() as readers:
            readers.callback(self.train_loader.close)
            if self.dev_loader is not None:
                readers.callback(self.dev_loader.close)
            while not self.finished:
                row = self.train_epoch()
                self._gather_final()
                is_last = self.epoch == self.config.num_epochs
                if not is_last:
                    self.train_loader.begin(self.epoch + 1)
                is_due = is_last or self.epoch % self.config.validate_interval == 0
                if self.dev_loader is not None and is_due:
                    row |= self._validate()
                self._end_epoch(row)
                if self.process.is_main and on_epoch is not None:
                    on_epoch(row)
        if self.process.is_main:
            self._check_models()
        barrier(self.process)

    def train_epoch(self) -> dict:
        """Train on the batches of this epoch that are left.

        Returns:
            Its row of ``metrics.csv``, without the results of validation.

        Raises:
            FloatingPointError: a loss that is not finite; names the utterances of its batch.
            InputError: fewer batches were delivered than the epoch has.
            Preempted: a signal has arrived at one of the processes, and the state is saved.
        """
        first_step = self.step
        steps_per_epoch = self.steps_of_epoch
        steps_left = steps_per_epoch - first_step
        # Between two updates there are gradients that last.pt doesn't hold, so it is saved after
        # whole groups of accumulated batches only.
        save_every = self.config.save_step_interval * self.config.accumulate_steps
        self.task.train()
        start = time.perf_counter()
        batches = TimedBatches(self.train_loader.epoch(self.epoch, self.step, self.drawn))
        previous_loss = None
        for batch in progress(batches, steps_left, f"epoch {self.epoch}", "step"):
            loss = self._train_step(batch)
            # The loss is looked at a step late, so that a GPU need not be waited for.
            if previous_loss is not None:
                previous_loss.check()
            previous_loss = loss
            # All processes end after the same step, whichever the signal has arrived at.
            is_preempted = any_rank(self.process, self.requests.name is not None)
            if is_preempted and self._ends_group:
                loss.check()
                self._end_here(save_every)
            if save_every > 0 and self.step % save_every == 0:
                loss.check()  # a saved model must be fit to continue from
                self._synchronise()
                self._save_last()
        if previous_loss is not None:
            previous_loss.check()
        if self.step != steps_per_epoch:
            raise InputError(
                f"epoch {self.epoch}: the data workers delivered {self.step - first_step} of "
                f"{steps_left} batches: --num_workers 0 reads without them"
            )
        self._log_speed(self.step - first_step, time.perf_counter() - start, batches.waited)
        self._synchronise()
        return self._row()

    def _train_step(self, batch: Batch) -> StepLoss:
        """One batch forward and back, and an update where it ends a group of accumulated ones."""
        # Random numbers of the step: a function of its position, so that a resumed run has them.
        position = [self.config.seed, self.epoch, self.step, self.process.rank]
        if self.drawn:
            # Steps count from 0 again where the number of processes has changed.
            position.append(self.drawn)
        torch.manual_seed(int(np.random.SeedSequence(position).generate_state(1)[0]))
        name = f"epoch {self.epoch}, step {self.step + 1}: {' '.join(batch.keys)}"
        batch = batch.to(self.process.device)

        # The group of batches whose gradients make one update; the last one may be smaller.
        group_size = self.config.accumulate_steps
        group_start = self.step // group_size * group_size
        batches_in_group = min(group_size, self.steps_of_epoch - group_start)
        self.step += 1
        ends_group = self._ends_group

        # Forward in the precision that was asked for. The backward pass stays outside autocast,
        # which has noted the types of its operations, and inside the precision of float32.
        with self._gradients_of_this_rank(not ends_group), float32_precision(self.precision):
            loss, logits_NC, labels_N = self._forward(batch)
            self.scaler.scale(loss / batches_in_group).backward()
            if self.config.sam_radius > 0:
                self._take_gradient_uphill(batch)
        if ends_group:
            self._update()
        self.running.add(loss, logits_NC, labels_N, len(batch.keys))
        return StepLoss(loss.detach().isfinite(), name)

    @property
    def steps_of_epoch(self) -> int:
        """Steps of the current epoch, after those of another number of processes."""
        return self.train_loader.steps(self.drawn)

    @property
    def _ends_group(self) -> bool:
        """Whether the last step has ended a group of accumulated batches, and so an epoch's too."""
        is_whole_group = self.step % self.config.accumulate_steps == 0
        return is_whole_group or self.step == self.steps_of_epoch

    def _validate(self) -> dict:
        """Results of the dev set for the row of ``metrics.csv``.

        Raises:
            Preempted: a signal has arrived; the epoch is saved up to its last step.
        """
        # All ranks are asked for their sums now: on a signal, rank 0 has to save them alone.
        sums = self._gather_sums()
        states = self._gather_states()
        self.final.to(self.process.device)
        try:
            with self.requests.at_once():
                return validate(self.final, self.dev_loader, self.process)
        except Preempted:
            if self.process.is_main:
                self._write_last(states, sums)
            raise
        finally:
            if self.parts is not None:
                self.parts.whole.cpu()

    def _gather_final(self) -> None:
        """Give the undivided copy of a divided system its weights of now; all ranks call it."""
        if self.parts is not None:
            self.parts.gather(self.task if self.ema is None else self.ema)

    def _end_here(self, save_every: int) -> NoReturn:
        """End on a signal after a step, whose state is saved.

        Several ranks have buffers and sums of their own within an epoch. A run that nothing
        disturbs averages them at its saves alone, so that at other steps each rank's are saved.
        """
        reason = self.requests.name or "a signal to another process"
        is_saved_anyway = save_every > 0 and self.step % save_every == 0
        own_states = None
        if self.process.world > 1 and not is_saved_anyway:
            own_states = gather_objects(self.process, self._own_state())
        self._synchronise()
        sums = self._gather_sums()
        states = self._gather_states()
        if self.process.is_main:
            self._write_last(states, sums, own_states)
        raise Preempted(
            f"stopped by {reason} after step {self.step} of epoch {self.epoch}, "
            f"which {self.models / 'last.pt'} holds: the same command continues"
        )

    def _own_state(self) -> dict:
        """Part of the state that is this rank's alone within an epoch, on the CPU."""
        state = {"sums": self.running.sums().cpu(), "model": copied_buffers(self.task)}
        if self.ema is not None:
            state["ema"] = copied_buffers(self.ema)
        return state

    def _forward(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Output of the task in the precision of training."""
        with autocast(self.process.device, self.precision):
            return self.wrapped(batch)

    def _take_gradient_uphill(self, batch: Batch) -> None:
        """Replace gradients by those at the weights that sharpness-aware minimization looks at.

        These are ``sam_radius`` away along the gradient, which DDP has averaged, so that all ranks
        go the same way. Buffers stay those of the first pass.
        """
        parameters = [value for value in self.task.parameters() if value.grad is not None]
        weights = [value.detach().clone() for value in parameters]
        buffers = [value.clone() for value in self.task.buffers()]
        # The scale of losses in fp16 changes nothing here. Gradients that are infinite in it make
        # the weights NaN, and so the second gradient, with which the scaler skips the step.
        norm = nn.utils.get_total_norm([value.grad for value in parameters])
        factor = self.config.sam_radius / (norm + SMALLEST_NORM)
        with torch.no_grad():
            for value in parameters:
                value.add_(value.grad * factor)
        self._clear_gradients()
        loss, _, _ = self._forward(batch)
        self.scaler.scale(loss).backward()
        with torch.no_grad():
            for value, weight in zip(parameters, weights):
                value.copy_(weight)
            for value, buffer in zip(self.task.buffers(), buffers):
                value.copy_(buffer)

    def _clear_gradients(self) -> None:
        for optimizer in self.optimizers.values():
            optimizer.zero_grad(set_to_none=True)

    def _gradients_of_this_rank(self, alone: bool) -> contextlib.AbstractContextManager:
        """Context in which gradients are not averaged over ranks yet, if ``alone``."""
        if alone and isinstance(self.wrapped, DistributedDataParallel):
            return self.wrapped.no_sync()
        return contextlib.nullcontext()

    def _update(self) -> None:
        """One step of the optimizers, of their learning rates and of the moving average."""
        for optimizer in self.optimizers.values():
            self.scaler.unscale_(optimizer)
        if self.config.clip_norm > 0:
            nn.utils.clip_grad_norm_(self.task.parameters(), self.config.clip_norm)
        for optimizer in self.optimizers.values():
            self.scaler.step(optimizer)
        self.scaler.update()
        self._clear_gradients()
        for schedule in self.schedules.values():
            schedule.step()
        self.updates += 1
        if self.ema is not None:
            update_average(self.ema, self.task, self.config.ema_decay)

    @property
    def utterances_per_update(self) -> int:
        """Utterances of all processes whose gradients make an update."""
        batch_size = self.train_loader.batch_size
        return batch_size * self.process.world * self.config.accumulate_steps

    @property
    def rate_scale(self) -> float:
        """Factor of the learning rates for the utterances of an update.

        Source:
            Goyal et al., "Accurate, large minibatch SGD", 2017, section 2.1: linear scaling rule.
        """
        if self.config.rate_batch == 0:
            return 1.0
        return self.utterances_per_update / self.config.rate_batch

    def _scale_rates(self) -> None:
        """Multiply the rates of the optimizers, of which the schedules take theirs."""
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] *= self.rate_scale

    def _rates_in_words(self) -> str:
        if self.config.rate_batch == 0:
            return "the learning rate is not scaled"
        return (
            f"the learning rate is multiplied by {self.rate_scale:g}, as it is meant for "
            f"{self.config.rate_batch}"
        )

    def _log_batches(self) -> None:
        """Say how many utterances an update has, of which a learning rate is chosen."""
        logging.info(
            "%d utterances an update: batches of %d, on %d processes, %d accumulated; %s",
            self.utterances_per_update,
            self.train_loader.batch_size,
            self.process.world,
            self.config.accumulate_steps,
            self._rates_in_words(),
        )

    def _log_speed(self, steps: int, seconds: float, waited: float) -> None:
        utterances = steps * self.train_loader.batch_size * self.process.world
        share = waited / seconds
        logging.info(
            "epoch %d: %.1f utt/s, %.1f %% spent waiting for data",
            self.epoch,
            utterances / seconds,
            100 * share,
        )
        if share > MOST_WAITING:
            workers = self.train_loader.num_workers
            logging.info("  %s", _advice_for_readers(workers, usable_cores()))

    def _row(self) -> dict:
        """The epoch's row of ``metrics.csv``; rates and losses over all ranks."""
        sums = sum_over_ranks(self.process, self.running.sums())
        loss, correct, utterances = sums.tolist()
        # The rate of the last update; the optimizer has that of the next one already.
        factor = self.schedule.lr_lambdas[0](self.updates - 1)
        row = {
            "epoch": self.epoch,
            "step": self.updates,
            "lr": self.schedule.base_lrs[0] * factor,
            "train_loss": loss / utterances,
        }
        if self.task.head is not None:
            row["train_accuracy"] = correct / utterances
        return row

    def _synchronise(self) -> None:
        """Give all ranks the same buffers, in the model and in its moving average."""
        average_buffers(self.process, self.task)
        if self.ema is not None:
            average_buffers(self.process, self.ema)

    def _end_epoch(self, row: dict) -> None:
        """Note the epoch's results, save its models, and move on to the next epoch."""
        self.history.append(row)
        is_best = "dev_loss" in row and self._is_best(row)
        if is_best:
            self.best_epoch = self.epoch
        if self.process.is_main:
            state = self._inference_state(self.epoch)
            self._save(f"model_{self.epoch}.pt", state)
            if is_best:
                self._save("best_model.pt", state)
            self._write_history()
        self._keep(self.epoch)
        if self._count_reductions():
            # The schedule has set the rate of the next step before this validation.
            self._set_rates()
        self.epoch += 1
        self.step = 0
        self.drawn = 0
        self.running.reset()
        self._save_last()
        if self.process.is_main:
            self._remove_superseded()

    def _set_rates(self) -> None:
        """Give the optimizers the rates of the next update."""
        for optimizer, schedule in zip(self.optimizers.values(), self.schedules.values()):
            for group, base_rate in zip(optimizer.param_groups, schedule.base_lrs):
                group["lr"] = base_rate * schedule.lr_lambdas[0](self.updates)

    def _is_best(self, row: dict) -> bool:
        """Whether a validation is better than all before it; if so, it is the best from now on."""
        # The lower EER is better, and of two equal ones that with the lower loss. Separation has
        # no EER. NaN is neither lower nor higher than anything, so that a first validation of NaN
        # would be the best for ever: no validation of it is.
        # Source tracing has the share of wrong classes.
        rate = row.get("dev_eer", row.get("dev_error", 0.0))
        result = [rate, row["dev_loss"]]
        is_finite = all(math.isfinite(value) for value in result)
        if not is_finite:
            logging.warning(
                "epoch %d: EER and loss of dev are %s: not selected", self.epoch, result
            )
        elif self.best is None or result < self.best:
            self.best = result
            self.bad_validations = 0
            return True
        self.bad_validations += 1
        return False

    def _count_reductions(self) -> bool:
        """Count the reductions of a plateau in the history; whether there are more than before."""
        before = len(self.reductions)
        if self.config.schedule.waits:
            validations = []
            for row in self.history:
                if "dev_loss" in row:
                    validations.append((row["step"], row["dev_loss"]))
            self.reductions = self.config.schedule.reductions(validations)
        return len(self.reductions) > before

    def _keep(self, epoch: int) -> None:
        """Note an epoch's model, and leave out the one that nothing needs any more."""
        self.kept.append(epoch)
        superseded = epoch - max(0, self.config.num_avg)
        interval = self.config.save_epoch_interval
        is_kept = interval > 0 and superseded % interval == 0
        if self.config.average == "best" and superseded in epochs_of_lowest_eer(self.history):
            is_kept = True
        if not is_kept:
            self.kept = [kept for kept in self.kept if kept != superseded]

    def _remove_superseded(self) -> None:
        """Remove the model that neither averaging nor ``save_epoch_interval`` needs any more.

        A run that was killed between ``last.pt`` and this has left it.
        """
        epoch = self.epoch - 1 - max(0, self.config.num_avg)
        if epoch > 0 and epoch not in self.kept:
            (self.models / f"model_{epoch}.pt").unlink(missing_ok=True)

    def _save(self, name: str, state: dict) -> None:
        """Write a checkpoint.

        Raises:
            InputError: the folder was removed or replaced meanwhile.
        """
        if _folder_id(self.exp_dir) != self._folder_id:
            raise InputError(
                f"{self.exp_dir} was removed or replaced while it was trained in: "
                "what was in it is lost, train again"
            )
        checkpoint.save(self.models / name, state)

    def _check_models(self) -> None:
        """Make models of a finished training again that are missing, where they can be made.

        Raises:
            InputError: a model is missing, or ``last.pt`` or the whole folder.
        """
        last_epoch = self.epoch - 1
        for epoch in self.kept:
            if epoch == last_epoch:
                self._make_again(f"model_{epoch}.pt", epoch)
            self._check_there(f"model_{epoch}.pt")
        if self.best_epoch is not None:
            self._make_again("best_model.pt", self.best_epoch)
            self._check_there("best_model.pt")
        if self.history:
            self._check_there("last.pt")

    def _make_again(self, name: str, epoch: int) -> None:
        """Write a missing model anew if the weights of its epoch are still there."""
        if (self.models / name).exists():
            return
        source = self.models / f"model_{epoch}.pt"
        if epoch == self.epoch - 1 and self.step == 0:
            state = self._inference_state(epoch)
        elif source.exists():
            state = checkpoint.load_model(source)
        else:
            return
        logging.warning("%s was missing: made again", self.models / name)
        self._save(name, state)

    def _check_there(self, name: str) -> None:
        if not (self.models / name).exists():
            raise InputError(
                f"{self.models / name} is missing, which this training wrote: bring it back, or "
                "remove the folder and train again"
            )

    def _write_history(self) -> None:
        columns = list(COLUMNS)
        if self.task.classes:
            columns[-1] = "dev_error"
        # A dev set of several corpora has an EER of each.
        for row in self.history:
            columns += [name for name in row if name not in columns]
        lines = [",".join(columns)]
        for row in self.history:
            cells = [str(row.get(name, "")) for name in columns]
            lines.append(",".join(cells))
        write_lines(self.exp_dir / "metrics.csv", lines)

    def _inference_state(self, epoch: int) -> dict:
        """Content of ``model_N.pt`` and ``best_model.pt``.

        Args:
            epoch: epoch that the weights are of.
        """
        return {
            "model": self.final.state_dict(),
            "labels": list(LABELS),
            "class_prior": self.class_prior,
            "epoch": epoch,
            "config_hash": self.config_hash,
            "data_hashes": self.data_hashes,
        }

    def _stateful(self) -> dict:
        """Everything with a ``state_dict`` that the next step depends on."""
        objects = {
            "model": self.task,
            **self.optimizers,
            **self.schedules,
            "scaler": self.scaler,
        }
        if self.ema is not None:
            objects["ema"] = self.ema
        return objects

    def _save_last(self) -> None:
        """Write ``last.pt`` on rank 0: all that the next step depends on."""
        sums = self._gather_sums()
        states = self._gather_states()
        if self.process.is_main:
            self._write_last(states, sums)

    def _gather_sums(self) -> Tensor:
        """Sums of all ranks, which rank 0 has alone from here on.

        So it is after a resume: a run that was killed and one that was not add up the same numbers
        in the same order.
        """
        sums = sum_over_ranks(self.process, self.running.sums())
        if self.process.is_main:
            self.running.set(sums)
        else:
            self.running.reset()
        return sums

    def _gather_states(self) -> dict[str, dict]:
        """State dicts that rank 0 saves; those of a divided system are gathered, by all ranks."""
        states = {}
        for name, stateful in self._stateful().items():
            if self.parts is not None and isinstance(stateful, nn.Module):
                states[name] = self.parts.whole_weights(stateful)
            elif self.parts is not None and isinstance(stateful, torch.optim.Optimizer):
                states[name] = self.parts.whole_optimizer(self.task, stateful)
            else:
                states[name] = stateful.state_dict()
        return states

    def _write_last(
        self, states: dict[str, dict], sums: Tensor, own_states: list[dict] | None = None
    ) -> None:
        """Write ``last.pt``.

        Args:
            states: as ``_gather_states`` gives them.
            sums: as ``_gather_sums`` gives them.
            own_states: as ``_own_state`` gives them, a rank each, within an epoch.
        """
        state = dict(states)
        state |= {name: getattr(self, name) for name in (*COUNTERS, *MODEL_NOTES)}
        state |= {
            "world": self.process.world,
            DRAWN: self.drawn,
            "sums": sums,
            "config": self.config_text,
            "config_hash": self.config_hash,
            "data_hashes": self.data_hashes,
            "labels": list(LABELS),
            "class_prior": self.class_prior,
            "torch": str(torch.__version__),  # a plain string, which safe loading takes
        }
        if own_states is not None:
            state[OWN_STATES] = own_states
        self._save("last.pt", state)

    def _resume(self) -> None:
        """Continue from ``last.pt``.

        Raises:
            InputError: it is damaged, or of another training.
        """
        path = self.models / "last.pt"
        state = checkpoint.load(path)
        last.check(path, state)
        differing = difference(state, self.config_text, self.data_hashes)
        if differing:
            raise InputError(f"{path} was trained {differing}: take another --exp_dir")
        self._load_states(path, state)
        for name in COUNTERS:
            setattr(self, name, state[name])
        self.drawn = state.get(DRAWN, 0)
        if self.best is not None and not all(math.isfinite(value) for value in self.best):
            self.best = None
        if self.schedule.last_epoch != self.updates:
            raise InputError(f"{path}: its schedule is at another step: {last.WAY_OUT}")
        self._count_reductions()
        has_epochs_left = self.epoch <= self.config.num_epochs
        if has_epochs_left and state["world"] != self.process.world:
            self._take_over(path, state["world"])
        # A run may have been killed between the last step of an epoch and its end.
        elif self.step > self.steps_of_epoch:
            raise InputError(f"{path}: step {self.step} is in no epoch: {last.WAY_OUT}")
        self.best_epoch = state.get("best_epoch")
        if "kept" in state:
            self.kept = list(state["kept"])
        else:  # from before it was noted: all that are there
            self.kept = [epoch for epoch in sorted(epoch_models(self.models)) if epoch < self.epoch]
        if OWN_STATES in state and state["world"] == self.process.world:
            self._load_own_state(path, state[OWN_STATES][self.process.rank])
        elif self.process.is_main:
            self.running.set(state["sums"])
        self._gather_final()
        if self.process.is_main:
            self._write_history()
        logging.info("continue from %s: epoch %d, step %d", path, self.epoch, self.step)

    def _take_over(self, path: Path, world: int) -> None:
        """Go on from the state of another number of processes, which is said.

        The epoch goes on behind the utterances that they have drawn, and the schedule at the same
        share of the training.

        Args:
            path: file of the state, for messages.
            world: number of processes that saved it.

        Raises:
            InputError: a state inside an epoch of a stream, which can't be divided anew.
        """
        total = len(self.train_loader.index)
        draws = world * self.train_loader.config.process_batch(world)
        drawn = min(total, self.drawn + self.step * draws)
        if drawn + draws <= self.drawn + self.step * draws:
            raise InputError(f"{path}: step {self.step} is in no epoch: {last.WAY_OUT}")
        if drawn and self.train_loader.is_stream:
            raise InputError(
                f"{path} is inside an epoch of {world} processes, and a stream can't be divided "
                f"anew for {self.process.world}: continue with {world}, or make an index"
            )
        self.drawn = drawn
        self.step = 0
        epochs_done = self.epoch - 1 + drawn / total
        self.updates = round(epochs_done * self.updates_per_epoch)
        for name, schedule in self.schedules.items():
            schedule.last_epoch = self.updates
            schedule.base_lrs = list(self.base_rates[name])
        self._set_rates()
        logging.warning(
            "%s was trained by %d processes, now by %d: other batches (%d utterances an update "
            "became %d), and so other numbers; %d of %d utterances of epoch %d are left, each is "
            "drawn once; %s",
            path,
            world,
            self.process.world,
            draws * self.config.accumulate_steps,
            self.utterances_per_update,
            total - drawn,
            total,
            self.epoch,
            self._rates_in_words(),
        )

    def _load_own_state(self, path: Path, own_state: dict) -> None:
        """Load the part of the state that is this rank's alone.

        Raises:
            InputError: buffers of another system, or some that are not finite.
        """
        self.running.set(own_state["sums"])
        modules = {"model": self.task}
        if self.ema is not None:
            modules["ema"] = self.ema
        for name, module in modules.items():
            buffers = own_state.get(name, {})
            own_buffers = saved_buffers(module)
            if buffers.keys() != own_buffers.keys():
                raise InputError(f"{path}: {OWN_STATES} are of another system: {last.WAY_OUT}")
            if self.parts is None:
                load_state(module, module.state_dict() | buffers, path)
                continue
            load_state(self.parts.whole, self.parts.whole.state_dict() | buffers, path)
            for buffer_name, buffer in own_buffers.items():
                buffer.copy_(buffers[buffer_name])

    def _load_states(self, path: Path, state: dict) -> None:
        """Load all that has a ``state_dict``.

        Raises:
            InputError: a state of something else, or weights that are not finite.
        """
        options = {}
        for name, optimizer in self.optimizers.items():
            options[name] = last.numeric_options(optimizer)
        for name, stateful in self._stateful().items():
            if name not in state:
                raise InputError(f"{path}: it lacks {name}: {last.WAY_OUT}")
            if isinstance(stateful, nn.Module):
                if self.parts is None:
                    load_state(stateful, state[name], path)
                else:
                    self.parts.load_weights(stateful, state[name], path)
                continue
            try:
                if self.parts is not None and isinstance(stateful, torch.optim.Optimizer):
                    self.parts.load_optimizer(self.task, stateful, state[name])
                else:
                    stateful.load_state_dict(state[name])
            # What a state of another kind ends with is up to each class.
            except Exception as error:
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                raise InputError(
                    f"{path}: its {name} is not that of this system ({reason}): {last.WAY_OUT}"
                ) from error
        for name, optimizer in self.optimizers.items():
            last.check_optimizer(path, optimizer, options[name])


def copied_buffers(module: nn.Module) -> dict[str, Tensor]:
    """Buffers that each rank has its own values of, on the CPU."""
    buffers = {}
    for name, buffer in saved_buffers(module).items():
        buffers[name] = buffer.detach().cpu().clone()
    return buffers


def _advice_for_readers(num_workers: int, cores: int) -> str:
    """What shortens the waiting for data.

    Args:
        num_workers: reading processes of each process.
        cores: cores that the process may use.
    """
    if num_workers == 0 and cores > 1:
        return "the process reads by itself: --num_workers 1 or more reads ahead"
    if num_workers < cores - 1:
        return f"{num_workers} reading processes on {cores} cores: more --num_workers read ahead"
    return (
        f"{num_workers} reading processes have all {cores} cores: more cores, less augmentation or "
        "audio of the system's own rate (make_shard_list.py --convert) shorten it"
    )


def _check_no_dev_set_needed(config: TrainingConfig) -> None:
    """Refuse settings that depend on validations, of a training that has none."""
    needs = {
        "early_stop_patience": config.early_stop_patience > 0,
        "average: best": config.average == "best",
        f"the decay {config.schedule.decay}": config.schedule.waits,
    }
    for setting, is_needed in needs.items():
        if is_needed:
            raise InputError(f"{setting} needs a dev set: --val_data and --val_label")


def make_optimizers(config: TrainingConfig, task: Task) -> dict[str, torch.optim.Optimizer]:
    """Optimizers of a task by their names in ``last.pt``: ``optimizer``, and ``head_optimizer``.

    Raises:
        InputError: as ``make_optimizer``, or an optimizer for a head without parameters.
    """
    groups = task.parameter_groups()
    optimizers = {}
    if config.head_optimizer is None:
        optimizers["optimizer"] = make_optimizer(config.optimizer, groups)
    else:
        of_head = set()
        if task.head is not None:
            of_head = {value for value in task.head.parameters() if value.requires_grad}
        if not of_head:
            raise InputError("training.head_optimizer: the system has no head with parameters")
        head_groups = _groups_of(groups, lambda parameter: parameter in of_head)
        other_groups = _groups_of(groups, lambda parameter: parameter not in of_head)
        optimizers["optimizer"] = make_optimizer(config.optimizer, other_groups)
        optimizers["head_optimizer"] = make_optimizer(config.head_optimizer, head_groups)
    for optimizer in optimizers.values():
        use_fused_kernels(optimizer)
        for group in optimizer.param_groups:
            group["lr"] *= group["rate_factor"]
    return optimizers


def _groups_of(groups: list[dict], is_in: Callable[[nn.Parameter], bool]) -> list[dict]:
    """Groups with some of their parameters, without those that have none of them."""
    kept = []
    for group in groups:
        parameters = [parameter for parameter in group["params"] if is_in(parameter)]
        if parameters:
            kept.append(group | {"params": parameters})
    return kept


def make_optimizer(
    of_parameters: Callable[[Iterable], torch.optim.Optimizer], groups: list[dict]
) -> torch.optim.Optimizer:
    """Optimizer of a configuration.

    Args:
        of_parameters: optimizer with its options, for parameters.
        groups: parameters, as ``Task.parameter_groups`` gives them.

    Raises:
        InputError: numbers that it can't take, or with which weights would leave all bounds.
    """
    try:
        optimizer = of_parameters(groups)
    except (ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"training.optimizer: {reason}") from error
    for group in optimizer.param_groups:
        for name, value in group.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise InputError(f"training.optimizer: {name} is {value}, expected a number")
        if group["lr"] > MAX_RATE:
            raise InputError(
                f"training.optimizer: lr is {group['lr']:g}, expected a rate up to {MAX_RATE}"
            )
    return optimizer


def _folder_id(folder: Path) -> tuple[int, int] | None:
    """Device and number of a folder; None if it isn't there."""
    try:
        state = folder.stat()
    except OSError:
        return None
    return state.st_dev, state.st_ino


@torch.no_grad()
def update_average(average: nn.Module, module: nn.Module, decay: float) -> None:
    """Move an exponential moving average of a module one step; counters are copied."""
    current = module.state_dict()
    for name, value in average.state_dict().items():
        if value.is_floating_point():
            value.lerp_(current[name], 1 - decay)
        else:
            value.copy_(current[name])
