"""The training entry point, with every rank's weights compared at each save and a dev EER that
never gets better. Run it under torchrun."""

import torch

from wedefense_lite.bin import train
from wedefense_lite.runtime import gather_objects
from wedefense_lite.training import trainer
from wedefense_lite.training.trainer import Trainer

save_last = Trainer._save_last


def compare_and_save(self: Trainer) -> None:
    states = gather_objects(
        self.process, {name: value.clone() for name, value in self.task.state_dict().items()}
    )
    for name, value in states[0].items():
        assert all(torch.equal(value, state[name]) for state in states), name
    if self.process.is_main:
        print("ranks are equal", flush=True)
    save_last(self)


Trainer._save_last = compare_and_save
trainer.validate = lambda *_: {"dev_eer": 0.5, "dev_loss": 1.0}
train.main()
