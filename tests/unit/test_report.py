"""Stage 8: the page says what the files say, and needs nothing beside itself."""

import base64
import dataclasses
import json
import re
import shutil
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pytest

from wedefense_lite.bin.evaluate import evaluate
from wedefense_lite.bin.report import report
from wedefense_lite.files import InputError, write_json, write_lines, write_table, write_text
from wedefense_lite.metrics.costs import DEFAULT
from wedefense_lite.metrics.detection import SortedScores
from wedefense_lite.mixtures.pictures import talker_timeline
from wedefense_lite.report.page import render, warnings
from wedefense_lite.report.pictures import (
    bayes_error,
    best_epoch,
    confusion,
    draw,
    reliability_points,
    share_at_or_above,
    svg,
)
from wedefense_lite.report.run import Run, ScoredSet, read_results, read_run
from wedefense_lite.scoring.scores import write_scores
from wedefense_lite.scoring.sidecar import Sidecar, write_sidecar

NASTY = "<script>alert('R&D')<"
# Name: trials, bona fide among them, attacks, half the distance of the class means.
SETS = {"dev": (250, 90, range(1, 6), 3.2), "eval": (400, 160, range(6, 14), 1.9)}
CONFIG = """\
system:
  class_path: wedefense_lite.systems.tasks.Detection
  init_args:
    frontend: {class_path: wedefense_lite.frontends.Fbank, init_args: {num_mel_bins: 80}}
    backbone: {class_path: wedefense_lite.models.ResNet18}
training: {seed: 7}
"""
ENV = {"command": f"train.py --exp_dir {NASTY}", "commit": "c2d9783", "seed": 7,
       "versions": {"torch": "2.15.0"}}  # fmt: skip

SCORE_PICTURES = ("det", "histograms", "bayes_error", "tippett", "reliability")


def unchanged(llr):
    return llr


def write_set(exp, data, name, shape, rng, change=unchanged):
    """Gaussian LLRs, harder for attacks with higher numbers, and their evaluation."""
    n_trials, n_bonafide, attacks, distance = shape
    keys = [f"LA_{name[0].upper()}_{1000000 + i}" for i in rng.permutation(n_trials)]
    bonafide = np.arange(n_trials) < n_bonafide
    label = np.where(bonafide, "bonafide", "spoof")
    attack = np.where(bonafide, "-", [f"A{rng.choice(attacks):02d}" for _ in keys])
    shift = np.array([0.0 if a == "-" else 0.12 * int(a[1:]) for a in attack])
    # LLRs of two Gaussians of one variance: their variance is twice the distance from 0.
    mean = np.where(bonafide, distance, shift - distance)
    llr = rng.normal(mean, np.sqrt(2 * distance))
    scores = exp / "posteriors" / name / "llr.txt"
    write_scores(scores, keys, change(llr))
    write_sidecar(scores, Sidecar(class_prior=(0.6, 0.4), model="avg_model.pt"))
    set_dir = data / name
    rows = [f"{key}\t{label}" for key, label in zip(keys, label)]
    write_lines(set_dir / "cm_key_file.txt", ["filename\tcm-label", *rows])
    write_table(set_dir / "utt2attack", dict(zip(keys, attack)))
    write_table(set_dir / "utt2spk", {key: f"{name}_spk{i % 7}" for i, key in enumerate(keys)})
    write_table(set_dir / "utt2dur", {key: f"{rng.uniform(1, 6):.3f}" for key in keys})
    evaluate(
        cm=str(scores),
        cm_key=str(set_dir / "cm_key_file.txt"),
        meta=str(set_dir / "utt2attack"),
        by="attack",
        bootstrap=20,
        json=str(exp / f"results_{name}.json"),
    )


def write_history(path, rng):
    """Thirty epochs, every third one not validated."""
    rows = ["epoch,step,lr,train_loss,train_accuracy,dev_loss,dev_eer"]
    for epoch in range(1, 31):
        loss = max(0.65 * np.exp(-epoch / 9) + rng.normal(0, 0.015), 0.02)
        eer = 0.08 + 0.3 * np.exp(-epoch / 8) + 2e-4 * epoch**1.5 + rng.normal(0, 0.008)
        dev_loss = loss + 0.05 + 0.006 * epoch
        dev = f"{dev_loss:.4f},{eer:.4f}" if epoch % 3 else ","
        rate = 1e-3 * 0.93**epoch
        accuracy = 1 - loss / 2
        rows.append(f"{epoch},{40 * epoch},{rate:.3e},{loss:.4f},{accuracy:.4f},{dev}")
    write_lines(path, rows)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """An experiment and its data, as stages 1 to 7 leave them."""
    root = tmp_path_factory.mktemp("run")
    rng = np.random.default_rng(1)
    exp = root / NASTY
    data = root / "data"
    for name, shape in SETS.items():
        write_set(exp, data, name, shape, rng)
    write_history(exp / "metrics.csv", rng)
    write_text(exp / "config.yaml", CONFIG + f"note: {NASTY!r}\n")
    write_json(exp / "env.json", ENV)
    return exp, data


@pytest.fixture(scope="module")
def page(folders):
    exp, data = folders
    report(exp_dir=str(exp), data_dir=str(data))
    return (exp / "report.html").read_text()


@pytest.fixture
def copy(folders, tmp_path):
    """A copy of the folders to break."""
    exp, data = folders
    shutil.copytree(exp, tmp_path / "exp")
    return tmp_path / "exp", data


def text_of(page: str) -> str:
    """Text of a page for its reader: no tags, no style."""
    body = page[page.index("<body>") :]
    return unescape(re.sub(r"<[^>]*>", " ", body))


class LinkParser(HTMLParser):
    """Parser that collects everything that a browser would load or run."""

    def __init__(self):
        super().__init__()
        self.links = []

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name in ("src", "href", "srcset", "data"):
                self.links.append((tag, value))
        if tag in ("script", "link", "iframe", "object"):
            self.links.append((tag, None))


class TestPage:
    def test_shows_every_pooled_number_of_the_results(self, folders, page):
        text = text_of(page)
        for name in SETS:
            results = json.loads((folders[0] / f"results_{name}.json").read_text())
            for metric in ("eer", "eer_rocch"):
                assert f"{100 * results[metric]:.2f} %" in text
            for metric in ("min_dcf", "act_dcf", "cllr", "min_cllr", "auc"):
                assert f"{results[metric]:.3f}" in text
            low, high = results["ci"]["eer"]
            assert f"95 % interval {100 * low:.2f}–{100 * high:.2f} %" in text

    def test_has_a_row_for_every_attack_in_order(self, folders, page):
        rows = re.findall(
            r"<tr><td>(A\d\d)</td><td>(\d+)</td><td class=\"bar\">.*?</i>([\d.]+) %", page
        )
        expected = []
        for name in SETS:
            by_attack = json.loads((folders[0] / f"results_{name}.json").read_text())["by"]
            for attack in sorted(by_attack):
                results = by_attack[attack]
                eer = f"{100 * results['eer']:.2f}"
                expected.append((attack, str(results["n_spoof"]), eer))
        assert rows == expected
        assert len(rows) == 13

    def test_lists_the_worst_scored_utterances_first(self, folders, page):
        exp, data = folders
        dev = read_run(exp, data, ["dev"]).sets[0]
        lowest_bonafide = np.argmin(dev.llr[dev.bonafide])
        highest_spoof = np.argmax(dev.llr[~dev.bonafide])
        worst = [dev.key[dev.bonafide][lowest_bonafide], dev.key[~dev.bonafide][highest_spoof]]
        tables = re.findall(r"with the \w+ scores</h3>.*?<td class=\"key\">(\w+)<", page, re.DOTALL)
        assert tables[:2] == worst

    def test_names_the_parts_of_the_system_and_where_it_came_from(self, page):
        assert "Detection · Fbank · ResNet18 · commit c2d9783 · seed 7" in text_of(page)
        assert "torch: 2.15.0" in text_of(page)

    def test_needs_no_network_and_runs_no_script(self, page):
        parser = LinkParser()
        parser.feed(page)
        icon, of_icon, *pictures = parser.links
        # An icon of its own keeps a browser from asking for one.
        assert (icon, of_icon) == (("link", "data:,"), ("link", None))
        assert len(pictures) == 6
        for tag, address in pictures:
            assert tag == "img"
            assert address.startswith("data:image/svg+xml;base64,")
        assert not re.search(r"url\(|@import|https?:", page)

    def test_pictures_are_whole_and_ask_for_nothing(self, page):
        codes = re.findall(r"base64,([^\"]+)", page)
        assert len(codes) == 6
        for code in codes:
            picture = base64.b64decode(code).decode()
            assert picture.rstrip().endswith("</svg>")
            assert not re.search(r'href="(?!#)', picture)

    def test_escapes_what_is_not_its_own(self, page):
        assert "<script" not in page
        assert text_of(page).count(NASTY) >= 3  # title, command, configuration

    def test_is_the_same_for_the_same_files(self, folders, page):
        exp, data = folders
        report(exp_dir=str(exp), data_dir=str(data))
        assert (exp / "report.html").read_text() == page

    def test_of_an_imported_model_says_that_there_are_no_training_curves(self, copy):
        exp, data = copy
        (exp / "metrics.csv").unlink()
        report(str(exp), str(data), sets="eval")
        page = (exp / "report.html").read_text()
        assert "not trained in this folder" in page
        assert page.count("image/svg") == 5
        assert "chooses the best epoch" not in page

    def test_shows_the_calibrated_scores_of_a_set_beside_the_others(self, copy):
        exp, data = copy
        shutil.copytree(exp / "posteriors/eval", exp / "posteriors/eval_calibrated")
        shutil.copy(exp / "results_eval.json", exp / "results_eval_calibrated.json")
        run = read_run(exp, data)
        assert [scored.name for scored in run.sets] == ["dev", "eval", "eval_calibrated"]
        text = text_of(render(run, dict.fromkeys(SCORE_PICTURES, "")))
        assert "eval_calibrated" in text
        # Calibration keeps the order of the trials, so they are listed once.
        assert text.count("with the lowest scores") == 2


class TestInput:
    @pytest.mark.parametrize(
        "name", ["config.yaml", "env.json", "results_dev.json", "posteriors/dev/llr.txt"]
    )
    def test_missing_is_an_error_that_names_the_file(self, copy, name):
        exp, data = copy
        (exp / name).unlink()
        with pytest.raises(InputError, match=re.escape(str(exp / name))):
            report(str(exp), str(data), sets="dev,eval")

    def test_results_of_other_scores_are_refused_and_the_old_page_stays(self, copy):
        exp, data = copy
        write_text(exp / "report.html", "old")
        scores = exp / "posteriors/dev/llr.txt"
        lines = scores.read_text().splitlines()
        utterance = lines[1].split()[0]
        lines[1] = f"{utterance}\t-99"
        write_lines(scores, lines)
        write_sidecar(scores, Sidecar())
        with pytest.raises(InputError, match="run stage 7 again|of another run"):
            report(str(exp), str(data))
        assert (exp / "report.html").read_text() == "old"

    def test_an_experiment_that_was_not_evaluated_is_refused(self, copy):
        exp, data = copy
        for path in exp.glob("results_*.json"):
            path.unlink()
        with pytest.raises(InputError, match="run stage 7 first"):
            report(str(exp), str(data))


class TestWarnings:
    def warnings_of(self, tmp_path, change) -> str:
        exp = tmp_path / "exp"
        data = tmp_path / "data"
        write_set(exp, data, "dev", SETS["dev"], np.random.default_rng(2), change)
        write_text(exp / "config.yaml", CONFIG)
        write_json(exp / "env.json", ENV)
        report(str(exp), str(data), sets="dev")  # every picture can be drawn of these scores
        return " ".join(warnings(read_run(exp, data, ["dev"])))

    def test_none_for_good_llrs(self, tmp_path):
        assert not self.warnings_of(tmp_path, lambda llr: llr)

    def test_flipped_polarity(self, tmp_path):
        assert "polarity" in self.warnings_of(tmp_path, lambda llr: -llr)

    def test_scores_far_from_calibrated(self, tmp_path):
        assert "far above min DCF" in self.warnings_of(tmp_path, lambda llr: llr + 20)

    def test_none_for_perfect_and_infinite_scores(self, tmp_path):
        perfect = np.repeat([np.inf, -np.inf], (90, 160))
        assert not self.warnings_of(tmp_path, lambda llr: perfect)


def test_a_reliability_point_is_the_share_of_bona_fide_in_its_bin():
    """Each class has half of the weight, however many trials it has."""
    log_odds = np.log(0.75 / 0.25)
    scores = SortedScores([log_odds, log_odds, -np.inf], [log_odds, -log_odds, -9.0, -np.inf])
    predicted, observed = reliability_points(scores, bins=4)
    # Weights of a sixth and of an eighth; posteriors of .75, .25, and near 0.
    near_zero = 1 / (1 + np.exp(9)) / 8
    np.testing.assert_allclose(predicted, [near_zero / (1 / 6 + 2 / 8), 0.25, 0.75])
    np.testing.assert_allclose(observed, [(1 / 6) / (1 / 6 + 2 / 8), 0, (2 / 6) / (2 / 6 + 1 / 8)])


class TestCurves:
    def test_bayes_error_is_the_dcf_at_its_prior_and_never_below_the_minimum(self):
        rng = np.random.default_rng(3)
        scores = SortedScores(rng.normal(2, 2, 300), rng.normal(-2, 2, 500))
        log_odds = np.array([-9.0, -1.0, np.log(1.9), 2.0, 9.0])
        actual, minimum = bayes_error(scores, log_odds)
        assert actual[2] == pytest.approx(scores.act_dcf(), abs=1e-12)
        assert minimum[2] == pytest.approx(scores.min_dcf().value, abs=1e-12)
        assert (actual >= minimum - 1e-12).all()
        assert (minimum <= 1).all()

    def test_a_score_at_a_value_counts_in_a_tippett_plot(self):
        """As at a threshold: at or above it is bona fide."""
        shares = share_at_or_above(np.array([2.0, 0.0, 1.0, 1.0]), np.array([-1, 0, 1, 1.5, 2, 3]))
        np.testing.assert_array_equal(shares, [1, 1, 0.75, 0.25, 0.25, 0])

    def test_bayes_error_of_no_information_is_one(self):
        actual, minimum = bayes_error(SortedScores([0.0], [0.0]), np.array([-3.0, -0.5, 0.5, 3.0]))
        assert actual == pytest.approx(1)
        assert minimum == pytest.approx(1)

    def test_best_epoch_is_the_lowest_dev_eer_then_the_lowest_loss(self):
        nan = np.nan
        rows = [(1, nan, nan), (2, 0.2, 0.1), (3, 0.1, 0.5), (4, 0.1, 0.4), (5, nan, nan)]
        history = np.array(rows, dtype=[(name, float) for name in ("epoch", "dev_eer", "dev_loss")])
        assert best_epoch(history) == [4]
        assert len(best_epoch(history[:1])) == 0


def test_a_page_has_no_control_characters(folders):
    exp, data = folders
    hostile = dataclasses.replace(
        read_run(exp, data, ["dev"]),
        name="x\x1b[2J",
        config_text="system: '\x1b]0;title\x07'\n\tmore\n",
        env={"command": "\x9b31m"},
    )
    page = render(hostile, dict.fromkeys([*SCORE_PICTURES, "training"], ""))
    assert not set(page) & {"\x1b", "\x07", "\x9b"}
    assert "x\\x1b[2J" in page and "\n\tmore\n" in page


def test_names_are_no_formulas_in_any_picture():
    """Of a set, a talker, a class: text between dollars, and what matplotlib can't set."""
    name = "$x_{$ and \\frac"
    is_bonafide = np.array([True, True, False, False])
    llr = np.array([2.0, -0.5, 1.0, -3.0])
    scores = SortedScores(llr[is_bonafide], llr[~is_bonafide])
    column = np.array([name] * 4)
    results = {"eer": scores.eer().value, "eer_threshold": 0.0}
    scored = ScoredSet(
        name, column, llr, is_bonafide, column, column, np.ones(4), scores, DEFAULT, results
    )
    run = Run(name, "", {}, None, [scored])
    assert set(draw(run)) == set(SCORE_PICTURES)
    assert "<svg" in svg(confusion, ([[1, 2], [3, 4]], [name, "b"]))
    segment = {"start": 0.0, "end": 0.5, "llr": 1.0}
    talker = {"decision": "spoof", "segments": [segment]}
    assert "<svg" in talker_timeline(np.zeros(16000), 16000, {name: talker})


DAMAGED = {
    "results: a list": ("results_dev.json", "[1]", "expected an object"),
    "results: no EER": ("results_dev.json", '{"cllr": 1}', "eer is None, expected a number"),
    "results: an EER of text": ("results_dev.json", '{"eer": "1"}', "eer is '1', expected"),
    "results: NaN": ("results_dev.json", '{"eer": NaN}', "not JSON"),
    "environment: text": ("env.json", '"x"', "expected an object"),
    "history: nothing": ("metrics.csv", "", "no table of a training"),
    "history: another table": ("metrics.csv", "a,b\n1,2\n", "no column dev_eer"),
    "history: rows of two lengths": ("metrics.csv", "epoch,dev_eer\n1\n1,2,3\n", "no table"),
    "history: bytes": ("metrics.csv", "\x00\x01", "metrics.csv"),
}


@pytest.mark.parametrize(
    ("place", "told"),
    [
        (("eer_rocch",), "eer_rocch is '../x'"),
        (("ci", "auc", 0), "bound 0 of auc is '../x'"),
        (("by", "A01", "min_dcf"), "min_dcf is '../x'"),
        (("by", "A01", "n_spoof"), "n_spoof is '../x'"),
    ],
)
def test_a_text_where_a_page_shows_a_number_is_refused(tmp_path, place, told):
    row = {"eer": 0.1, "min_dcf": 0.2, "act_dcf": 0.3, "cllr": 0.4, "n_spoof": 5}
    row |= {"eer_threshold": 0.0}
    results = row | {"eer_rocch": 0.1, "cost": {"name": "x"}, "tie": "merge"}
    results |= {"by": {"A01": dict(row)}, "ci": {"auc": [0.1, None]}}
    path = tmp_path / "results_dev.json"
    write_json(path, results)
    assert read_results(path) == results
    *parents, name = place
    part = results
    for parent in parents:
        part = part[parent]
    part[name] = "../x"
    write_json(path, results)
    with pytest.raises(InputError, match=told):
        read_results(path)


@pytest.mark.filterwarnings("ignore:Empty input file")
@pytest.mark.filterwarnings("ignore:genfromtxt")
@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_files_are_named_in_one_line(copy, kind):
    exp, data = copy
    name, text, message = DAMAGED[kind]
    write_text(exp / name, text)
    with pytest.raises(InputError, match=message) as error:
        read_run(exp, data, ["dev"])
    assert "\n" not in str(error.value) and str(exp / name) in str(error.value)
