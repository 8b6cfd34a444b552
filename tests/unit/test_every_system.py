"""What every system of ``conf/`` promises beside its loss: a batch is its utterances, and a
training goes on from what it saved to the same bits.
"""

import copy
import io
from pathlib import Path

import pytest
import tiny
import torch

from wedefense_lite.systems.batch import Batch
from wedefense_lite.systems.experiment import Experiment
from wedefense_lite.systems.tasks import Task

torch.set_num_threads(1)
CONFIGS = sorted((Path(__file__).parents[2] / "conf").glob("*.yaml"))
SAMPLES = 8000


def noises(count: int) -> Batch:
    """Noises with all that a task may ask of a batch."""
    wav_BT = torch.randn(count, SAMPLES, generator=torch.Generator().manual_seed(0)) * 0.1
    labels_B = torch.arange(count) % 2
    first_BT = labels_B[:, None].repeat(1, SAMPLES // 2)
    return Batch(
        keys=[str(number) for number in range(count)],
        wav_BT=wav_BT,
        lengths_B=torch.full((count,), SAMPLES),
        labels_B=labels_B,
        track_BT=torch.cat((first_BT, 1 - first_BT), 1),
        talker_labels_BK=torch.stack((labels_B, 1 - labels_B), 1),
        stems_BKT=torch.stack((0.9 * wav_BT, 0.1 * wav_BT.roll(7)), 1),
        corpora_B=labels_B,
        sources_B=labels_B,
    )


def optimizer_of(experiment: Experiment, task: Task) -> torch.optim.Optimizer:
    return experiment.training.optimizer(task.train().parameter_groups())


def step(task: Task, optimizer: torch.optim.Optimizer, seed: int) -> float:
    """Loss before a step of training."""
    torch.manual_seed(seed)
    optimizer.zero_grad()
    loss, *_ = task(noises(2))
    loss.backward()
    optimizer.step()
    return loss.item()


@pytest.mark.turns
@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_a_batch_is_its_utterances_and_training_goes_on_from_what_was_saved(config):
    experiment = tiny.miniature(config)
    task = experiment.system
    again = copy.deepcopy(task)
    optimizer = optimizer_of(experiment, task)
    step(task, optimizer, seed=1)
    saved = io.BytesIO()
    torch.save((task.state_dict(), optimizer.state_dict()), saved)
    loss = step(task, optimizer, seed=2)

    other = optimizer_of(experiment, again)
    saved.seek(0)
    weights, moments = torch.load(saved, weights_only=True)
    again.load_state_dict(weights, strict=True)
    other.load_state_dict(moments)
    assert step(again, other, seed=2) == loss
    for name, value in again.state_dict().items():
        assert torch.equal(value, task.state_dict()[name]), name

    task.eval()
    function = task.embed if task.head is None else task.logits
    batch = noises(2)
    with torch.no_grad():
        together = function(batch)
        for row, utterance in enumerate(batch.each()):
            alone = function(utterance)
            assert torch.allclose(alone[0], together[row], rtol=1e-4, atol=1e-4), config.name
