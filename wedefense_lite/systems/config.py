"""Sections ``data`` and ``training`` of a YAML."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

import torch
from jsonargparse.typing import (
    ClosedUnitInterval,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    restricted_number_type,
)

from wedefense_lite.augment.base import Augment
from wedefense_lite.files import InputError
from wedefense_lite.runtime import Precision
from wedefense_lite.systems.schedule import Schedule

# Ranges in which a mistyped number is found before it takes all memory or makes all weights NaN,
# which no range includes.
Seconds = restricted_number_type("Seconds", float, [(">=", 0), ("<=", 3600)])
Decay = restricted_number_type("Decay", float, [(">=", 0), ("<", 1)])
Norm = restricted_number_type("Norm", float, [(">=", 0), ("<", float("inf"))])
BatchSize = restricted_number_type("BatchSize", int, [(">=", 1), ("<=", 1 << 20)])
Count = restricted_number_type("Count", int, [(">=", 1), ("<=", 10_000_000)])
WorkerCount = restricted_number_type("WorkerCount", int, [(">=", 0), ("<=", 1024)])
Workers = WorkerCount | Literal["auto"]
Rate = restricted_number_type("Rate", int, [(">=", 1), ("<=", 1_000_000)])
# PyTorch and NumPy take seeds of 64 bits.
Seed = restricted_number_type("Seed", int, [(">=", 0), ("<", 1 << 63)])


@dataclass
class DataConfig:
    """Reading of audio: rate, crops, augmentation, batches.

    Attributes:
        sample_rate: rate in Hz of the system; audio of another rate is resampled to it.
        channel: number of the channel that is read of audio with several, from 1 on; 0 mixes all of
            them down.
        crop_seconds: length of training crops; 0 takes whole utterances, in batches padded with
            zeros.
        crop: a random part of an utterance in training, or its beginning, as loaders that cut
            utterances to one length have it, or all of its slices, each once an epoch: they overlap
            by half, and an utterance is repeated up to a whole number of them.
        pad: filling of an utterance that is shorter than a crop.
        eval_seconds: length that is scored, filled up as ``pad`` says; 0 scores whole utterances.
        eval_crop: for utterances longer than ``eval_seconds``, score the beginning or the centre.
        augment: augmentations of training crops, in this order.
        augment_whole: augment whole utterances, from which the crop is cut then; long files are
            read as a whole for it.
        pre_emphasis: coefficient a of y[t] = x[t] - a x[t-1]; 0 disables it. Applied after
            augmentation, before cropping and padding.
        batch_size: utterances in a training batch.
        batch_of: whether ``batch_size`` counts the utterances of each process, or of all processes
            together, which share them evenly.
        num_workers: processes that read ahead, per process; 0 reads in the process itself; auto
            chooses by cores, GPUs and processes.
        balance_classes: draw each class equally often, so that the loss sees a prior of 0.5; with
            balance_corpora or corpus_weights, each class of a corpus.
        balance_corpora: draw from each corpus equally often.
        corpus_weights: draw from each corpus in proportion to its weight, as in
            ``{asvspoof5: 2, mlaad: 1}``.
        shuffle_window: 0 shuffles completely; N permutes the shards and shuffles within windows of
            N of them, so that reads stay sequential on disks that need it.
    """

    sample_rate: Rate = 16000
    channel: NonNegativeInt = 0
    crop_seconds: Seconds = 3.0
    crop: Literal["random", "first", "slices"] = "random"
    pad: Literal["repeat", "zero"] = "repeat"
    eval_seconds: Seconds = 0.0
    eval_crop: Literal["first", "centre"] = "first"
    augment: list[Augment] = field(default_factory=list)
    augment_whole: bool = False
    pre_emphasis: ClosedUnitInterval = 0.0
    batch_size: BatchSize = 32
    batch_of: Literal["process", "all"] = "process"
    num_workers: Workers = "auto"
    balance_classes: bool = False
    balance_corpora: bool = False
    corpus_weights: dict[str, PositiveFloat] = field(default_factory=dict)
    shuffle_window: NonNegativeInt = 0

    def __post_init__(self):
        if self.eval_crop != "first" and not self.eval_seconds:
            raise ValueError(
                f"eval_crop is {self.eval_crop}, but eval_seconds is 0:"
                " all of an utterance is scored"
            )
        if self.crop == "slices" and (self.augment_whole or not self.crop_seconds):
            raise ValueError(
                f"crop is slices, crop_seconds {self.crop_seconds:g} and augment_whole "
                f"{self.augment_whole}, expected seconds and no augmentation of the whole"
            )
        if self.balance_corpora and self.corpus_weights:
            raise ValueError("balance_corpora gives all one weight: not with corpus_weights")
        # The parser builds augmentations from their own options, which don't include the rate.
        for augment in self.augment:
            augment.sample_rate = self.sample_rate

    @property
    def by_corpus(self) -> bool:
        """Whether each corpus has a share of the draws of its own."""
        return self.balance_corpora or bool(self.corpus_weights)

    def process_batch(self, world: int) -> int:
        """Utterances in a training batch of one process.

        Args:
            world: number of processes.

        Raises:
            InputError: a batch of all processes that they can't share evenly.
        """
        if self.batch_of == "process":
            return self.batch_size
        size, left_over = divmod(self.batch_size, world)
        if left_over:
            raise InputError(
                f"data.batch_size is {self.batch_size} for all processes, expected a multiple of"
                f" their number, {world}"
            )
        return size


@dataclass
class TrainingConfig:
    """Training of a system.

    Args:
        num_epochs: passes over the training list; epochs count from 1.
        optimizer: any of ``torch.optim``, such as AdamW, Adam or SGD.
        head_optimizer: another one for the parameters of the head, with the same course of the
            rate; None: they have the same optimizer.
        sam_radius: distance rho of sharpness-aware minimization (Foret et al., ICLR 2021,
            https://arxiv.org/abs/2010.01412): the gradient is taken where the loss is highest, to
            first order, within that distance of the weights. It takes two passes a step. 0 disables
            it.
        schedule: course of the learning rate.
        accumulate_steps: batches whose gradients are summed for one step of the optimizer.
        rate_batch: utterances of an update for which the optimizer's rate is meant: the rate is
            multiplied by the utterances of an update, over all processes, over this number (linear
            scaling rule: Goyal et al., 2017, https://arxiv.org/abs/1706.02677, section 2.1). 0
            leaves the rate as it is.
        clip_norm: largest norm of the gradient; 0 disables clipping.
        precision: fp32; tf32, which multiplies with ten mantissa bits on GPUs, and is faster there;
            bf16 or fp16 in the forward pass by autocast, except in spectral front ends; auto takes
            bf16 where the device multiplies it by instructions of its own, and tf32 elsewhere.
        deterministic: a GPU gives the same bits each time; false lets it choose among all kernels,
            fused attention among them, which is faster, and a continued training is no longer equal
            to one that ran through. CPUs always repeat.
        compile: compile the training step with ``torch.compile``: the first steps take minutes, the
            others less time, and results differ by rounding.
        ema_decay: decay of an exponential moving average of the weights, which is then validated
            and saved; 0 disables it.
        early_stop_patience: validations without a better dev EER before training ends; 0 or less
            never ends it early.
        validate_interval: epochs from one validation to the next; the last epoch is always one.
        save_epoch_interval: epochs from one ``model_N.pt`` that is kept for good to the next; 0
            keeps none beyond those of ``num_avg``.
        num_avg: last epochs whose ``model_N.pt`` is kept for averaging; 0 or less keeps
            ``best_model.pt`` alone.
        average: epochs that are averaged: the last ones, ``num_avg`` of them, or each whose dev EER
            was no higher than that of any before, as AASIST's code has it (stochastic weight
            averaging); these are then kept as well.
        save_step_interval: steps of the optimizer from one ``last.pt`` to the next inside an epoch;
            0 saves it at the end of each epoch only.
        seed: seed of the initial weights, the order, the crops and the augmentation.
    """

    optimizer: Callable[[Iterable], torch.optim.Optimizer]
    num_epochs: Count = 30
    head_optimizer: Callable[[Iterable], torch.optim.Optimizer] | None = None
    sam_radius: Norm = 0.0
    schedule: Schedule = field(default_factory=Schedule)
    accumulate_steps: Count = 1
    rate_batch: NonNegativeInt = 0
    clip_norm: Norm = 5.0
    precision: Precision = "tf32"
    deterministic: bool = True
    compile: bool = False
    ema_decay: Decay = 0.0
    early_stop_patience: int = 0
    validate_interval: PositiveInt = 1
    save_epoch_interval: NonNegativeInt = 0
    num_avg: int = 5
    average: Literal["last", "best"] = "last"
    save_step_interval: NonNegativeInt = 0
    seed: Seed = 1

    def __post_init__(self):
        if self.sam_radius and self.accumulate_steps > 1:
            raise ValueError(
                f"sam_radius is {self.sam_radius} and accumulate_steps {self.accumulate_steps}:"
                " sharpness-aware minimization passes twice over one batch, expected 1"
            )
