"""Official weights: the official outputs, and an experiment folder that the later stages accept."""

import math
import os
from pathlib import Path

import commands
import numpy as np
import pytest
import tiny
import torch
import torch.nn.functional as F
import yaml
from refvectors import OTHERS, needs
from torch import nn

from wedefense_lite.audio.data_dir import Trial, write_data_dirs
from wedefense_lite.bin.average_model import average_model
from wedefense_lite.bin.evaluate import evaluate
from wedefense_lite.bin.extract import extract
from wedefense_lite.bin.import_weights import import_weights
from wedefense_lite.bin.infer import infer
from wedefense_lite.bin.logits_to_llr import logits_to_llr
from wedefense_lite.bin.report import report
from wedefense_lite.files import InputError, read_json
from wedefense_lite.interop.official import check_rawnet2
from wedefense_lite.interop.reading import read_checkpoint
from wedefense_lite.scoring.archives import read_archive
from wedefense_lite.systems import checkpoint
from wedefense_lite.systems.experiment import load_experiment

ROOT = Path(__file__).parents[2]
REFVECTORS = OTHERS / "aasist"
FILTERS, KERNEL, CHANNELS, WIDTH = 4, 65, 6, 8
torch.set_num_threads(1)


@needs("aasist/AASIST.pth", "aasist/AASIST-L.pth", "aasist/waveforms.npz")
@pytest.mark.parametrize(
    ("config", "weights"), [("aasist", "AASIST.pth"), ("aasist_l", "AASIST-L.pth")]
)
def test_official_aasist_weights_give_the_official_logits_and_embeddings(config, weights, tmp_path):
    conf, exp_dir = ROOT / f"conf/{config}.yaml", str(tmp_path)
    import_weights(str(REFVECTORS / weights), str(conf), exp_dir, **{"from": "aasist"})
    task = (
        load_experiment(tmp_path / "config.yaml")
        .system.eval()
        .to(memory_format=torch.channels_last)
    )
    checkpoint.load_weights(tmp_path / "models/best_model.pt", task)
    expected = np.load(REFVECTORS / f"{config}.npz")
    cases = [
        (wav, expected["embedding"][n], expected["logits"][n]) for n, wav in enumerate(waveforms())
    ]
    for samples in (16000, 48000, 96000):
        wav = (np.random.default_rng(7).standard_normal(samples) * 0.1).astype(np.float32)
        cases.append(
            (wav, *(expected[f"varlen_{samples}_{name}"] for name in ("embedding", "logits")))
        )
    assert len(cases) == 11
    for wav, embedding, logits in cases:
        with torch.no_grad():
            found = task.model(
                *task.frontend(torch.from_numpy(wav)[None], torch.tensor([len(wav)]))
            )
            np.testing.assert_allclose(found[0].numpy(), embedding, rtol=0, atol=1e-4)
            np.testing.assert_allclose(task.head(found)[0].numpy(), logits, rtol=0, atol=1e-4)


def waveforms() -> np.ndarray:
    return np.load(REFVECTORS / "waveforms.npz")["x"]


def official_rawnet2() -> dict[str, torch.Tensor]:
    """A state dict with the names and shapes of the official baseline, narrower, its batch norms
    run in.
    """
    torch.manual_seed(0)
    widths = [FILTERS] * 3 + [CHANNELS] * 4
    parts = {"first_bn": nn.BatchNorm1d(FILTERS), "bn_before_gru": nn.BatchNorm1d(CHANNELS)}
    parts |= {
        "gru": nn.GRU(CHANNELS, WIDTH, 3),
        "fc1_gru": nn.Linear(WIDTH, WIDTH),
        "fc2_gru": nn.Linear(WIDTH, 2),
    }
    for block, (before, after) in enumerate(zip(widths, widths[1:])):
        name = f"block{block}.0."
        parts[f"{name}conv1"], parts[f"{name}conv2"] = (
            nn.Conv1d(before, after, 3),
            nn.Conv1d(after, after, 3),
        )
        parts[f"{name}bn2"] = nn.BatchNorm1d(after)
        if block:
            parts[f"{name}bn1"] = nn.BatchNorm1d(before)
        if before != after:
            parts[f"{name}conv_downsample"] = nn.Conv1d(before, after, 1)
        parts[f"fc_attention{block}.0"] = nn.Linear(after, after)
    state = {
        f"{name}.{key}": value
        for name, part in parts.items()
        for key, value in part.state_dict().items()
    }
    for key, value in state.items():
        if "bn" in key and value.is_floating_point():
            value += torch.rand_like(value)
    return state


@torch.no_grad()
def rawnet2_by_hand(state: dict[str, torch.Tensor], frames_DF: torch.Tensor) -> np.ndarray:
    """Logits of the baseline, step by step from its state dict."""

    def normalised(name: str, maps: torch.Tensor) -> torch.Tensor:
        keys = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(maps, *(state[f"{name}.{key}"] for key in keys))

    def weighted(operation, name: str, maps: torch.Tensor, **options) -> torch.Tensor:
        return operation(maps, state[f"{name}.weight"], state[f"{name}.bias"], **options)

    maps = F.selu(normalised("first_bn", F.max_pool1d(frames_DF[None].abs(), 3)))
    for block in range(6):
        name = f"block{block}.0"
        hidden = F.leaky_relu(
            normalised(f"{name}.bn2", weighted(F.conv1d, f"{name}.conv1", maps, padding=1)), 0.3
        )
        hidden = weighted(F.conv1d, f"{name}.conv2", hidden, padding=1)
        if f"{name}.conv_downsample.weight" in state:
            maps = weighted(F.conv1d, f"{name}.conv_downsample", maps)
        maps = F.max_pool1d(hidden + maps, 3)
        scale = weighted(F.linear, f"fc_attention{block}.0", maps.mean(2)).sigmoid()[..., None]
        maps = maps * scale + scale
    gru = nn.GRU(CHANNELS, WIDTH, 3)
    gru.load_state_dict(
        {key.removeprefix("gru."): value for key, value in state.items() if key.startswith("gru.")}
    )
    states, _ = gru(F.selu(normalised("bn_before_gru", maps)).permute(2, 0, 1))
    return weighted(F.linear, "fc2_gru", weighted(F.linear, "fc1_gru", states[-1]))[0].numpy()


class Imported:
    """A narrow RawNet2 in the official format, its experiment folder, and a small corpus to
    score.
    """

    def __init__(self, folder: Path):
        self.folder, self.exp = folder, folder / "exp"
        self.state, self.weights, self.config = (
            official_rawnet2(),
            folder / "official.pth",
            folder / "rawnet2.yaml",
        )
        torch.save(self.state, self.weights)
        config = yaml.safe_load((ROOT / "conf/rawnet2.yaml").read_text())
        parts = config["system"]["init_args"]
        parts["frontend"]["init_args"] = {"num_filters": FILTERS, "kernel_size": KERNEL}
        parts["model"]["init_args"] = {"channels": CHANNELS, "embed_dim": WIDTH}
        self.config.write_text(yaml.safe_dump(config | {"data": {"eval_seconds": 0.25}}))
        self.words = ["--from", "rawnet2", "--weights", self.weights, "--config", self.config]
        self.rows = tiny.corpus(folder / "eval", 6)
        self.list, _ = tiny.write_lists(folder, self.rows)
        trials = [
            Trial(row.key, row.path, row.label, "s", "-" if row.label == "bonafide" else "A01")
            for row in self.rows
        ]
        write_data_dirs(folder / "data", {"eval": trials})


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    made = Imported(tmp_path_factory.mktemp("imported"))
    with pytest.MonkeyPatch.context() as patch:
        commands.run(patch, import_weights, *made.words, "--exp_dir", made.exp)
    return made


def test_stages_4_to_8_take_imported_weights_as_if_trained_here(imported):
    exp, posteriors = imported.exp, imported.exp / "posteriors/eval"
    config, model = str(exp / "config.yaml"), str(exp / "models/avg_model.pt")
    average_model(model, str(exp / "models"), 0, bn_data=imported.list, data_type="raw")
    extract(
        config,
        model,
        imported.list,
        str(exp / "embeddings/eval/embedding.ark"),
        "raw",
        batch_size=4,
    )
    infer(model, config, str(exp / "embeddings/eval/embedding.scp"), str(posteriors), num_classes=2)
    logits_to_llr(str(posteriors / "logits.scp"), pi_spoof=0.05)
    evaluate(cm=str(posteriors / "llr.txt"), cm_key=str(imported.folder / "data/eval/cm_key_file.txt"),
             json=str(exp / "results_eval.json"))  # fmt: skip
    report(str(exp), str(imported.folder / "data"))
    assert 0 <= read_json(exp / "results_eval.json")["eer"] <= 1
    assert "RawNet2" in (exp / "report.html").read_text()
    llrs = dict(line.split("\t") for line in (posteriors / "llr.txt").read_text().splitlines()[1:])
    logits, task = read_archive(posteriors / "logits.scp"), load_experiment(config).system
    for row in imported.rows:
        wav = torch.from_numpy(tiny.sf.read(row.path, dtype="float32")[0])[None, :4000]
        frames, _ = task.frontend(wav, torch.tensor([4000]))
        expected = rawnet2_by_hand(imported.state, frames[0].T)
        np.testing.assert_allclose(logits[row.key], expected, rtol=0, atol=1e-5)
        # What the loss saw: 22,800 spoofed at 0.1 and 2,580 bona fide at 0.9.
        llr = expected[1] - expected[0] - math.log(2580 * 0.9 / (22800 * 0.1))
        assert float(llrs[row.key]) == pytest.approx(llr, abs=1e-5)


def test_the_folder_says_where_the_weights_come_from(imported):
    assert tiny.files(imported.exp)[:1] == ["config.yaml"]
    env = read_json(imported.exp / "env.json")
    assert env["weights"] == str(imported.weights) and len(env["weights_hash"]) == 12
    assert env["class_prior"] == pytest.approx([2280 / 4602, 2322 / 4602])


def test_weights_of_other_training_data_have_another_prior(imported, tmp_path, monkeypatch):
    commands.run(
        monkeypatch, import_weights, *imported.words, "--exp_dir", tmp_path, "--seen", "[3,1]"
    )
    assert checkpoint.load(tmp_path / "models/best_model.pt")["class_prior"] == [0.75, 0.25]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"gru.weight_hh_l0": None},
            "1 names do not fit .*: model.gru.weight_hh_l0 is missing, expected [24, 8]",
        ),
        ({"extra.weight": torch.zeros(2)}, "model.extra.weight is [2], expected none"),
        ({"fc2_gru.bias": torch.zeros(3)}, "head.linear.bias is [3], expected [2]"),
        ({"epoch": 7}, "not a state dict"),
        ({"fc2_gru.bias": torch.ones(2, dtype=torch.int64)}, "bias is of type torch.int64"),
        ({"fc2_gru.bias": torch.ones(2, dtype=torch.complex64)}, "bias is complex64"),
    ],
)
def test_weights_that_do_not_fit_are_named(imported, tmp_path, monkeypatch, capsys, change, said):
    state = {key: value for key, value in (imported.state | change).items() if value is not None}
    torch.save(state, tmp_path / "other.pth")
    words = [*imported.words, "--weights", tmp_path / "other.pth", "--exp_dir", tmp_path / "exp"]
    error = commands.refused(monkeypatch, capsys, import_weights, *words)
    assert all(part in error for part in said.split(".*"))
    assert not (tmp_path / "exp").exists()


def test_a_training_is_not_overwritten(imported, tmp_path, monkeypatch, capsys):
    (tmp_path / "models").mkdir()
    for name in ("last.pt", "model_3.pt"):
        (tmp_path / "models" / name).touch()
        error = commands.refused(
            monkeypatch, capsys, import_weights, *imported.words, "--exp_dir", tmp_path
        )
        assert "a training is there" in error
        (tmp_path / "models" / name).unlink()
    error = commands.refused(
        monkeypatch, capsys, import_weights, *imported.words, "--exp_dir", "x", "--seen", "[1,0]"
    )
    assert "seen" in error


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--seen", "[.inf,1]"), "--seen is [inf, 1.0], expected two finite numbers"),
        (("--bonafide_label", "real"), "--bonafide_label goes with --from transformers"),
    ],
)
def test_options_without_a_sense_are_refused(imported, monkeypatch, capsys, words, said):
    words = (*imported.words, "--exp_dir", "x", *words)
    assert said in commands.refused(monkeypatch, capsys, import_weights, *words)


def test_a_pipe_in_place_of_safetensors_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe.safetensors")
    with pytest.raises(InputError, match="no regular file"):
        read_checkpoint(str(tmp_path / "pipe.safetensors"))


RAWNET2_FORMS = {
    "weights of 2021 as those of ASVspoof 5": (
        {"from": "rawnet2_asvspoof5"},
        "rawnet2",
        False,
        "bn1 was never trained, expected --from rawnet2",
    ),
    "weights of ASVspoof 5 for a system of 2021": (
        {"from": "rawnet2_asvspoof5"},
        "rawnet2",
        True,
        "model.blocks.1.0.bn1.bias is [4], expected none",
    ),
    "weights of 2021 for the system of ASVspoof 5": (
        {"from": "rawnet2"},
        "rawnet2_asvspoof5",
        True,
        "model.blocks.1.0.bn1.bias is missing, expected [4]",
    ),
}


@pytest.mark.parametrize("case", RAWNET2_FORMS)
def test_rawnet2_in_another_form_than_it_is_said_to_be_is_refused(case, imported, tmp_path):
    source, system, is_trained, message = RAWNET2_FORMS[case]
    state = dict(imported.state)
    for name, value in state.items():
        if ".bn1." in name and not is_trained:
            state[name] = torch.full_like(value, name.endswith(".weight"))
    torch.save(state, tmp_path / "other.pth")
    config = yaml.safe_load(imported.config.read_text())
    if system == "rawnet2_asvspoof5":
        config["system"]["init_args"]["model"]["init_args"]["norm_first"] = True
    (tmp_path / "system.yaml").write_text(yaml.safe_dump(config))
    weights = str(tmp_path / "other.pth")
    exp_dir = str(tmp_path / "exp")
    with pytest.raises(InputError) as error:
        import_weights(weights, str(tmp_path / "system.yaml"), exp_dir, seen=(1, 1), **source)
    assert message in str(error.value)
    assert not (tmp_path / "exp").exists()


def test_a_trained_bn1_is_warned_of_where_it_would_be_dropped(imported, caplog):
    check_rawnet2("rawnet2", imported.state, "official.pth")
    assert "--from rawnet2_asvspoof5" in caplog.text
