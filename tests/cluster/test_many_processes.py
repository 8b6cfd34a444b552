"""Sixteen processes on one machine are one training and one extraction; not fast, but right."""

import os

import numpy as np
import pytest
from conftest import TINY, typist

from wedefense_lite.scoring.archives import read_archive
from wedefense_lite.systems import checkpoint

pytestmark = [
    pytest.mark.skipif("CLUSTER_TESTS" not in os.environ, reason="make cluster_test runs it"),
    pytest.mark.timeout(1800),
    pytest.mark.turns("cluster"),
]
PROCESSES = 16
BIN = "wedefense_lite/bin"


@pytest.fixture(scope="module")
def root(la_corpus, tmp_path_factory):
    """A folder like the repository's root, with data and lists."""
    folder = tmp_path_factory.mktemp("many")
    typist(folder)(
        f"bash egs/asvspoof2019_la/run.sh --corpus_dir {la_corpus} --expect_counts false "
        "--data_dir data --data_type raw --stop_stage 2"
    )
    return folder


def train(root, exp_dir: str) -> dict:
    """Weights after two epochs of sixteen processes."""
    command = (
        f"tools/launch.sh --nproc={PROCESSES} {BIN}/train.py --config conf/resnet18_small.yaml"
    )
    lists = "--train_data data/train/raw.list --train_label data/train/utt2lab --data_type raw"
    options = [*TINY, "--batch_size", "2", "--num_epochs", "2", "--exp_dir", exp_dir]
    typist(root)([*command.split(), *lists.split(), *options])
    return checkpoint.load(root / exp_dir / "models/model_2.pt")["model"]


def embeddings(root, processes: int) -> dict[str, np.ndarray]:
    """Embeddings of eval, in the order of the table."""
    folder = f"embeddings_{processes}"
    command = f"tools/launch.sh --nproc={processes} {BIN}/extract.py --config first/config.yaml"
    options = "--model_path first/models/model_2.pt --data_list data/eval/raw.list --data_type raw"
    typist(root)(f"{command} {options} --embed_ark {folder}/embedding.ark")
    with pytest.MonkeyPatch.context() as patched:
        # Paths in the table are those of the command.
        patched.chdir(root)
        return dict(read_archive(f"{folder}/embedding.scp"))


def test_sixteen_processes_train_and_extract(root):
    first = train(root, "first")
    again = train(root, "again")
    for name, value in first.items():
        assert value.isfinite().all() and value.equal(again[name]), name
    of_one = embeddings(root, 1)
    of_all = embeddings(root, PROCESSES)
    assert list(of_all) == list(of_one) and len(of_one) == 16
    for key, embedding in of_one.items():
        assert np.array_equal(of_all[key], embedding), key
