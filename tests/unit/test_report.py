"""Stage 8: the page says what the files say, and needs nothing beside itself."""

import base64
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
from wedefense_lite.metrics.detection import SortedScores
from wedefense_lite.report.page import render, warnings
from wedefense_lite.report.pictures import bayes_error, best_epoch, draw
from wedefense_lite.report.run import read_run
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


def write_set(exp, data, name, shape, rng, change=lambda llr: llr):
    """Gaussian LLRs, harder for attacks with higher numbers, and their evaluation."""
    total, n_bonafide, attacks, distance = shape
    names = [f"LA_{name[0].upper()}_{1000000 + i}" for i in rng.permutation(total)]
    bonafide = np.arange(total) < n_bonafide
    attack = np.where(bonafide, "-", [f"A{rng.choice(attacks):02d}" for _ in names])
    harder = np.array([0.0 if a == "-" else 0.12 * int(a[1:]) for a in attack])
    llr = rng.normal(np.where(bonafide, distance, harder - distance), np.sqrt(2 * distance))
    scores, to = exp / "posteriors" / name / "llr.txt", data / name
    write_scores(scores, names, change(llr))
    write_sidecar(scores, Sidecar(class_prior=(0.6, 0.4), model="avg_model.pt"))
    keys = zip(names, np.where(bonafide, "bonafide", "spoof"))
    write_lines(to / "cm_key_file.txt", ["filename\tcm-label", *(f"{k}\t{v}" for k, v in keys)])
    write_table(to / "utt2attack", dict(zip(names, attack)))
    write_table(to / "utt2spk", {key: f"{name}_spk{i % 7}" for i, key in enumerate(names)})
    write_table(to / "utt2dur", {key: f"{rng.uniform(1, 6):.3f}" for key in names})
    evaluate(cm=str(scores), cm_key=str(to / "cm_key_file.txt"), meta=str(to / "utt2attack"),
             by="attack", bootstrap=20, json=str(exp / f"results_{name}.json"))  # fmt: skip


def write_history(path, rng):
    """Thirty epochs, every third one not validated."""
    rows = ["epoch,step,lr,train_loss,train_accuracy,dev_loss,dev_eer"]
    for epoch in range(1, 31):
        loss = max(0.65 * np.exp(-epoch / 9) + rng.normal(0, 0.015), 0.02)
        eer = 0.08 + 0.3 * np.exp(-epoch / 8) + 2e-4 * epoch**1.5 + rng.normal(0, 0.008)
        dev = f"{loss + 0.05 + 0.006 * epoch:.4f},{eer:.4f}" if epoch % 3 else ","
        rows.append(
            f"{epoch},{40 * epoch},{1e-3 * 0.93**epoch:.3e},{loss:.4f},{1 - loss / 2:.4f},{dev}"
        )
    write_lines(path, rows)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """An experiment and its data, as stages 1 to 7 leave them."""
    root, rng = tmp_path_factory.mktemp("run"), np.random.default_rng(1)
    exp, data = root / NASTY, root / "data"
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
def own(folders, tmp_path):
    """A copy of the folders to break."""
    exp, data = folders
    shutil.copytree(exp, tmp_path / "exp")
    return tmp_path / "exp", data


def text_of(page: str) -> str:
    """What a reader sees: no tags, no style."""
    body = page[page.index("<body>") :]
    return unescape(re.sub(r"<[^>]*>", " ", body))


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
            by = json.loads((folders[0] / f"results_{name}.json").read_text())["by"]
            expected += [
                (a, str(by[a]["n_spoof"]), f"{100 * by[a]['eer']:.2f}") for a in sorted(by)
            ]
        assert rows == expected and len(rows) == 13

    def test_lists_the_worst_scored_utterances_first(self, folders, page):
        exp, data = folders
        one = read_run(exp, data, ["dev"]).sets[0]
        worst = [one.key[one.bonafide][np.argmin(one.llr[one.bonafide])],
                 one.key[~one.bonafide][np.argmax(one.llr[~one.bonafide])]]  # fmt: skip
        tables = re.findall(r"with the \w+ scores</h3>.*?<td class=\"key\">(\w+)<", page, re.DOTALL)
        assert tables[:2] == worst

    def test_names_the_parts_of_the_system_and_where_it_came_from(self, page):
        assert "Detection · Fbank · ResNet18 · commit c2d9783 · seed 7" in text_of(page)
        assert "torch: 2.15.0" in text_of(page)

    def test_needs_no_network_and_runs_no_script(self, page):
        links = []
        parser = HTMLParser()
        parser.handle_starttag = lambda tag, attributes: links.extend(
            [(tag, value) for key, value in attributes if key in ("src", "href", "srcset", "data")]
            + [(tag, None)] * (tag in ("script", "link", "iframe", "object"))
        )
        parser.feed(page)
        assert len(links) == 4
        assert all(
            tag == "img" and value.startswith("data:image/svg+xml;base64,") for tag, value in links
        )
        assert not re.search(r"url\(|@import|http", page)

    def test_pictures_are_whole_and_ask_for_nothing(self, page):
        embedded = [
            base64.b64decode(code).decode() for code in re.findall(r"base64,([^\"]+)", page)
        ]
        assert len(embedded) == 4
        assert all(picture.rstrip().endswith("</svg>") for picture in embedded)
        assert not any(re.search(r'href="(?!#)', picture) for picture in embedded)

    def test_escapes_what_is_not_its_own(self, page):
        assert "<script" not in page
        assert text_of(page).count(NASTY) >= 3  # title, command, configuration

    def test_is_the_same_for_the_same_files(self, folders, page):
        run = read_run(*folders)
        assert render(run, draw(run)) == page

    def test_of_an_imported_model_says_that_there_are_no_training_curves(self, own):
        exp, data = own
        (exp / "metrics.csv").unlink()
        report(str(exp), str(data), sets="eval")
        page = (exp / "report.html").read_text()
        assert "not trained in this folder" in page and page.count("<img") == 3
        assert "chooses the best epoch" not in page

    def test_shows_the_calibrated_scores_of_a_set_beside_the_others(self, own):
        exp, data = own
        shutil.copytree(exp / "posteriors/eval", exp / "posteriors/eval_calibrated")
        shutil.copy(exp / "results_eval.json", exp / "results_eval_calibrated.json")
        run = read_run(exp, data)
        assert [one.name for one in run.sets] == ["dev", "eval", "eval_calibrated"]
        text = text_of(render(run, dict.fromkeys(("det", "histograms", "bayes_error"), "")))
        assert "eval_calibrated" in text
        assert text.count("with the lowest scores") == 2  # the order of the trials is the same


class TestInput:
    @pytest.mark.parametrize(
        "name",
        ["config.yaml", "env.json", "results_dev.json", "posteriors/dev/llr.txt"],
    )  # fmt: skip
    def test_missing_is_an_error_that_names_the_file(self, own, name):
        exp, data = own
        (exp / name).unlink()
        with pytest.raises(InputError, match=re.escape(str(exp / name))):
            report(str(exp), str(data), sets="dev,eval")

    def test_results_of_other_scores_are_refused_and_the_old_page_stays(self, own):
        exp, data = own
        write_text(exp / "report.html", "old")
        scores = exp / "posteriors/dev/llr.txt"
        header, first, *rest = scores.read_text().splitlines()
        write_lines(scores, [header, first.split()[0] + "\t-99", *rest])
        with pytest.raises(InputError, match="results_dev.json.*run stage 7 again"):
            report(str(exp), str(data))
        assert (exp / "report.html").read_text() == "old"

    def test_an_experiment_that_was_not_evaluated_is_refused(self, own):
        exp, data = own
        for path in exp.glob("results_*.json"):
            path.unlink()
        with pytest.raises(InputError, match="run stage 7 first"):
            report(str(exp), str(data))


class TestWarnings:
    def warned(self, tmp_path, change) -> str:
        exp, data, rng = tmp_path / "exp", tmp_path / "data", np.random.default_rng(2)
        write_set(exp, data, "dev", SETS["dev"], rng, change)
        write_text(exp / "config.yaml", CONFIG)
        write_json(exp / "env.json", ENV)
        report(str(exp), str(data), sets="dev")  # which draws any scores, also these
        return " ".join(warnings(read_run(exp, data, ["dev"])))

    def test_none_for_good_llrs(self, tmp_path):
        assert not self.warned(tmp_path, lambda llr: llr)

    def test_flipped_polarity(self, tmp_path):
        assert "polarity" in self.warned(tmp_path, lambda llr: -llr)

    def test_scores_far_from_calibrated(self, tmp_path):
        assert "far above min DCF" in self.warned(tmp_path, lambda llr: llr + 20)

    def test_none_for_perfect_and_infinite_scores(self, tmp_path):
        perfect = np.repeat([np.inf, -np.inf], (90, 160))
        assert not self.warned(tmp_path, lambda llr: perfect)


class TestCurves:
    def test_bayes_error_is_the_dcf_at_its_prior_and_never_below_the_minimum(self):
        rng = np.random.default_rng(3)
        scores = SortedScores(rng.normal(2, 2, 300), rng.normal(-2, 2, 500))
        log_odds = np.array([-9.0, -1.0, np.log(1.9), 2.0, 9.0])
        actual, minimum = bayes_error(scores, log_odds)
        assert actual[2] == pytest.approx(scores.act_dcf(), abs=1e-12)
        assert minimum[2] == pytest.approx(scores.min_dcf().value, abs=1e-12)
        assert (actual >= minimum - 1e-12).all() and (minimum <= 1).all()

    def test_bayes_error_of_no_information_is_one(self):
        actual, minimum = bayes_error(SortedScores([0.0], [0.0]), np.array([-3.0, -0.5, 0.5, 3.0]))
        assert actual == pytest.approx(1) and minimum == pytest.approx(1)

    def test_best_epoch_is_the_lowest_dev_eer_then_the_lowest_loss(self):
        nan = np.nan
        rows = [(1, nan, nan), (2, 0.2, 0.1), (3, 0.1, 0.5), (4, 0.1, 0.4), (5, nan, nan)]
        history = np.array(rows, dtype=[(name, float) for name in ("epoch", "dev_eer", "dev_loss")])
        assert best_epoch(history) == [4]
        assert len(best_epoch(history[:1])) == 0
