"""Two processes are one training: same weights, same buffers, same end, and the large batch's
gradient.
"""

import pytest
import tiny
from ranks import run_two

from wedefense_lite.systems import checkpoint


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What each of two ranks ended with, and the folder they worked in."""
    folder = tmp_path_factory.mktemp("ranks")
    return run_two("two_ranks.py", folder), folder


def test_weights_and_buffers_are_equal_at_every_save(ranks):
    (first, second), _ = ranks
    assert len(first["saved"]) == 4, "two epochs of one step, each saved inside and at its end"
    assert first["saved"] == second["saved"]


def test_early_stopping_ends_both(ranks):
    (first, second), _ = ranks
    assert first["epochs"] == second["epochs"] == 2, "a rate of 0 can't better the first epoch"
    assert first["dev"] == second["dev"]


@pytest.mark.parametrize(("name", "options"), [("weights", {}), ("sharp", {"sam_radius": 0.1})])
def test_the_gradient_is_that_of_the_batches_of_both(ranks, tmp_path, name, options):
    """Two ranks with batches of 4 make the steps of one process with batches of 8."""
    (first, second), _ = ranks
    assert first[name] == second[name]
    exp = tiny.experiment(num_epochs=1, data={"batch_size": 8}, model=tiny.MeanFrame, **options)
    tiny.trainer(exp, tmp_path, tiny.corpus(tmp_path / "train", 8, 0)).fit()
    alone = [value.flatten().tolist() for value in exp.system.state_dict().values()]
    for one, both in zip(alone, first[name]):
        assert one == pytest.approx(both, rel=1e-5, abs=1e-6)


def test_frame_level_training_averages_gradients_at_every_step(ranks):
    (first, second), _ = ranks
    assert len(set(first["located"])) == 5, (
        "two epochs of two steps, each of which changes the parameters"
    )
    assert first["located"] == second["located"]


def test_a_signal_inside_an_epoch_loses_no_step_and_changes_no_bit(ranks):
    for found in ranks[0]:
        undisturbed, again = found["preempted"]
        assert undisturbed == again


def test_rank_0_alone_writes(ranks):
    _, folder = ranks
    assert tiny.files(folder / "exp/models") == [
        "best_model.pt",
        "last.pt",
        "model_1.pt",
        "model_2.pt",
    ]
    assert checkpoint.load(folder / "exp/models/last.pt")["epoch"] == 3
