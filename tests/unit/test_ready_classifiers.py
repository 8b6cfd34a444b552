"""Classifiers of transformers: scored as they are, trained on, and refused where a label leaves
doubt.
"""

import importlib.util
import shutil
from pathlib import Path

import commands
import numpy as np
import pytest
import safetensors.torch
import soundfile as sf
import tiny
import torch

import wedefense_lite
from wedefense_lite.bin.export_bundle import export_bundle
from wedefense_lite.bin.extract import extract
from wedefense_lite.bin.import_weights import import_weights
from wedefense_lite.bin.infer import infer
from wedefense_lite.bin.logits_to_llr import logits_to_llr
from wedefense_lite.files import InputError
from wedefense_lite.frontends.encoders import import_transformers
from wedefense_lite.scoring.archives import read_archive
from wedefense_lite.scoring.scores import read_scores
from wedefense_lite.systems import checkpoint
from wedefense_lite.systems.experiment import load_experiment

if not importlib.util.find_spec("transformers"):
    pytest.skip("no transformers", allow_module_level=True)
transformers = import_transformers()
CONF = Path(__file__).parents[2] / "conf/wavlm_classifier.yaml"
SIZES = tiny.ENCODER | {"classifier_proj_size": 12, "num_labels": 2, "mask_time_prob": 0.05}
STABLE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}


def save(
    folder: Path,
    family: str,
    labels: list[str],
    normalize: bool = False,
    rate: int = 16000,
    **options,
) -> Path:
    """A random classifier and its feature extractor in the hub's format."""
    torch.manual_seed(3)
    config = transformers.AutoConfig.for_model(family, **SIZES, **options)
    config.id2label, config.label2id = (
        dict(enumerate(labels)),
        {label: n for n, label in enumerate(labels)},
    )
    model = transformers.AutoModelForAudioClassification.from_config(config)
    for name, value in model.named_parameters():
        if name == "layer_weights" or name.endswith("bias"):
            torch.nn.init.normal_(value)
    model.save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(
        do_normalize=normalize, sampling_rate=rate
    ).save_pretrained(folder)
    return folder


def words(folder: Path, exp: Path, *more: object) -> list:
    return [
        "--from",
        "transformers",
        "--weights",
        folder,
        "--config",
        CONF,
        "--exp_dir",
        exp,
        "--seen",
        "[3,1]",
        *more,
    ]


def scored(folder: Path, exp: Path) -> tuple:
    """Logits of three utterances in ``exp/posteriors/dev``; the configuration, the model, the
    utterances, utt2lab.
    """
    rows = tiny.corpus(folder / "dev", 3)
    listed, labels = tiny.write_lists(folder, rows)
    config, model, archive = (
        str(exp / "config.yaml"),
        str(exp / "models/best_model.pt"),
        str(exp / "e/embedding.ark"),
    )
    extract(config, model, listed, archive, "raw")
    infer(model, config, archive.replace(".ark", ".scp"), str(exp / "posteriors/dev"))
    return config, model, rows, labels


@pytest.mark.parametrize(
    ("family", "labels", "options"),
    [
        ("wavlm", ["bona-fide", "spoof"], {}),
        (
            "wav2vec2",
            ["fake", "real"],
            {"use_weighted_layer_sum": True, "normalize": True, **STABLE},
        ),
        ("hubert", ["Human", "Deepfake"], {"normalize": True, **STABLE}),
        (
            "wavlm",
            ["spoof", "bonafide"],
            {"normalize": True},
        ),  # as its extractor has it, not as its family does
        ("wav2vec2", ["spoof", "bonafide"], {"normalize": False, **STABLE}),
    ],
)
def test_a_classifier_is_scored_as_it_is_and_trained_on(
    family, labels, options, tmp_path, monkeypatch
):
    folder, exp = save(tmp_path / "hub/owner/tiny", family, labels, **options), tmp_path / "exp"
    monkeypatch.setenv("WEDEFENSE_MODELS", str(tmp_path / "hub"))
    commands.run(monkeypatch, import_weights, *words(folder, exp))
    config, model, rows, _ = scored(tmp_path, exp)
    official = transformers.AutoModelForAudioClassification.from_pretrained(folder).eval()
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    order = [1, 0] if labels[1] in ("spoof", "Deepfake") else [0, 1]
    found = read_archive(exp / "posteriors/dev/logits.scp")
    for row in rows:
        wav = extractor(sf.read(row.path)[0], sampling_rate=16000, return_tensors="pt").input_values
        with torch.no_grad():
            np.testing.assert_allclose(
                found[row.key], official(wav).logits[0, order].numpy(), rtol=0, atol=2e-6
            )
    state = checkpoint.load(model)
    assert (
        state["class_prior"] == [0.75, 0.25] and "model: owner/tiny\n" in Path(config).read_text()
    )
    assert str(tmp_path) not in Path(config).read_text()
    experiment = load_experiment(config)
    checkpoint.load_weights(model, experiment.system)
    experiment.data.crop_seconds, experiment.training.num_epochs = 0.2, 1
    tiny.trainer(experiment, tmp_path / "tuned", rows[:2]).fit()
    tuned = checkpoint.load(tmp_path / "tuned/models/model_1.pt")["model"]
    moved = [name for name, value in state["model"].items() if not torch.equal(value, tuned[name])]
    assert {name.split(".")[0] for name in moved} == {"frontend", "model", "head"}


def test_a_bundle_may_leave_the_encoder_to_its_name(tmp_path, monkeypatch):
    folder, exp, bundle = (
        save(tmp_path / "hub/tiny", "wavlm", ["fake", "real"]),
        tmp_path / "exp",
        tmp_path / "bundle",
    )
    commands.run(monkeypatch, import_weights, *words(folder, exp))
    _, model, rows, labels = scored(tmp_path, exp)
    logits_to_llr(str(exp / "posteriors/dev/logits.scp"), pi_spoof=0.5)
    llrs = read_scores(exp / "posteriors/dev/llr.txt")
    monkeypatch.setenv("WEDEFENSE_MODELS", str(tmp_path / "hub"))
    export_bundle(
        str(exp), str(bundle), labels, "mit", "ours", model_path=model, reference_encoder=True
    )
    assert {
        name.split(".")[0] for name in safetensors.torch.load_file(bundle / "model.safetensors")
    } == {
        "model",
        "head",
    }
    assert "come by the name" in (bundle / "README.md").read_text()
    for row in rows:
        assert wedefense_lite.load(bundle, trim=False).score(row.path) == pytest.approx(
            llrs[row.key][0], abs=1e-5
        )
    encoder = safetensors.torch.load_file(folder / "model.safetensors")
    other = {name: value + 1e-6 for name, value in encoder.items()}
    safetensors.torch.save_file(other, folder / "model.safetensors")
    with pytest.raises(InputError, match="the encoder that it names has other weights than it had"):
        wedefense_lite.load(bundle)
    with pytest.raises(
        InputError, match=r"0 of \d+ numbers of its front end are those that come by name"
    ):
        export_bundle(
            str(exp), str(bundle), labels, "mit", "ours", model_path=model, reference_encoder=True
        )


def test_a_bundle_with_its_encoder_needs_no_other_file(tmp_path, monkeypatch):
    folder, exp, bundle = (
        save(tmp_path / "hub/tiny", "wavlm", ["fake", "real"]),
        tmp_path / "exp",
        tmp_path / "bundle",
    )
    commands.run(monkeypatch, import_weights, *words(folder, exp))
    _, model, rows, labels = scored(tmp_path, exp)
    logits_to_llr(str(exp / "posteriors/dev/logits.scp"), pi_spoof=0.5)
    export_bundle(str(exp), str(bundle), labels, "mit", "ours", model_path=model)
    shutil.rmtree(tmp_path / "hub")
    shutil.rmtree(exp / "models")
    detector, llrs = (
        wedefense_lite.load(bundle, trim=False),
        read_scores(exp / "posteriors/dev/llr.txt"),
    )
    embeddings = read_archive(exp / "e/embedding.scp")
    for row in rows:
        np.testing.assert_allclose(detector.embed(row.path), embeddings[row.key], rtol=0, atol=1e-6)
        assert detector.score(row.path) == pytest.approx(llrs[row.key][0], abs=1e-5)


def test_the_published_set_up_is_what_the_yaml_says():
    smaller = {name: SIZES[name] for name in ("num_hidden_layers", "conv_dim", "intermediate_size")}
    experiment = load_experiment(
        CONF, {"frontend.init_args.architecture": {"model_type": "wavlm", **smaller}}
    )
    training = experiment.training
    optimizer = training.optimizer([torch.nn.Parameter(torch.zeros(1))])
    assert type(optimizer) is torch.optim.AdamW and optimizer.defaults["lr"] == 1e-6
    assert (training.num_epochs, training.accumulate_steps, training.seed) == (6, 2, 42)
    assert (training.clip_norm, experiment.data.batch_size, optimizer.defaults["weight_decay"]) == (
        1.0,
        1,
        0.0,
    )
    factors = [training.schedule.factor(step, 10, 6) for step in range(60)]
    np.testing.assert_allclose(factors, np.linspace(1, 0, 60), atol=1e-12)


@pytest.mark.parametrize(
    ("labels", "options", "more", "said"),
    [
        (
            ["LABEL_0", "LABEL_1"],
            {},
            [],
            "its labels are LABEL_0, LABEL_1, expected two: --bonafide_label says",
        ),
        (["unreal", "real"], {}, [], "its labels are unreal, real,"),
        (["real", "human"], {}, [], "its labels are real, human,"),
        (["real", "fake"], {}, ["--bonafide_label", "Real"], "its labels are real, fake,"),
        (
            ["real", "fake"],
            {"rate": 8000},
            [],
            "made for 8000 Hz, but .*wavlm_classifier.yaml has 16000 Hz",
        ),
    ],
)
def test_labels_and_rates_that_do_not_fit_are_refused(
    labels, options, more, said, tmp_path, monkeypatch, capsys
):
    folder = save(tmp_path / "tiny", "wavlm", labels, **options)
    error = commands.refused(
        monkeypatch, capsys, import_weights, *words(folder, tmp_path / "exp", *more)
    )
    assert all(part in error for part in said.split(".*"))
    assert not (tmp_path / "exp").exists()


def test_the_option_says_which_label_is_bona_fide(tmp_path, monkeypatch):
    folder, heads = save(tmp_path / "tiny", "wavlm", ["LABEL_0", "LABEL_1"]), []
    for label in ("LABEL_0", "LABEL_1"):
        commands.run(
            monkeypatch, import_weights, *words(folder, tmp_path / label, "--bonafide_label", label)
        )
        heads.append(
            checkpoint.load(tmp_path / label / "models/best_model.pt")["model"][
                "head.linear.weight"
            ]
        )
    assert torch.equal(heads[0], heads[1].flip(0)) and not torch.equal(*heads)


def test_a_classifier_is_found_by_its_name_below_the_folder_of_models(tmp_path, monkeypatch):
    save(tmp_path / "hub/owner/tiny", "wavlm", ["fake", "real"])
    monkeypatch.setenv("WEDEFENSE_MODELS", str(tmp_path / "hub"))
    commands.run(monkeypatch, import_weights, *words(Path("owner/tiny"), tmp_path / "exp"))
    assert "model: owner/tiny\n" in (tmp_path / "exp/config.yaml").read_text()


def test_damaged_files_and_other_extractors_are_refused(tmp_path, monkeypatch, capsys):
    folder = save(tmp_path / "tiny", "wavlm", ["fake", "real"])
    transformers.ASTFeatureExtractor().save_pretrained(folder)
    error = commands.refused(monkeypatch, capsys, import_weights, *words(folder, tmp_path / "exp"))
    assert "a ASTFeatureExtractor, expected one that takes waveforms as they are" in error
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    error = commands.refused(monkeypatch, capsys, import_weights, *words(folder, tmp_path / "exp"))
    assert (
        "tiny: no audio classifier of transformers (" in error and not (tmp_path / "exp").exists()
    )


def test_what_is_no_trained_classifier_is_refused(tmp_path, monkeypatch, capsys):
    folder = save(tmp_path / "tiny", "wavlm", ["fake", "real"])
    transformers.AutoModel.from_pretrained(folder).save_pretrained(folder)
    error = commands.refused(monkeypatch, capsys, import_weights, *words(folder, tmp_path / "exp"))
    assert "a wavlm without classifier.bias, classifier.weight, projector.bias ..." in error
    error = commands.refused(
        monkeypatch, capsys, import_weights, *words(tmp_path / "none", tmp_path / "exp")
    )
    assert (
        "no audio classifier of transformers" in error
        and "preprocessor_config.json and model.safetensors" in error
    )
    error = commands.refused(
        monkeypatch, capsys, import_weights, *words(folder, tmp_path / "exp")[:-2]
    )
    assert "--seen is needed" in error
