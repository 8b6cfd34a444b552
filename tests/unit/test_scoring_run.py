"""A system run over a list: on a CPU several batches at a time, with the scores of one by one."""

import threading

import pytest
import tiny
import torch

from wedefense_lite.files import InputError
from wedefense_lite.scoring.loader import EvalLoader
from wedefense_lite.scoring.run import run_inference


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return tiny.corpus(tmp_path_factory.mktemp("corpus"), 8)


@pytest.fixture
def four_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def embeddings(exp, rows, function=None) -> list:
    loader = EvalLoader(rows, exp.data)
    task = exp.system
    batches = run_inference(task, loader, tiny.ALONE, function or task.embed)
    return [(batch.keys, output) for batch, output in batches]


def test_several_batches_at_a_time_are_those_of_one_by_one_in_order(rows, four_threads):
    exp = tiny.experiment()
    several = embeddings(exp, rows)
    torch.set_num_threads(1)
    one_by_one = embeddings(exp, rows)
    assert [keys for keys, _ in several] == [keys for keys, _ in one_by_one]
    for (keys, embedding), (_, expected) in zip(several, one_by_one):
        torch.testing.assert_close(embedding, expected, rtol=1e-5, atol=1e-6, msg=keys[0])
        assert not embedding.requires_grad


def test_a_batch_does_not_wait_for_another_one(rows, four_threads):
    """Four batches meet, which one by one would never do."""
    meeting = threading.Barrier(4, timeout=30)

    def meet(batch):
        meeting.wait()
        return torch.get_num_threads()

    assert [threads for _, threads in embeddings(tiny.experiment(), rows, meet)] == [1] * 8
    assert torch.get_num_threads() == 4


def test_an_error_of_a_batch_ends_all_and_threads_are_what_they_were(rows, four_threads):
    def fail(batch):
        if batch.keys[0].endswith("03"):
            raise InputError(f"{batch.keys[0]}: refused")
        return batch.keys

    with pytest.raises(InputError, match="03: refused"):
        embeddings(tiny.experiment(), rows, fail)
    assert torch.get_num_threads() == 4
    assert not [one for one in threading.enumerate() if one.name.startswith("ThreadPool")]
