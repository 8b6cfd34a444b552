"""Bundles: what stages 4 to 6 give, in one folder; and audio that a detector refuses to judge."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import commands
import numpy as np
import pytest
import safetensors.torch
import soundfile as sf
import tiny
import torch
from av_files import encoded, mp3_without_xing, wav_from_a_pipe
from hypothesis import given
from hypothesis import strategies as st

import wedefense_lite
from wedefense_lite.audio.reading import read
from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.bin.diarize_spoof import score_talker
from wedefense_lite.bin.evaluate import evaluate
from wedefense_lite.bin.export_bundle import export_bundle
from wedefense_lite.bin.extract import extract
from wedefense_lite.bin.infer import infer
from wedefense_lite.bin.logits_to_llr import logits_to_llr
from wedefense_lite.files import InputError, read_json, read_labels, write_json, write_lines
from wedefense_lite.metrics.doubt import doubtful_range
from wedefense_lite.provenance import file_hash
from wedefense_lite.scoring.archives import read_archive
from wedefense_lite.scoring.facts import BundleError, read_facts
from wedefense_lite.scoring.scores import read_scores
from wedefense_lite.systems import checkpoint

EVAL_SECONDS = 0.25


class Made:
    """A tiny system after stage 7: dev, and eval with and without a calibration on dev."""

    def __init__(self, folder: Path, **system):
        self.folder, self.exp = folder, folder / "exp"
        made = tiny.parsed(folder, system=system, data={"eval_seconds": EVAL_SECONDS}, num_epochs=1)
        self.rows = {
            name: tiny.corpus(folder / name, 9, seed)
            for seed, name in enumerate(("train", "dev", "eval"))
        }
        self.exp.mkdir()
        self.config, self.model = str(self.exp / "config.yaml"), str(self.exp / "models/model_1.pt")
        Path(self.config).write_text(made.text)
        tiny.trainer(made, self.exp, self.rows["train"]).fit()
        for name in ("dev", "eval"):
            listed, labels = tiny.write_lists(folder / name, self.rows[name])
            archive = str(self.exp / f"embeddings/{name}/embedding.ark")
            extract(self.config, self.model, listed, archive, "raw")
            posteriors = self.exp / f"posteriors/{name}"
            infer(self.model, self.config, archive.replace(".ark", ".scp"), str(posteriors))
            logits_to_llr(str(posteriors / "logits.scp"), pi_spoof=0.05)
            self.evaluate(name, labels)
        self.dev_label, self.dev = (
            str(folder / "dev/utt2lab"),
            str(self.exp / "posteriors/dev/logits.scp"),
        )
        self.calibration = str(self.exp / "posteriors/eval_calibrated/calibration.json")
        logits_to_llr(
            str(self.exp / "posteriors/eval/logits.scp"), 0.05, cal_logits_scp_path=self.dev, cal_label=self.dev_label,
            allow_negative_slope=True, llr_path=str(self.exp / "posteriors/eval_calibrated/llr.txt"),
        )  # fmt: skip
        self.evaluate("eval_calibrated", str(folder / "eval/utt2lab"))
        self.words = [
            "--exp_dir",
            self.exp,
            "--model_path",
            self.model,
            "--dev_label",
            self.dev_label,
        ]
        self.words += ["--licence", "cc-by-4.0", "--training_data", "tones: ours"]

    def evaluate(self, name: str, labels: str):
        key = self.folder / "key.txt"
        write_lines(
            key,
            [
                "filename\tcm-label",
                *(f"{utt}\t{label}" for utt, label in read_labels(labels).items()),
            ],
        )
        scores, results = self.exp / f"posteriors/{name}/llr.txt", self.exp / f"results_{name}.json"
        evaluate(cm=str(scores), cm_key=str(key), json=str(results))

    def export(self, name: str, **options) -> Path:
        about = {
            "dev_label": self.dev_label,
            "licence": "cc-by-4.0",
            "training_data": "tones: ours",
        }
        export_bundle(
            str(self.exp), str(self.folder / name), model_path=self.model, **about | options
        )
        return self.folder / name


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return Made(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def bundle(made):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parent)
        commands.run(patch, export_bundle, *made.words, "--out_dir", made.folder / "bundle", "--far", "0.4",
                     "--calibration", made.calibration)  # fmt: skip
    return made.folder / "bundle"


@pytest.fixture(scope="module")
def detector(bundle):
    """Detector of all of a recording, as stage 4 scores it; tones are no speech."""
    return wedefense_lite.load(bundle, trim=False)


def test_scores_and_embeddings_are_those_of_stages_4_to_6(made, detector):
    embeddings = read_archive(made.exp / "embeddings/eval/embedding.scp")
    llrs = read_scores(made.exp / "posteriors/eval_calibrated/llr.txt")
    plain = wedefense_lite.load(made.export("plain"), trim=False)
    for row in made.rows["eval"]:
        assert row.samples > EVAL_SECONDS * tiny.RATE
        np.testing.assert_allclose(detector.embed(row.path), embeddings[row.key], rtol=0, atol=1e-6)
        assert detector.score(row.path) == pytest.approx(llrs[row.key][0], abs=1e-5)
        raw = read_scores(made.exp / "posteriors/eval/llr.txt")[row.key][0]
        assert plain.score(row.path) == pytest.approx(raw, abs=1e-5)
        assert abs(raw - llrs[row.key][0]) > 1e-3


def test_an_experiment_is_a_detector_as_a_bundle_is(made, tmp_path):
    """Its LLRs are those of stage 6, its threshold is that of dev."""
    exp = tmp_path / "exp"
    shutil.copytree(made.exp, exp)
    with pytest.raises(InputError, match="neither bundle.json nor models/avg_model.pt"):
        wedefense_lite.load(exp)
    shutil.copy(made.model, exp / "models/avg_model.pt")
    detector = wedefense_lite.load(exp, trim=False)
    llrs = read_scores(made.exp / "posteriors/eval/llr.txt")
    for row in made.rows["eval"]:
        assert detector.score(row.path) == pytest.approx(llrs[row.key][0], abs=1e-5)
    threshold = read_json(exp / "results_dev.json")["eer_threshold"]
    assert detector.facts.thresholds == {"EER": threshold}
    (exp / "results_dev.json").unlink()
    assert wedefense_lite.load(exp).facts.thresholds == {"LLR 0": 0.0}
    (exp / "posteriors/dev/llr.txt").unlink()
    with pytest.raises(InputError, match="no posteriors/dev/llr.txt, .*: run stages 4 to 7"):
        wedefense_lite.load(exp)
    other = checkpoint.load(exp / "models/avg_model.pt")
    other["epoch"] = 99
    checkpoint.save(exp / "models/avg_model.pt", other)
    shutil.copytree(made.exp / "posteriors", exp / "posteriors", dirs_exist_ok=True)
    with pytest.raises(InputError, match="model_hash is"):
        wedefense_lite.load(exp)


def test_weights_come_back_bit_for_bit(made, bundle, detector):
    saved, found = checkpoint.load(made.model)["model"], detector.task.state_dict()
    assert saved.keys() == found.keys()
    assert all(
        torch.equal(saved[name], found[name]) and saved[name].dtype == found[name].dtype
        for name in saved
    )
    assert (bundle / "config.yaml").read_text() == Path(made.config).read_text()
    again = made.export("again", far=0.4, calibration=made.calibration)
    for name in tiny.files(bundle):
        if name != "README.md":
            assert (again / name).read_bytes() == (bundle / name).read_bytes()
    assert tiny.files(bundle) == ["README.md", "bundle.json", "config.yaml", "model.safetensors"]


def test_a_bundle_knows_what_dev_was_like_and_where_it_is_in_doubt(made):
    bundle = made.export(
        "ranges", dev_list=str(made.folder / "dev/raw.list"), data_type="raw", doubt_share=0.01
    )
    facts = read_facts(bundle / "bundle.json")
    seconds = [row.samples / tiny.RATE for row in made.rows["dev"]]
    assert min(seconds) <= facts.dev_ranges["seconds"][0] < facts.dev_ranges["seconds"][1]
    assert facts.dev_ranges["seconds"][1] <= max(seconds)
    detector = wedefense_lite.load(bundle, trim=False)
    trials = {"bonafide": [], "spoof": []}
    for row in made.rows["dev"]:
        answer = detector.answer(row.path)
        assert answer.note == ""
        trials[row.label].append(answer.llr)
    assert facts.bonafide_llrs == pytest.approx(sorted(trials["bonafide"]))
    expected = doubtful_range(*trials.values(), facts.threshold, 0.01)
    assert (expected is None) == (facts.doubt == {})
    if expected:
        assert facts.doubt["EER"] == pytest.approx(expected, abs=1e-5)
        assert "% of the decisions at the threshold EER" in (bundle / "README.md").read_text()
    assert detector.answer(0.02 * NOISE).note.startswith("unlike dev: level -5")


@pytest.mark.parametrize(
    ("option", "trained"),
    [({"lora_rank": 2}, "lora_B"), ({"ia3_targets": ["v_proj"]}, "ia3_l")],
)
def test_adapters_are_a_part_of_the_weights_of_a_bundle(option, trained, tmp_path):
    """It scores as the experiment does, has the encoder's own names, and asks for no adapters."""
    pytest.importorskip("peft", reason="the extra lora isn't installed")
    options = {"model": "made-up", "architecture": tiny.ENCODER, "trained": "none"} | option
    made = Made(
        tmp_path,
        frontend={"class_path": "SSL", "init_args": options},
        model={"class_path": "MeanPooling"},
    )
    saved = checkpoint.load(made.model)["model"]
    at_first = float(trained == "ia3_l")
    moved = [(value != at_first).any() for name, value in saved.items() if trained in name]
    assert any(moved), "trained"
    detector = wedefense_lite.load(made.export("bundle"), trim=False)
    llrs = read_scores(made.exp / "posteriors/eval/llr.txt")
    for row in made.rows["eval"]:
        assert detector.score(row.path) == pytest.approx(llrs[row.key][0], abs=1e-4)
    names = detector.task.state_dict()
    assert not [name for name in names if trained in name or "base_layer" in name]
    assert not detector.task.frontend.has_adapters
    with pytest.raises(InputError, match="adapters change the encoder"):
        made.export("referenced", reference_encoder=True)


def test_samples_are_the_file_that_holds_them(made, detector):
    path = made.rows["eval"][1].path
    int16, floats = (sf.read(path, dtype=dtype)[0] for dtype in ("int16", "float32"))
    for wav in (int16, floats, floats.astype(np.float64), torch.from_numpy(floats), list(floats)):
        assert detector.score(wav) == detector.score(path)
    longer = np.concatenate([int16, int16])  # what is scored has one length
    assert detector.score(longer) == detector.score(path) != detector.score(int16[100:])
    assert np.isfinite(detector.score(int16[:500]))


def test_thresholds_are_those_of_dev(made, bundle, detector):
    labels, facts = read_labels(made.dev_label), read_json(bundle / "bundle.json")
    scores = {label: np.array([detector.score(row.path) for row in made.rows["dev"] if row.label == label])
              for label in ("bonafide", "spoof")}  # fmt: skip
    assert len(labels) == 9 and facts["threshold"] == facts["thresholds"]["FAR 0.4"]
    # A third of the spoofs is the largest share not above 0.4, and a higher threshold would only
    # miss more.
    assert (scores["spoof"] >= facts["threshold"] + 1e-6).mean() <= 1 / 3
    assert (scores["spoof"] >= facts["threshold"] - 1e-6).mean() >= 1 / 3
    affine = facts["scale"], facts["offset"]
    eer = read_json(made.exp / "results_dev.json")["eer_threshold"]
    assert facts["thresholds"]["EER"] == pytest.approx(affine[0] * eer + affine[1], abs=1e-6)
    for row in made.rows["dev"]:
        expected = "bonafide" if detector.score(row.path) >= facts["threshold"] else "spoof"
        assert detector.classify(row.path) == expected
        assert detector.classify(row.path, threshold=-1e9) == "bonafide"
        assert detector.classify(row.path, threshold=1e9) == "spoof"


def test_a_threshold_can_be_on_the_logit_of_bona_fide(made):
    detector = wedefense_lite.load(made.export("logit", decide_on="bonafide_logit"), trim=False)
    for row in made.rows["dev"]:
        logit = detector.logits(row.path)[1]
        assert detector.classify(row.path, threshold=logit - 0.001) == "bonafide"
        assert detector.classify(row.path, threshold=logit + 0.001) == "spoof"
    logits = read_archive(made.dev)
    assert detector.facts.threshold in [
        pytest.approx(logits[row.key][1]) for row in made.rows["dev"]
    ]


def test_the_card_says_what_a_user_must_know(made, bundle):
    card, results = (bundle / "README.md").read_text(), read_json(made.exp / "results_eval.json")
    assert card.startswith('---\nlicense: "cc-by-4.0"\n')
    assert "Training data: tones: ours" in card and "Fbank, ResNet, CrossEntropy" in card
    assert (
        "They are calibrated" in card
        and "not calibrated" in (made.export("plain") / "README.md").read_text()
    )
    assert f"| eval | 3 | 6 | {100 * results['eer']:.3f} % |" in card
    threshold = read_json(bundle / "bundle.json")["threshold"]
    assert f"| FAR 0.4 | {threshold:.6g} |" in card


def audio(folder: Path, wav: np.ndarray, rate: int = tiny.RATE) -> str:
    sf.write(folder / "a.wav", wav, rate)
    return str(folder / "a.wav")


NOISE = np.random.default_rng(0).standard_normal(8000) * 0.1


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda folder: audio(folder, NOISE, 999),
            r"a\.wav: sample rate 999 Hz, expected 1000 to 768000 Hz",
        ),
        (
            lambda folder: audio(folder, NOISE * 0),
            r"a\.wav: silence, a level of 0 in what is scored",
        ),
        (lambda folder: audio(folder, np.append(np.zeros(4000), NOISE)), "silence"),
        (lambda folder: audio(folder, NOISE[:0]), r"a\.wav: no samples"),
        (lambda folder: str(folder / "none.wav"), r"none\.wav: No such file"),
        (lambda folder: "touch none.wav |", "a command, expected an audio file"),
        (lambda folder: np.zeros(8000, np.int16) + 1000, "samples: silence"),
        (lambda folder: np.float64([]), "no samples"),
        (
            lambda folder: NOISE * 32768,
            r"samples: float64, the largest \d+\.?\d*, expected int16, int32, uint8, or floats within 2",
        ),
        (lambda folder: NOISE / np.abs(NOISE).max() * 2.001, "the largest 2.001"),
        (lambda folder: np.where(NOISE > 0, np.nan, NOISE), "the largest nan"),
        (lambda folder: np.where(NOISE > 0, np.inf, NOISE), "the largest inf"),
        (lambda folder: NOISE.reshape(1, 1, -1), r"shape \(1, 1, 8000\)"),
        (lambda folder: NOISE[:6400].reshape(80, 80), r"shape \(80, 80\)"),
        (lambda folder: (NOISE * 1000).astype(np.uint16), "uint16"),
        (lambda folder: NOISE > 0, "bool"),
        (lambda folder: NOISE + 0j, "complex128"),
        (lambda folder: np.int64(NOISE * 2**40), "int64, the largest"),
        (lambda folder: ["a.wav", "b.wav"], "a list of texts"),
        (lambda folder: [[0.1, 0.2], [0.1]], "rows of different lengths"),
        (lambda folder: (NOISE, 0), "sample rate 0"),
        (lambda folder: (NOISE, 10**9), "sample rate 1000000000 Hz, expected 1000 to 768000 Hz"),
    ],
)
def test_audio_that_can_not_be_judged_is_refused(detector, tmp_path, make, said):
    for method in (detector.score, detector.classify, detector.embed):
        with pytest.raises(InputError, match=said) as error:
            method(make(tmp_path))
        assert "\n" not in str(error.value)


def test_a_recording_that_can_not_be_read_is_named_once(detector, tmp_path):
    path = tmp_path / "empty.wav"
    path.touch()
    with pytest.raises(InputError) as error:
        detector.score(str(path))
    assert str(error.value) == f"{path}: an empty file, expected audio"


def forms(int16: np.ndarray) -> dict:
    """The same samples in all forms in which people have them."""
    exact = int16 / 2.0**15
    tensor = torch.from_numpy(exact)
    return {
        "(T,) float64": exact,
        "(T,) float32": np.float32(exact),
        "(1, T)": exact[None],
        "(T, 1)": exact[:, None],
        "(T, 2)": np.stack([exact, exact], 1),
        "(2, T)": np.stack([exact, exact]),
        "int32": int16.astype(np.int32) << 16,
        "int32 of 16 bits": int16.astype(np.int32),
        "int64 of 16 bits": int16.tolist(),
        "tensor int16": torch.from_numpy(int16),
        "tensor (1, T) float64": tensor[None],
        "tensor with a gradient": tensor.clone().requires_grad_(),
        "soundfile.read": (exact, tiny.RATE),
        "torchaudio.load": (tensor[None].float(), tiny.RATE),
        "big-endian": int16.astype(">i2"),
    }


@pytest.mark.parametrize("name", forms(np.zeros(100, np.int16)))
def test_samples_of_any_dtype_and_shape_are_the_file_that_holds_them(made, detector, name):
    path = made.rows["eval"][1].path
    int16 = sf.read(path, dtype="int16")[0]
    assert detector.score(forms(int16)[name]) == detector.score(path)


def test_samples_of_few_bits_are_near(made, detector):
    path = made.rows["eval"][1].path
    wav = sf.read(path)[0]
    llr = detector.score(path)
    for samples in (
        torch.from_numpy(wav).half(),
        torch.from_numpy(wav).bfloat16(),
        np.uint8(np.rint(wav * 128) + 128),
        np.int8(np.rint(wav * 128).clip(-128, 127)),
    ):
        assert detector.score(samples) == pytest.approx(llr, abs=0.2)


def vowel(rate: int, seconds: float = 0.5) -> np.ndarray:
    """Voiced sound and noise up to 7.9 kHz, the same at every rate; its highest peak is 0.5."""
    time = np.arange(round(seconds * rate)) / rate
    wav = sum(np.sin(2 * np.pi * 120 * n * time + n * n) / n for n in range(1, 30))
    random = np.random.default_rng(0)
    for hertz, phase in zip(random.uniform(50, 7900, 800), random.uniform(0, 6.28, 800)):
        wav = wav + 0.01 * np.sin(2 * np.pi * hertz * time + phase)
    return 0.5 * wav / np.abs(wav).max()


def test_what_people_have_gets_the_llr_of_the_16_khz_mono_file(detector, tmp_path, caplog):
    """48 kHz stereo m4a, 44.1 kHz MP3 without a length, a pipe's WAV, integers, tensors."""
    llr = detector.score(audio(tmp_path, vowel(tiny.RATE)))
    stereo = np.stack([1.5 * vowel(48000), 0.5 * vowel(48000)], 1)
    (tmp_path / "a.m4a").write_bytes(encoded(stereo, 48000, "ipod", "aac", 256000))
    (tmp_path / "a.mp3").write_bytes(mp3_without_xing(vowel(44100), 44100))
    piped = wav_from_a_pipe((tmp_path / "a.wav").read_bytes(), 0xFFFFFFFF)
    (tmp_path / "piped.wav").write_bytes(piped)
    sf.write(tmp_path / "48.wav", stereo, 48000, subtype="FLOAT")
    with caplog.at_level("INFO"):
        # What resampling alone explains, and what the codecs add to it.
        # What resampling alone explains, and what the codec adds to it.
        assert detector.score(tmp_path / "48.wav") == pytest.approx(llr, abs=0.02)
        assert detector.score(tmp_path / "a.m4a") == pytest.approx(llr, abs=0.05)
    mp3 = read(Utterance("a", str(tmp_path / "a.mp3")), tiny.RATE)
    assert detector.score(tmp_path / "a.mp3") == detector.score(mp3)
    # 22,050 samples and the delay of the encoder, in whole frames.
    assert len(mp3) == -(-21 * 1152 * 16000 // 44100)
    delay = round(1105 * tiny.RATE / 44100)  # which no header states without Xing
    assert detector.score(mp3[delay:]) == pytest.approx(llr, abs=0.1)
    assert "a.m4a: mov/aac 48000 Hz 2 channels: resampled to 16000 Hz, mixed down" in caplog.text
    assert detector.score(tmp_path / "piped.wav") == llr
    assert detector.score((torch.from_numpy(stereo.T), 48000)) == detector.score(
        tmp_path / "48.wav"
    )
    right = detector.score(tmp_path / "48.wav", channel=2)
    assert right == detector.score((0.5 * vowel(48000), 48000))
    assert right != detector.score(tmp_path / "48.wav", channel=1)
    with pytest.raises(InputError, match="2 channels, expected channel 3 among them"):
        detector.score(tmp_path / "48.wav", channel=3)
    over = vowel(tiny.RATE) * 2 * 1.0003
    assert np.abs(over).max() == pytest.approx(1.0003)
    sf.write(tmp_path / "over.wav", over, tiny.RATE, subtype="FLOAT")
    assert detector.score(torch.from_numpy(over)[None]) == detector.score(tmp_path / "over.wav")


@pytest.mark.parametrize("name", ["config.yaml", "model.safetensors"])
def test_a_changed_file_is_named(bundle, tmp_path, name):
    shutil.copytree(bundle, tmp_path / "copy")
    with open(tmp_path / "copy" / name, "ab") as file:
        file.write(b"\n")
    with pytest.raises(InputError, match=f"{name}: its hash is .*, expected "):
        wedefense_lite.load(tmp_path / "copy")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"labels": ["bonafide", "spoof"]},
            r"bundle\.json: labels are \['bonafide', 'spoof'\], expected",
        ),
        ({"polarity": "higher is spoof"}, "polarity is 'higher is spoof'"),
        ({"version": 2}, r"bundle\.json: unknown field 'version', expected an object with"),
        ({"threshold": "0.5"}, r"bundle\.json: threshold is '0\.5', expected a finite number"),
        ({"threshold": True}, r"bundle\.json: threshold is True, expected a finite number"),
        ({"thresholds": {"EER": "x"}}, r"bundle\.json: thresholds is .*each value a finite number"),
        ({"scale": "1"}, r"bundle\.json: scale is '1', expected a finite number"),
        ({"scale": 10**400}, r"bundle\.json: scale is 10+, expected a finite number"),
        ({"scale": 0}, r"bundle\.json: scale is 0: every utterance would get the same score"),
        (
            {"scale": -1.0, "allow_negative_scale": False},
            r"bundle\.json: scale is -1\.0, expected a positive number",
        ),
        ({"offset": None}, r"bundle\.json: offset is None, expected a finite number"),
        (
            {"decide_on": "nonsense"},
            r"bundle\.json: decide_on is .*, expected llr or bonafide_logit",
        ),
        ({"decide_on": ["llr"]}, r"bundle\.json: decide_on is .*, expected llr or bonafide_logit"),
        ({"hashes": None}, r"bundle\.json: hashes is None, expected an object, each value text"),
        ({"hashes": {}}, r"config\.yaml: its hash is .*, expected None as in .*bundle\.json"),
        (
            {"class_prior": 0.5},
            r"bundle\.json: class_prior is 0\.5, expected a list, each a finite",
        ),
        ({"has_posterior": "no"}, r"bundle\.json: has_posterior is 'no', expected true or false"),
        ({"model": 7}, r"bundle\.json: model is 7, expected text"),
        ({"labels": [1, 2]}, r"bundle\.json: labels is \(1, 2\), expected a list, each text"),
    ],
)
def test_facts_that_can_not_be_right_are_refused(bundle, tmp_path, change, said):
    shutil.copytree(bundle, tmp_path / "copy")
    write_json(tmp_path / "copy/bundle.json", read_json(bundle / "bundle.json") | change)
    with pytest.raises(InputError, match=said):
        wedefense_lite.load(tmp_path / "copy")


@pytest.mark.parametrize("field", ["scale", "offset", "threshold", "thresholds", "decide_on"])
def test_facts_that_lack_a_field_are_refused(bundle, tmp_path, field):
    shutil.copytree(bundle, tmp_path / "copy")
    facts = read_json(bundle / "bundle.json")
    del facts[field]
    write_json(tmp_path / "copy/bundle.json", facts)
    with pytest.raises(InputError, match=f"bundle.json: no field '{field}'"):
        wedefense_lite.load(tmp_path / "copy")


def test_facts_from_before_a_field_existed_load(bundle, tmp_path):
    shutil.copytree(bundle, tmp_path / "copy")
    facts = read_json(bundle / "bundle.json")
    for field in ("frame_seconds", "score", "classes"):
        facts.pop(field, None)
    write_json(tmp_path / "copy/bundle.json", facts)
    facts = wedefense_lite.load(tmp_path / "copy").facts
    assert (facts.frame_seconds, facts.score, facts.classes) == (None, "difference", ())


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e999"])
@pytest.mark.parametrize("field", ["scale", "offset", "threshold"])
def test_facts_that_are_not_finite_are_refused(bundle, tmp_path, field, value):
    shutil.copytree(bundle, tmp_path / "copy")
    facts = read_json(bundle / "bundle.json") | {field: "VALUE"}
    text = json.dumps(facts).replace('"VALUE"', value)
    (tmp_path / "copy/bundle.json").write_text(text)
    with pytest.raises(InputError, match=r"bundle\.json: .*expected a finite number"):
        wedefense_lite.load(tmp_path / "copy")


def test_bundles_of_before_a_field_existed_load(bundle, tmp_path, detector):
    shutil.copytree(bundle, tmp_path / "copy")
    facts = read_json(bundle / "bundle.json")
    for field in ("frame_seconds", "allow_negative_scale"):
        del facts[field]
    write_json(tmp_path / "copy/bundle.json", facts)
    facts = replace(detector.facts, allow_negative_scale=False)
    assert wedefense_lite.load(tmp_path / "copy").facts == facts


def test_scores_are_turned_round_only_by_a_bundle_that_says_so(bundle, tmp_path):
    facts = read_json(bundle / "bundle.json") | {"scale": -2.0, "allow_negative_scale": True}
    write_json(tmp_path / "bundle.json", facts)
    assert read_facts(tmp_path / "bundle.json").scale == -2


def with_weights(bundle: Path, copy: Path, content: bytes) -> Path:
    """Copy of a bundle with other weights, whose hash is put right."""
    shutil.copytree(bundle, copy)
    (copy / "model.safetensors").write_bytes(content)
    facts = read_json(copy / "bundle.json")
    facts["hashes"]["model.safetensors"] = file_hash(copy / "model.safetensors")
    write_json(copy / "bundle.json", facts)
    return copy


def a_weight(state: dict) -> str:
    return next(name for name in state if name.endswith("weight"))


def lack(state: dict, ending: str) -> None:
    del state[next(name for name in state if name.endswith(ending))]


BAD_WEIGHTS = {
    "NaN": (
        lambda state: state[a_weight(state)].fill_(torch.nan),
        "has values that are not finite",
    ),
    "a weight is missing": (lambda state: lack(state, "weight"), "weights of another model"),
    "a counter is missing": (lambda state: lack(state, "num_batches_tracked"), "it lacks "),
    "a weight too many": (
        lambda state: state.update(stranger=torch.zeros(2)),
        "weights of another model.*stranger",
    ),
    "another shape": (
        lambda state: state.update({a_weight(state): torch.zeros(2)}),
        "weights of another model.*size mismatch",
    ),
}


@pytest.mark.parametrize("name", BAD_WEIGHTS)
def test_weights_that_can_not_be_right_are_refused(bundle, tmp_path, name):
    change, message = BAD_WEIGHTS[name]
    state = safetensors.torch.load_file(bundle / "model.safetensors")
    change(state)
    copy = with_weights(bundle, tmp_path / "copy", safetensors.torch.save(state))
    with pytest.raises(InputError, match=rf"model\.safetensors: .*{message}") as error:
        wedefense_lite.load(copy)
    assert "\n" not in str(error.value)


def test_what_is_no_safetensors_file_is_refused(bundle, tmp_path):
    copy = with_weights(bundle, tmp_path / "copy", b"\xff" * 100)
    with pytest.raises(InputError, match=r"model\.safetensors: not a readable safetensors file"):
        wedefense_lite.load(copy)
    (copy / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"model\.safetensors: No such file"):
        wedefense_lite.load(copy)


def test_scores_that_are_not_finite_are_errors(made, bundle, tmp_path):
    """Weights of 1e19 are finite, and what they give is not."""
    state = safetensors.torch.load_file(bundle / "model.safetensors")
    for name, value in state.items():
        if name.endswith("weight"):
            state[name] = torch.full_like(value, 1e19)
    copy = with_weights(bundle, tmp_path / "copy", safetensors.torch.save(state))
    detector = wedefense_lite.load(copy, trim=False)
    path = made.rows["eval"][0].path
    for method in (detector.score, detector.classify, detector.embed):
        with pytest.raises(BundleError, match="expected finite numbers: its weights are damaged"):
            method(path)
    wav, _ = sf.read(path)
    # Diarization leaves out speech that can't be scored; a damaged bundle is no such thing.
    with pytest.raises(BundleError):
        score_talker(detector, wav, [(0.0, len(wav) / tiny.RATE)], tiny.RATE)


def test_llrs_that_are_not_finite_are_errors(made, bundle):
    facts = replace(read_facts(bundle / "bundle.json"), scale=1e308)
    with pytest.raises(BundleError, match="give an LLR that is not finite"):
        facts.llr([[0.0, 100.0]])


def test_a_changed_configuration_is_not_even_read(bundle, tmp_path, monkeypatch):
    shutil.copytree(bundle, tmp_path / "copy")
    with open(tmp_path / "copy/config.yaml", "a") as file:
        file.write("# changed\n")
    monkeypatch.setattr("wedefense_lite.scoring.bundle.load_experiment", None)
    with pytest.raises(InputError, match=r"config\.yaml: its hash is .*, expected "):
        wedefense_lite.load(tmp_path / "copy")


@pytest.mark.parametrize("device", ["nonsense", "cuda:7"])
def test_a_device_that_is_not_there_is_refused(bundle, device):
    with pytest.raises(InputError, match=f"device '?{device}"):
        wedefense_lite.load(bundle, device)


@given(data=st.data())
def test_damage_of_the_facts_is_an_input_error_or_leaves_checked_facts(bundle, data):
    content = bytearray((bundle / "bundle.json").read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    extra = data.draw(st.binary(max_size=6))
    size = data.draw(st.sampled_from([0, len(extra), len(content)]))
    content[position : position + size] = extra
    damaged = bundle.parent / "damaged.json"
    damaged.write_bytes(content)
    try:
        facts = read_facts(damaged)
    except InputError as error:
        assert "\n" not in str(error)
        return
    assert np.isfinite([facts.scale, facts.offset, facts.threshold]).all()


def test_results_that_the_card_can_not_show_are_refused(made, tmp_path, monkeypatch, capsys):
    results = made.exp / "results_dev.json"
    before = results.read_text()
    write_json(results, read_json(results) | {"eer": "low"})
    words = [*made.words, "--out_dir", tmp_path / "out"]
    try:
        error = commands.refused(monkeypatch, capsys, export_bundle, *words)
    finally:
        results.write_text(before)
    assert "results_dev.json: eer is 'low', expected a number" in error


def test_scores_of_another_model_make_no_bundle(made, tmp_path, monkeypatch, capsys):
    state = checkpoint.load(made.model)
    checkpoint.save(tmp_path / "other.pt", state | {"epoch": 99})
    words = [*made.words, "--out_dir", tmp_path / "out", "--model_path", tmp_path / "other.pt"]
    assert "json: model_hash is" in commands.refused(monkeypatch, capsys, export_bundle, *words)
    words[-1] = made.model
    assert "far" in commands.refused(monkeypatch, capsys, export_bundle, *words, "--far", "1.5")
    error = commands.refused(monkeypatch, capsys, export_bundle, *words, "--reference_encoder")
    assert "0 of 0 numbers of its front end are those that come by name, expected more" in error
    assert not (tmp_path / "out").exists()


def test_importing_the_package_is_light():
    code = "import sys, wedefense_lite; wedefense_lite.load; sys.exit(any(m in sys.modules for m in ('torch', 'numpy')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
