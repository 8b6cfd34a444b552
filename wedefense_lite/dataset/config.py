"""The ``data`` section of a system's YAML."""

from dataclasses import dataclass, field
from typing import Literal

from jsonargparse.typing import NonNegativeFloat, NonNegativeInt, PositiveInt

from wedefense_lite.dataset.augment import Augment


@dataclass
class DataConfig:
    """How audio is read, cut, changed and put into batches.

    Attributes:
        sample_rate: rate in Hz that all audio must have.
        crop_seconds: length of training crops; 0 takes whole utterances, in batches padded with zeros.
        pad: how an utterance shorter than a crop is filled up.
        eval_seconds: scoring reads so many seconds, filled up as ``pad`` says; 0 reads all.
        eval_crop: which these are of longer utterances: the first ones, or those in the centre.
        augment: what is done to training crops, in this order.
        pre_emphasis: what each sample loses of the one before it, 0 for nothing; behind augmentation, and before
            crops are cut and short utterances are filled up.
        batch_size: utterances in a training batch, per process.
        num_workers: processes that read ahead, per process; 0 reads in the process itself.
        balance_classes: draw each class equally often, so that the loss sees a prior of 0.5.
        shuffle_window: 0 shuffles completely; N permutes the shards and shuffles within windows of N
            of them, so that reads stay sequential on disks that need it.
    """

    sample_rate: PositiveInt = 16000
    crop_seconds: NonNegativeFloat = 3.0
    pad: Literal["repeat", "zero"] = "repeat"
    eval_seconds: NonNegativeFloat = 0.0
    eval_crop: Literal["first", "centre"] = "first"
    augment: list[Augment] = field(default_factory=list)
    pre_emphasis: NonNegativeFloat = 0.0
    batch_size: PositiveInt = 32
    num_workers: NonNegativeInt = 0
    balance_classes: bool = False
    shuffle_window: NonNegativeInt = 0

    def __post_init__(self):
        if self.eval_crop != "first" and not self.eval_seconds:
            raise ValueError(f"eval_crop is {self.eval_crop}, but eval_seconds is 0: all of an utterance is scored")
        for augment in self.augment:
            augment.sample_rate = self.sample_rate
