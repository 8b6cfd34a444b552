"""Explanations: the mask worked by hand, methods against their definitions, and the command."""

import json
import sys

import commands
import numpy as np
import pytest
import soundfile as sf
import tiny
import torch

from wedefense_lite.bin.explain import explain
from wedefense_lite.explain import mask as masks
from wedefense_lite.explain.attribution import (
    METHODS,
    Explained,
    attribute,
    completeness_error,
    feature_hertz,
    map_layers,
    named_layer,
    onto_grid,
    randomise_weights,
)
from wedefense_lite.explain.mask import (
    difference,
    gaussian,
    smooth,
    stft,
    top_cells,
    truth_mask,
)
from wedefense_lite.explain.measures import (
    against_mask,
    mean_with_interval,
    perturbation_curves,
    ratio_with_interval,
)
from wedefense_lite.files import InputError, write_table
from wedefense_lite.frontends import LFCC, Fbank
from wedefense_lite.scoring.bundle import Detector


def test_smoothing_worked_by_hand():
    """A single cell becomes the product of both Gaussians."""
    time = np.exp([-1 / 6, 0, -1 / 6])
    frequency = np.exp([-(k**2) / 10 for k in range(-5, 6)])
    np.testing.assert_allclose(gaussian(3, 3.0), time / time.sum())
    spectrum_QF = np.zeros((15, 7))
    spectrum_QF[7, 3] = 2.0
    smoothed_QF = smooth(spectrum_QF)
    expected_QF = np.zeros((15, 7))
    expected_QF[2:13, 2:5] = 2 * np.outer(frequency / frequency.sum(), time / time.sum())
    np.testing.assert_allclose(smoothed_QF, expected_QF, atol=1e-12)
    np.testing.assert_allclose(smooth(np.ones((15, 7))), 1)


def test_differences_and_top_cells_worked_by_hand():
    real_QF = np.array([[4.0, 2.0], [1.0, 0.0]])
    fake_QF = np.array([[1.0, 2.0], [2.0, 0.0]])
    assert difference(real_QF, fake_QF, "absolute").tolist() == [[3, 0], [1, 0]]
    assert difference(real_QF, fake_QF, "relative").tolist() == [[0.75, 0], [1, 0]]
    assert top_cells(difference(real_QF, fake_QF, "absolute"), 0.25).tolist() == [
        [True, False],
        [False, False],
    ]
    assert top_cells(np.zeros((10, 10)), 0.05).sum() == 5
    assert top_cells(np.zeros((3, 3)), 0.0).sum() == 1


@pytest.mark.parametrize("kind", ["absolute", "relative"])
def test_a_tone_that_a_vocoder_adds_is_the_mask(kind):
    """2 kHz from the middle on: bin 128, and not the first half."""
    rng = np.random.default_rng(0)
    real_T = 0.01 * rng.standard_normal(tiny.RATE)
    time = np.arange(tiny.RATE) / tiny.RATE
    fake_T = real_T + 0.3 * np.sin(2 * np.pi * 2000 * time) * (time > 0.5)
    mask_QF = truth_mask(real_T, fake_T, kind, share=0.01)
    assert mask_QF.shape == stft(torch.from_numpy(real_T)).shape
    bins, frames = np.nonzero(mask_QF)
    # Where the tone begins, it has all frequencies.
    assert np.median(bins) == 128 and (np.abs(bins - 128) <= 8).mean() > 0.9
    assert frames.min() >= 0.5 * tiny.RATE / masks.HOP - 3
    with pytest.raises(ValueError, match="expected as many"):
        truth_mask(real_T, fake_T[1:])


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    pytest.importorskip("captum", reason="the extra explain isn't installed")
    folder = tmp_path_factory.mktemp("models") / "tiny"
    return Detector(tiny.bundle(folder, class_prior=(0.5, 0.5)), trim=False)


@pytest.fixture
def explained(detector):
    return Explained(detector.task, detector.batch((np.float32(tiny.talking(0.6)), tiny.RATE)))


def gradient(explained: Explained, levels_QF: torch.Tensor) -> torch.Tensor:
    levels_BQF = levels_QF[None].clone().requires_grad_()
    (gradient_BQF,) = torch.autograd.grad(explained(levels_BQF).sum(), levels_BQF)
    return gradient_BQF[0]


def test_the_explained_function_is_the_detector(detector, explained):
    logits = detector.logits((np.float32(tiny.talking(0.6)), tiny.RATE))
    with torch.no_grad():
        evidence = float(explained(explained.levels_QF[None]))
    # Cells below the floor of -80 dB are raised to it.
    assert evidence == pytest.approx(logits[0] - logits[1], abs=0.005)
    assert abs(evidence) > 0.01, "its sign can be told"
    assert float(explained.levels_QF.max()) == pytest.approx(np.log(1e4), abs=1e-4)
    assert float(explained.levels_QF.min()) >= 0


def test_input_x_gradient_is_its_definition(explained):
    values_QF = attribute(explained, "input_x_gradient")
    expected = explained.levels_QF * gradient(explained, explained.levels_QF)
    np.testing.assert_allclose(values_QF, expected.numpy(), atol=1e-5)


def test_integrated_gradients_are_complete(detector):
    """Of a recording whose evidence is not that of silence by chance."""
    noise = 0.003 * np.random.default_rng(0).standard_normal(14400)
    wav_T = np.float32(tiny.talking(0.9) + noise)
    explained = Explained(detector.task, detector.batch((wav_T, tiny.RATE)))
    values_QF = attribute(explained, "integrated_gradients")
    with torch.no_grad():
        levels = explained.levels_QF[None]
        expected = float(explained(levels) - explained(torch.zeros_like(levels)))
    assert values_QF.sum() == pytest.approx(expected, rel=0.01)
    assert completeness_error(explained, values_QF) < 0.01
    assert completeness_error(explained, 1.1 * values_QF) > 0.05


def test_integrated_gradients_that_stay_incomplete_are_told(explained, monkeypatch, caplog):
    monkeypatch.setattr("wedefense_lite.explain.attribution.IG_STEPS", (2,))
    attribute(explained, "integrated_gradients")
    assert "of the evidence are missing from integrated gradients of 2 steps" in caplog.text
    caplog.clear()
    monkeypatch.setattr("wedefense_lite.explain.attribution.IG_STEPS", (2, 10**9))
    attribute(explained, "integrated_gradients", completes=False)
    assert caplog.text == ""


def test_grad_cam_is_its_definition(explained):
    """Maps of a layer, weighted by the means of their gradients; the positive part of the sum."""
    name, module = named_layer(explained, None)
    kept = {}

    def keep(_module, _inputs, output):
        output.retain_grad()
        kept["maps"] = output

    handle = module.register_forward_hook(keep)
    explained(explained.levels_QF[None].clone().requires_grad_()).sum().backward()
    handle.remove()
    maps_PDG = kept["maps"][0]
    weights_P = kept["maps"].grad[0].mean((1, 2))
    cam_DG = (weights_P[:, None, None] * maps_PDG).sum(0).clamp_min(0).detach()
    bins, frames = explained.levels_QF.shape
    expected_QF = onto_grid(cam_DG, explained.task.frontend, bins, frames)
    values_QF = attribute(explained, "grad_cam", name)
    np.testing.assert_allclose(values_QF, expected_QF, atol=1e-5)
    assert values_QF.shape == (bins, frames)


def test_a_layer_without_a_map_is_refused_with_those_that_have_one(explained):
    names = map_layers(explained)
    assert named_layer(explained, None)[0] == names[-1]
    with pytest.raises(InputError, match=f"no time-frequency map, expected .*{names[0]}"):
        named_layer(explained, "embed")


def test_maps_lie_where_their_features_are():
    """Of a filterbank by its mel frequencies; of cepstra in all bins alike."""
    frontend = Fbank(8)
    hertz_D = feature_hertz(frontend)
    assert (np.diff(hertz_D) > 0).all() and hertz_D[0] > 0 and hertz_D[-1] < 8000
    map_DG = torch.zeros(8, 4)
    map_DG[5, 2] = 1.0
    grid_QF = onto_grid(map_DG, frontend, 513, 4)
    bin_of_peak, frame_of_peak = np.unravel_index(grid_QF.argmax(), grid_QF.shape)
    assert frame_of_peak == 2
    assert bin_of_peak * 8000 / 512 == pytest.approx(hertz_D[5], abs=16)
    assert feature_hertz(LFCC()) is None
    grid_QF = onto_grid(map_DG, LFCC(), 513, 4)
    assert (grid_QF[:, 2] == 0.125).all() and grid_QF.sum() == pytest.approx(513 * 0.125)


def test_smooth_grad_is_a_mean_of_gradients_and_repeats(explained, monkeypatch):
    values_QF = attribute(explained, "smooth_grad", seed=1)
    assert (values_QF == attribute(explained, "smooth_grad", seed=1)).all()
    assert (values_QF != attribute(explained, "smooth_grad", seed=2)).any()
    monkeypatch.setattr("wedefense_lite.explain.attribution.SMOOTH_DEVIATION", 1e-7)
    plain_QF = gradient(explained, explained.levels_QF).numpy()
    values_QF = attribute(explained, "smooth_grad")
    np.testing.assert_allclose(values_QF, plain_QF, atol=1e-3 * np.abs(plain_QF).max())


def test_occlusion_of_all_is_the_evidence_over_silence(explained, monkeypatch):
    shape = tuple(explained.levels_QF.shape)
    monkeypatch.setattr("wedefense_lite.explain.attribution.OCCLUDED", shape)
    values_QF = attribute(explained, "occlusion")
    with torch.no_grad():
        levels = explained.levels_QF[None]
        expected = float(explained(levels) - explained(torch.zeros_like(levels)))
    np.testing.assert_allclose(values_QF, expected, rtol=1e-4)


def test_measures_worked_by_hand():
    """A hundred cells: 5 in the mask, of which 3 are among the 5 of the attribution."""
    mask_QF = np.zeros((10, 10), dtype=bool)
    mask_QF.flat[:5] = True
    values_QF = np.full((10, 10), -1.0)
    values_QF.flat[[0, 1, 2, 50, 51]] = [5, 4, 3, 2, 2]
    measures = against_mask(values_QF, mask_QF)
    assert measures == {"iou": 3 / 7, "precision": 0.6, "mass": 12 / 16, "rank": 0.6, "pointing": 1}
    values_QF.flat[60] = 9
    assert against_mask(values_QF, mask_QF)["pointing"] == 0


def test_curves_of_a_sum_worked_by_hand():
    """Evidence is the sum of levels: what is highest goes first, and comes first."""
    levels_QF = torch.tensor([[4.0, 3.0], [2.0, 1.0]])

    class Sum:
        def __init__(self):
            self.levels_QF = levels_QF

        def __call__(self, levels_BQF):
            return levels_BQF.sum((1, 2))

    best = perturbation_curves(Sum(), levels_QF.numpy())
    worst = perturbation_curves(Sum(), -levels_QF.numpy())
    # Shares .1 to .3 are one cell, .4 to .6 two (round half to even), .7 and .8 three.
    removed = [10, 6, 6, 6, 3, 3, 3, 1, 1, 0, 0]
    assert best["deletion"] == pytest.approx(np.trapezoid(removed, dx=0.1))
    assert best["insertion"] == pytest.approx(np.trapezoid(10 - np.array(removed), dx=0.1))
    assert worst["deletion"] > best["deletion"]


def test_intervals_hold_the_mean_and_pairs_stay_together():
    values = [0.2, 0.4, 0.6, 0.8]
    mean = mean_with_interval(values)
    assert mean["low"] < mean["mean"] == 0.5 < mean["high"]
    ratio = ratio_with_interval(values, [value / 2 for value in values])
    assert ratio == {"mean": 2.0, "low": pytest.approx(2.0), "high": pytest.approx(2.0)}


def test_weights_are_randomised_within_each_tensor(detector, tmp_path):
    task = tiny.parsed(tmp_path).system
    before = {name: value.clone() for name, value in task.named_parameters()}
    randomise_weights(task)
    changed = False
    for name, value in task.named_parameters():
        assert torch.equal(value.flatten().sort().values, before[name].flatten().sort().values)
        changed |= not torch.equal(value, before[name])
    assert changed


def test_the_command_explains_pairs_and_measures_them(monkeypatch, capsys, tmp_path, detector):
    wavs = {}
    rng = np.random.default_rng(0)
    for name in ("r1", "r2"):
        real_T = tiny.talking(0.6, seed=int(name[1]))
        sf.write(tmp_path / f"{name}.wav", real_T, tiny.RATE)
        fake_T = real_T + 0.01 * rng.standard_normal(len(real_T))
        sf.write(tmp_path / f"f{name[1]}.wav", fake_T[:-100], tiny.RATE)
        wavs |= {
            name: str(tmp_path / f"{name}.wav"),
            f"f{name[1]}": str(tmp_path / f"f{name[1]}.wav"),
        }
    write_table(tmp_path / "wav.scp", wavs)
    write_table(tmp_path / "pairs", {"f1": "r1", "f2": "r2"})
    methods = "input_x_gradient,grad_cam"
    words = ["--model", detector.folder, "--out_dir", tmp_path / "out", "--methods", methods]
    pairs = ["--wav_scp", tmp_path / "wav.scp", "--pairs", tmp_path / "pairs", "--pictures", "1"]
    commands.run(monkeypatch, explain, *words, *pairs)
    assert "iou_over_random" in capsys.readouterr().out
    content = json.loads((tmp_path / "out/explanations.json").read_text())
    assert list(content["recordings"]) == ["f1", "f2"]
    rows = content["summary"]
    expected = ["input_x_gradient", "grad_cam", "random"]
    expected += [f"{name}, randomised weights" for name in ("input_x_gradient", "grad_cam")]
    assert sorted(rows) == sorted(expected)
    assert set(rows["random"]) == set("iou precision mass rank pointing deletion insertion".split())
    assert 0 < rows["random"]["precision"]["mean"] < 0.15
    assert tiny.files(tmp_path / "out") == ["001.png", "explanations.json", "explanations.tsv"]
    # One recording without a real one has no ground truth.
    commands.run(
        monkeypatch, explain, *words[:4], "--fake", tmp_path / "f1.wav", "--methods", "occlusion"
    )
    rows = json.loads((tmp_path / "out/explanations.json").read_text())["summary"]
    assert set(rows["occlusion"]) == {"deletion", "insertion"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--fake", "a.wav", "--methods", "magic"], "--methods 'magic', expected input_x_gradient"),
        ([], "expected either --fake FILE, or --pairs TABLE"),
        (["--pairs", "pairs"], "--wav_scp is needed here"),
        (["--pairs", "pairs", "--real", "a.wav"], "--real goes with --fake"),
    ],
)
def test_options_that_mean_nothing_are_refused(
    monkeypatch, capsys, tmp_path, detector, words, said
):
    options = ["--model", detector.folder, "--out_dir", tmp_path]
    assert said in commands.refused(monkeypatch, capsys, explain, *options, *words)


def test_without_captum_the_way_to_it_is_said(monkeypatch, capsys, tmp_path, detector):
    monkeypatch.setitem(sys.modules, "captum", None)
    options = ["--model", detector.folder, "--out_dir", tmp_path, "--fake", "a.wav"]
    line = commands.refused(monkeypatch, capsys, explain, *options)
    assert "pip install 'wedefense_lite[explain]'" in line


def test_all_methods_are_covered():
    assert set(METHODS) == {
        *("input_x_gradient", "integrated_gradients", "smooth_grad", "grad_cam", "occlusion"),
        "random",
    }
