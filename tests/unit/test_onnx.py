"""Systems as ONNX files: the scores of PyTorch, without PyTorch."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import benchmark_onnx
import numpy as np
import pytest
import soundfile as sf
import tiny
import torch
from conftest import ROOT

import wedefense_lite
from wedefense_lite.bin.export_onnx import export_onnx
from wedefense_lite.files import InputError
from wedefense_lite.interop import onnx_export
from wedefense_lite.interop.onnx_runtime import METADATA_KEY, OnnxGraph
from wedefense_lite.scoring.bundle import Detector
from wedefense_lite.scoring.facts import BundleError
from wedefense_lite.scoring.onnx_detector import OnnxDetector
from wedefense_lite.scoring.recording_scores import Request
from wedefense_lite.serve.limits import Limits
from wedefense_lite.serve.pool import Pool, Upload
from wedefense_lite.systems.batch import Batch
from wedefense_lite.systems.experiment import load_experiment

onnx = pytest.importorskip("onnx", reason="the extra onnx isn't installed")
pytest.importorskip("onnxscript", reason="the extra onnx isn't installed")
pytest.importorskip("onnxruntime", reason="the extra onnx isn't installed")

# Systems without a pretrained encoder, smaller than they are, and the samples of a fixed length.
SYSTEMS = {
    "resnet18": ({"channels": 4, "embed_dim": 4, "blocks": [1, 1]}, 0),
    "lcnn": ({"channels": 4, "embed_dim": 4}, 0),
    "ecapa": ({"channels": 16, "embed_dim": 4, "scale": 2}, 0),
    "aasist_l": ({"channels": 4, "node_dim": 4, "graph_dim": 4}, 8000),
    "rawnet2": ({"embed_dim": 8, "gru_layers": 1}, 16000),
    "raw_cnn": ({}, 0),
    "lfcc_lcnn_lstm": ({"channels": 4}, 0),
    "se_res2net50": ({"blocks": [1, 1], "slice_frames": 40}, 0),
}
# Systems with an encoder, of which these are the sizes.
ENCODERS = ("xlsr_mhfa", "wavlm_large_mhfa")
ARCHITECTURE = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": 7 * [16],
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}
# Python imports it first: processes can't import what a device doesn't have.
SITECUSTOMIZE = """
import sys
class Refusal:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "scipy", "sklearn", "matplotlib", "transformers"):
            raise ImportError("not here: " + name)
sys.meta_path.insert(0, Refusal())
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A bundle with a calibration and a range of doubt, its ONNX files, a list and what export
    said.
    """
    folder = tmp_path_factory.mktemp("onnx")
    bundle = tiny.bundle(
        folder / "bundle",
        class_prior=(0.9, 0.1),
        scale=2.0,
        offset=-0.3,
        thresholds={"EER": -1e6},
        threshold=-1e6,
        doubt_share=0.25,
        doubt={"EER": (-1e7, -2e6)},
        dev_ranges={"seconds": (0.2, 0.9)},
    )
    rows = tiny.corpus(folder / "set")
    data_list, label = tiny.write_lists(folder, rows)
    paths = [str(folder / name) for name in ("x.onnx", "int8.onnx")]
    with pytest.MonkeyPatch.context() as patch:
        lines = []
        patch.setattr("builtins.print", lambda *words, **_: lines.append(" ".join(words)))
        export_onnx(
            str(bundle),
            paths[0],
            int8=paths[1],
            data_list=data_list,
            data_type="raw",
            label=label,
        )
    sf.write(folder / "a.wav", np.repeat(tiny.talking(1.3), 2), 2 * tiny.RATE)
    return SimpleNamespace(
        bundle=bundle, path=paths[0], int8=paths[1], said="\n".join(lines), wav=folder / "a.wav"
    )


def test_a_graph_scores_and_decides_as_its_bundle(exported):
    detector = Detector(exported.bundle)
    graph = wedefense_lite.load(exported.path)
    assert isinstance(graph, OnnxDetector)
    assert graph.facts == replace(detector.facts, hashes={})
    for options in ({}, {"trim": False}):
        expected = detector.answer(exported.wav, **options)
        answer = graph.answer(exported.wav, **options)
        assert answer.llr == pytest.approx(expected.llr, abs=1e-4)
        assert answer[2:3] + answer[4:] == expected[2:3] + expected[4:]
        assert answer.note.startswith("unlike dev: 1.30 s")
    assert graph.classify(exported.wav) == "bonafide"
    silence = graph.answer(np.zeros(16000))
    assert silence.llr is None and "no speech" in silence.note


def test_recordings_are_read_as_for_pytorch(exported):
    """Crop, repetition and pre-emphasis; the sample before a crop counts."""
    graph = OnnxDetector(exported.path)
    detector = Detector(exported.bundle)
    wav_T = tiny.talking(1.0)
    for seconds, crop in ((0.7, "centre"), (0.7, "first"), (1.4, "first"), (0.0, "first")):
        changes = {"eval_seconds": seconds, "eval_crop": crop, "pre_emphasis": 0.97}
        recording = graph._open(wav_T, None)
        read_T = graph._read(recording.utterance, replace(graph.data, **changes))
        batch = detector._read(recording.utterance, replace(detector.data, **changes))
        np.testing.assert_array_equal(read_T, batch.wav_BT[0].numpy())


def test_export_says_size_agreement_and_errors_of_8_bits(exported):
    lines = exported.said.splitlines()
    assert lines[0].startswith(f"{exported.path}: 0.") and "of those of PyTorch" in lines[0]
    table = [line for line in lines if "EER" in line or "+0.00" in line]
    assert len(table) >= 3 and "change of EER" in table[0]
    assert "0.0e+00" in table[1]


def test_weights_of_8_bits_leave_the_front_end_as_it_is(exported):
    nodes = onnx.load(exported.int8).graph.node
    assert any(node.op_type == "ConvInteger" for node in nodes)
    expected = OnnxDetector(exported.path).score(exported.wav)
    score = OnnxDetector(exported.int8).score(exported.wav)
    assert score != expected and score == pytest.approx(expected, abs=0.05)
    products = [node for node in nodes if node.op_type == "MatMul"]
    assert len(products) == 3  # real and imaginary part, and the filters


@pytest.fixture
def as_on_a_device(tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(SITECUSTOMIZE)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ROOT}")


@pytest.mark.parametrize("jobs", [1, 2])
def test_recordings_are_scored_where_there_is_no_pytorch_and_no_scipy(
    exported, as_on_a_device, jobs
):
    words = ["--model", exported.path, "--format", "json", "--jobs", str(jobs)]
    run = subprocess.run(
        [sys.executable, "-m", "wedefense_lite", "score", *words, str(exported.wav)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    row = json.loads(run.stdout)
    assert row["llr"] == pytest.approx(Detector(exported.bundle).score(exported.wav), abs=1e-4)
    assert row["decision"] == "bonafide"


def test_no_use_is_reported_to_anybody(exported, tmp_path, monkeypatch):
    """ONNX Runtime keeps what it will send in files of the user's cache and of TMPDIR."""
    for variable in ("HOME", "TMPDIR", "XDG_CACHE_HOME"):
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    score = "import sys, wedefense_lite; print(wedefense_lite.load(sys.argv[1]).score(sys.argv[2]))"
    run = subprocess.run(
        [sys.executable, "-c", score, exported.path, str(exported.wav)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_service_scores_where_there_is_no_pytorch_and_no_scipy(exported, as_on_a_device):
    processes = Pool(Request(exported.path, windows="first"), "cpu", Limits(), 1)
    try:
        reply = processes.submit(Upload(exported.wav.read_bytes(), num_peaks=5)).result()
    finally:
        processes.close()
    assert reply.scored.llr == OnnxDetector(exported.path).score(exported.wav)
    assert len(reply.peaks) == 5


def test_a_graph_that_differs_is_not_kept(exported, tmp_path, monkeypatch):
    class Program:
        model = SimpleNamespace(metadata_props={})

        def save(self, path):
            shutil.copy(exported.path, path)

    monkeypatch.setattr(onnx_export, "_written", lambda *_: Program())
    task = Detector(exported.bundle).task
    assert onnx_export.export(task, tmp_path / "same.onnx", 0, {}) < 1e-5
    with torch.no_grad():
        task.head.linear.bias += 2e-4
    with pytest.raises(InputError, match="differ by 0.0002 from those of PyTorch"):
        onnx_export.export(task, tmp_path / "other.onnx", 0, {})
    assert tiny.files(tmp_path) == ["same.onnx"]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (None, None, "no metadata 'wedefense_lite'"),
        (METADATA_KEY, "{", "damaged metadata"),
        (METADATA_KEY, '{"version": 2}', "metadata of version 2, expected 1"),
        (METADATA_KEY, '{"version": true}', "metadata of version True, expected 1"),
        (METADATA_KEY, '{"version": 1}', "no metadata features, samples"),
        (METADATA_KEY, "[" * 100_000, "damaged metadata: lists within lists"),
        (METADATA_KEY, "[1]", r"damaged metadata: \[1\]"),
    ],
)
def test_other_graphs_are_refused(exported, tmp_path, key, value, message):
    model = onnx.load(exported.path)
    del model.metadata_props[:]
    if key:
        onnx.helper.set_model_props(model, {key: value})
    onnx.save(model, tmp_path / "x.onnx")
    with pytest.raises(InputError, match=message):
        OnnxGraph(tmp_path / "x.onnx")
    (tmp_path / "text.onnx").write_text("text")
    with pytest.raises(InputError, match="no graph for ONNX Runtime"):
        OnnxGraph(tmp_path / "text.onnx")


@pytest.mark.parametrize(
    ("part", "name", "value", "message"),
    [
        ("", "features", ["inside"], "features is .*expected inside or outside"),
        ("", "samples", -5, "samples is -5"),
        ("", "samples", "x", "samples is 'x'"),
        ("reading", "sample_rate", 0, "sample_rate is 0, expected 1000 to 768000"),
        ("reading", "sample_rate", 10**12, r"sample_rate is 1e\+12"),
        ("reading", "sample_rate", "16000", "expected a whole number"),
        ("reading", "sample_rate", True, "expected a whole number"),
        ("reading", "channel", -1, "channel is -1"),
        ("reading", "eval_seconds", -3, "eval_seconds is -3"),
        ("reading", "eval_seconds", 1e6, r"eval_seconds is 1e\+06"),
        ("reading", "pre_emphasis", 1e30, r"pre_emphasis is 1e\+30"),
    ],
)
def test_metadata_that_can_not_be_right_is_refused(exported, tmp_path, part, name, value, message):
    model = onnx.load(exported.path)
    metadata = json.loads(model.metadata_props[0].value)
    changed = metadata[part] if part else metadata
    changed[name] = value
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {METADATA_KEY: json.dumps(metadata)})
    onnx.save(model, tmp_path / "x.onnx")
    with pytest.raises(InputError, match=message):
        OnnxDetector(tmp_path / "x.onnx")


@pytest.mark.parametrize("kind", ["three classes", "one class", "whole numbers", "no batch"])
def test_an_output_that_is_no_logits_is_refused(exported, tmp_path, kind):
    """The first two of three classes would be scored as the two."""
    model = onnx.load(exported.path)
    output = model.graph.output[0]
    last = next(node for node in model.graph.node if "logits" in node.output)
    last.output[list(last.output).index("logits")] = "right"
    onnx_type = onnx.TensorProto.FLOAT
    classes = {"three classes": 3, "one class": 1}.get(kind)
    helper = onnx.helper
    if classes is not None:
        model.graph.node.append(helper.make_node("Concat", 2 * ["right"], ["all"], axis=1))
        for name, value in (("first", 0), ("last", classes), ("axis", 1)):
            bound = helper.make_tensor(name, onnx.TensorProto.INT64, [1], [value])
            model.graph.initializer.append(bound)
        words = ["all", "first", "last", "axis"]
        model.graph.node.append(helper.make_node("Slice", words, ["logits"]))
    elif kind == "whole numbers":
        onnx_type = onnx.TensorProto.INT64
        model.graph.node.append(helper.make_node("Cast", ["right"], ["logits"], to=onnx_type))
    else:
        model.graph.node.append(helper.make_node("ReduceSum", ["right"], ["logits"], keepdims=0))
    output.CopyFrom(helper.make_tensor_value_info("logits", onnx_type, None))
    onnx.save(model, tmp_path / "x.onnx")
    detector = OnnxDetector(tmp_path / "x.onnx", trim=False)
    # Not an answer about the recording: no recording gets another one.
    with pytest.raises(BundleError, match="expected .1, 2. and float32"):
        detector.answer(exported.wav)


def test_a_pipe_is_no_graph(tmp_path):
    """Its library would wait for somebody who writes."""
    os.mkfifo(tmp_path / "x.onnx")
    with pytest.raises(InputError, match="a pipe, expected a file"):
        OnnxGraph(tmp_path / "x.onnx")
    with pytest.raises(InputError, match="No such file"):
        OnnxGraph(tmp_path / "y.onnx")


def test_options_that_can_not_go_together_are_refused(exported, tmp_path):
    bundle = str(exported.bundle)
    with pytest.raises(InputError, match="ends in .onnx"):
        export_onnx(bundle, str(tmp_path / "x"))
    with pytest.raises(InputError, match="expected both or neither"):
        export_onnx(bundle, str(tmp_path / "x.onnx"), data_list="raw.list")
    with pytest.raises(InputError, match="computes on the CPU alone"):
        wedefense_lite.load(exported.path, device="cuda")
    padded = tiny.bundle(tmp_path / "padded", data={"eval_seconds": 1.0, "pad": "zero"})
    with pytest.raises(InputError, match="data.pad is zero"):
        export_onnx(str(padded), str(tmp_path / "x.onnx"))


@pytest.mark.turns
@pytest.mark.parametrize("name", SYSTEMS)
def test_systems_are_the_same_in_other_engines(name, tmp_path):
    options, samples = SYSTEMS[name]
    changes = {f"model.init_args.{key}": value for key, value in options.items()}
    torch.manual_seed(0)
    task = load_experiment(ROOT / f"conf/{name}.yaml", changes).system
    metadata = {"reading": {}, "facts": {}, "model_hash": "", "config_hash": ""}
    path = tmp_path / "x.onnx"
    assert onnx_export.export(task, path, samples, metadata) <= 1e-4
    graph = OnnxGraph(path)
    assert graph.samples == samples
    # Speech, and not the noise that the export looks at.
    wav_BT = torch.from_numpy(tiny.talking((samples or 20011) / 16000))[None].float()
    batch = Batch(["a"], wav_BT, torch.tensor([wav_BT.shape[1]]), torch.tensor([0]))
    with torch.no_grad():
        expected_BC = task.eval().logits(batch)
    np.testing.assert_allclose(graph.logits(wav_BT.numpy()), expected_BC, rtol=0, atol=1e-4)
    if name == "resnet18":
        onnx_export.export(task, path, samples, metadata, "outside")
        with pytest.raises(InputError, match="takes frames of a front end, not audio"):
            OnnxDetector(path)


@pytest.mark.turns
@pytest.mark.parametrize("name", ENCODERS)
def test_systems_with_an_encoder_are_the_same_in_other_engines(name, tmp_path):
    pytest.importorskip("transformers", reason="the extra ssl isn't installed")
    changes = {"frontend.init_args.architecture": ARCHITECTURE, "model.init_args.num_layers": 3}
    torch.manual_seed(0)
    task = load_experiment(ROOT / f"conf/{name}.yaml", changes).system
    metadata = {"reading": {}, "facts": {}, "model_hash": "", "config_hash": ""}
    assert onnx_export.export(task, tmp_path / "x.onnx", 0, metadata) <= 1e-4


def test_size_latency_and_memory_are_measured(exported, capsys):
    benchmark_onnx.benchmark_onnx([exported.path, exported.int8], seconds=0.5, repeats=2)
    conditions, header, *rows = capsys.readouterr().out.splitlines()
    assert conditions == "1 threads, medians of 2"
    assert "real-time factor" in header
    numbers = [row.split()[1:] for row in rows if "onnx" in row]
    assert len(numbers) == 2
    for _, seconds, milliseconds, _, factor, _ in numbers:
        # Both are rounded.
        expected = float(milliseconds) / 1000 / float(seconds)
        assert float(factor) == pytest.approx(expected, abs=2e-4)
