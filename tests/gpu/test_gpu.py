"""On a GPU: the scores of the CPU, training that goes on bit for bit, recipes from end to end."""

import json

import pytest
import tiny
import torch
from conftest import ROOT, TINY, typist

import wedefense_lite
from wedefense_lite.bin.export_bundle import export_bundle
from wedefense_lite.runtime import precision_context, start_process
from wedefense_lite.systems import checkpoint
from wedefense_lite.systems.batch import Batch
from wedefense_lite.systems.tasks import Classification

if not torch.cuda.is_available():
    pytest.skip("no GPU to be seen; where there is one: make gpu_test", allow_module_level=True)
CONFIGS = sorted(ROOT.glob("conf/*.yaml"))
DETECTORS = [path for path in CONFIGS if "class_path: Detection" in path.read_text()]


def noise(count: int, samples: int = 32000) -> Batch:
    wav = torch.randn(count, samples, generator=torch.Generator().manual_seed(0)) * 0.1
    labels = torch.tensor([0, 1] * count)[:count]
    return Batch(
        [str(number) for number in range(count)], wav, torch.full((count,), samples), labels
    )


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_what_is_computed_is_that_of_the_cpu(config):
    process, task = start_process(), tiny.miniature(config).system.eval()
    function = task.logits if isinstance(task, Classification) else task.embed
    with torch.no_grad(), precision_context(torch.device("cpu")):
        expected = function(noise(3))
    task.to(process.device, memory_format=torch.channels_last)
    torch.backends.cudnn.allow_tf32 = True  # as it is by default
    with torch.no_grad(), precision_context(process.device):
        found = function(noise(3).to(process.device)).cpu()
    close = (
        1e-4 if isinstance(task, Classification) else 1e-3
    )  # waveforms have passed many more layers
    torch.testing.assert_close(found, expected, rtol=close, atol=close)


@pytest.mark.parametrize("config", DETECTORS, ids=lambda path: path.stem)
def test_training_that_was_stopped_ends_with_the_same_bits(config, tmp_path):
    rows, process = tiny.corpus(tmp_path / "train", 8), start_process()

    class Stop(Exception):
        pass

    def stop(row):
        raise Stop

    def trainer(name: str):
        exp = tiny.miniature(config)
        exp.data.crop_seconds, exp.data.batch_size, exp.data.augment = 1.0, 4, []
        exp.training.num_epochs, exp.training.early_stop_patience = 3, 0
        exp.training.precision = "bf16" if "class_path: SSL" in config.read_text() else "tf32"
        return tiny.trainer(exp, tmp_path / name, rows, process=process)

    trainer("whole").fit()
    with pytest.raises(Stop):
        trainer("stopped").fit(stop)
    trainer("stopped").fit()
    whole, stopped = (
        checkpoint.load(tmp_path / name / "models/model_3.pt")["model"]
        for name in ("whole", "stopped")
    )
    assert [name for name in whole if not torch.equal(whole[name], stopped[name])] == []


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "fp16"])
def test_every_precision_learns(precision, tmp_path):
    exp = tiny.experiment(num_epochs=30, precision=precision, data={"batch_size": 2})
    rows = tiny.corpus(tmp_path / "train")
    trained = tiny.trainer(exp, tmp_path, rows, rows, start_process())
    trained.fit()
    assert trained.history[-1]["dev_eer"] < 0.2


def test_a_recipe_runs_from_end_to_end_and_its_bundle_scores_on_both(
    la_corpus, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    typed = typist(tmp_path)
    words = "bash egs/asvspoof2019_la/run.sh --expect_counts false --data_dir data --exp_dir exp --num_avg 2".split()
    options = ["--train_options", f"--num_epochs 3 {' '.join(TINY)} --num_workers 2"]
    typed([*words, "--corpus_dir", la_corpus, "--bootstrap", "20", *options])
    assert (
        json.loads((tmp_path / "exp/env.json").read_text())["device"]
        == torch.cuda.get_device_name()
    )
    export_bundle("exp", "bundle", "data/dev/utt2lab", "mit", "ours")
    wav = noise(1, 16000).wav_BT[0].clamp(-1, 1).numpy()
    torch.backends.cudnn.allow_tf32 = True  # as it is by default
    on_gpu, on_cpu = (
        wedefense_lite.load("bundle", device, trim=False).score(wav) for device in ("cuda", "cpu")
    )
    assert on_gpu == pytest.approx(on_cpu, abs=1e-4)
