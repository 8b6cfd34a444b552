"""Stage 8 beside metrics and curves: decisions, groups, embeddings, worst errors, tables."""

import base64
import inspect
import io
import json
import re
import shutil
from html import unescape

import matplotlib.image
import numpy as np
import pytest
import soundfile as sf
import tiny
from conftest import ROOT
from make_shard_list import make_shard_list
from reported import HOSTILE, LLRS, RATE, keys_of, write_experiment

from wedefense_lite.bin.compare_systems import compare_systems
from wedefense_lite.bin.report import report
from wedefense_lite.files import InputError, write_lines, write_table, write_text
from wedefense_lite.report.decisions import BAYES_RULE, DEV_RULE, decide, worst_errors
from wedefense_lite.report.embeddings import principal_axes, read_map, umap_axes
from wedefense_lite.report.groups import measure_groups, read_groups
from wedefense_lite.report.recordings import (
    add_audio,
    in_base64,
    list_errors,
    rate_of_config,
    spectrogram,
)
from wedefense_lite.report.run import CALIBRATED, read_run
from wedefense_lite.report.run_tables import group_rows, tables_of
from wedefense_lite.report.tables import as_latex
from wedefense_lite.scoring.archives import read_archive, write_archive
from wedefense_lite.scoring.sidecar import Sidecar, write_sidecar


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return write_experiment(tmp_path_factory.mktemp("experiment"))


@pytest.fixture(scope="module")
def run(folders):
    return read_run(*folders)


@pytest.fixture
def copy(folders, tmp_path):
    """A copy of the experiment to break, and the data."""
    shutil.copytree(folders[0], tmp_path / "exp_1")
    return tmp_path / "exp_1", folders[1]


def page_of(folders, **options) -> str:
    exp, data = folders
    report(str(exp), str(data), **options)
    return (exp / "report.html").read_text()


def players(page: str) -> list[bytes]:
    return [base64.b64decode(code) for code in re.findall(r"data:audio/flac;base64,([^\"]+)", page)]


def test_decisions_on_eval_are_at_the_threshold_of_dev(run):
    dev, eval_set = decide(run)
    assert dev.rule == eval_set.rule == DEV_RULE
    assert eval_set.threshold == dev.threshold == run.sets[0].results["eer_threshold"]
    assert 0 < dev.threshold <= 0.5
    # Counted in LLRS.
    assert dev[3:] == (3, 1, 1, 4)
    assert eval_set[3:] == (2, 2, 3, 3)
    assert (eval_set.miss, eval_set.false_alarm) == (0.5, 0.5)


def test_rates_of_groups_are_counted_by_hand(run):
    """At 0.0: two bona fide and two spoofs in each group, of which the rates are halves."""
    scored = run.sets[1]
    #        bona fide              spoof
    values = np.array([*"aabb", *"aabbbb"])
    table = measure_groups(scored, "codec", values, 0.0, bootstrap=0)
    first, second = table.groups
    assert (first.name, first.n_bonafide, first.n_spoof) == ("a", 2, 2)
    assert (second.name, second.n_bonafide, second.n_spoof) == ("b", 2, 4)
    assert [first.rates[rate].value for rate in ("eer", "miss", "fa")] == [0, 0, 0]
    # b: bona fide -0.5 and -1.5 are missed, spoofs 1.5, 2.5 and 0.75 are accepted.
    assert (second.rates["miss"].value, second.rates["fa"].value) == (1.0, 0.75)
    assert (table.gaps["miss"].value, table.gaps["fa"].value) == (1.0, 0.75)
    assert table.gaps["eer"].value == second.rates["eer"].value > 0.5


def test_principal_axes_are_those_of_largest_variance_with_a_fixed_sign():
    rng = np.random.default_rng(5)
    scale = np.array([0.5, 4.0, 0.1, 2.0])
    points_NE = rng.standard_normal((400, 4)) * scale + 7
    xy_N2, shares = principal_axes(points_NE)
    # The axes are nearly the second and the fourth coordinate, pointing the same way.
    assert np.corrcoef(xy_N2[:, 0], points_NE[:, 1])[0, 1] > 0.99
    assert np.corrcoef(xy_N2[:, 1], points_NE[:, 3])[0, 1] > 0.99
    variance = xy_N2.var(axis=0) / points_NE.var(axis=0).sum()
    assert shares == pytest.approx(tuple(variance))
    np.testing.assert_allclose(principal_axes(-points_NE)[0], -xy_N2, atol=1e-9)


def test_worst_errors_have_the_audio_and_a_spectrogram_of_their_own_recording(folders, run):
    errors = add_audio(list_errors(run, folders[1], 1), run.config_text, 1.0)
    keys = [(error.set_name, error.error, error.key) for error in errors]
    assert keys == [
        ("dev", "false alarm", "dev_8"),
        ("dev", "miss", "dev_3"),
        ("eval", "false alarm", HOSTILE),
        ("eval", "miss", "eval_3"),
    ]
    for error in errors:
        number = keys_of(error.set_name).index(error.key)
        wav_T, rate = sf.read(io.BytesIO(error.sound))
        assert (rate, len(wav_T)) == (RATE, RATE // 2)
        hertz = np.argmax(np.abs(np.fft.rfft(wav_T))) * RATE / len(wav_T)
        assert hertz == 500 + 250 * number
        picture = matplotlib.image.imread(io.BytesIO(error.picture))
        # Rows are frequencies, the highest above; the brightest is that of the tone.
        brightest = np.argmax(picture[..., :3].sum(axis=(1, 2)))
        assert (128 - brightest) * RATE / 256 == pytest.approx(hertz, abs=RATE / 256)


def test_embeddings_of_several_windows_are_at_their_mean(copy, run):
    exp, _ = copy
    one_window = read_map(run, exp, "pca")
    for name in LLRS:
        ark = exp / f"embeddings/{name}/embedding.ark"
        embeddings = dict(read_archive(ark.with_suffix(".scp")))
        windows = {}
        for number, (key, embedding_E) in enumerate(embeddings.items()):
            count = 1 + number % 3
            for window in range(count):
                shift = window - (count - 1) / 2
                windows[f"{key}#{window}.000000"] = np.float32(embedding_E + shift)
        write_archive(ark, windows.items())
        write_sidecar(ark, Sidecar(window_seconds=1.0))
    np.testing.assert_allclose(read_map(run, exp, "pca").xy_N2, one_window.xy_N2, atol=1e-5)


class TestDecisions:
    def test_a_score_at_the_threshold_is_accepted(self, run):
        dev = decide(run)[0]
        scored = run.sets[0]
        scores = sorted(scored.llr[scored.llr >= dev.threshold])
        at_a_score = worst_errors(scored, scores[0], 9)
        above_it = worst_errors(scored, np.nextafter(scores[0], np.inf), 9)
        assert len(at_a_score["false alarm"]) == 1 and len(above_it["false alarm"]) == 0

    def test_of_calibrated_scores_are_at_the_bayes_threshold(self, copy):
        exp, data = copy
        name = f"eval{CALIBRATED}"
        shutil.copytree(exp / "posteriors/eval", exp / "posteriors" / name)
        shutil.copy(exp / "results_eval.json", exp / f"results_{name}.json")
        calibrated = decide(read_run(exp, data))[2]
        assert (calibrated.name, calibrated.rule) == (name, BAYES_RULE)
        assert calibrated.threshold == pytest.approx(-0.6418539)
        assert calibrated[3:] == (3, 1, 3, 3)

    def test_without_dev_are_at_the_bayes_threshold_and_the_page_says_so(self, copy):
        exp, data = copy
        (exp / "results_dev.json").unlink()
        assert "eval: Bayes threshold of the costs, -0.642" in page_of((exp, data))

    def test_worst_errors_are_the_farthest_from_the_threshold_first(self, run):
        scored = run.sets[1]
        errors = worst_errors(scored, run.dev_threshold, 2)
        assert scored.llr[errors["false alarm"]].tolist() == [2.5, 1.5]
        assert scored.llr[errors["miss"]].tolist() == [-1.5, -0.5]


class TestGroups:
    def test_a_group_of_one_class_is_said_and_takes_no_part_in_the_gap(self, folders, run):
        scored = run.sets[1]
        values = read_groups(folders[1], scored, "language")
        table = measure_groups(scored, "language", values, 0.0, bootstrap=0)
        only_spoof = table.groups[-1]
        assert (only_spoof.name, only_spoof.n_bonafide, only_spoof.n_spoof) == ("xx", 0, 1)
        assert only_spoof.rates == {}
        rows = group_rows(table)
        assert rows[3] == ["xx", "0", "1", "one class", "one class", "one class"]
        assert rows[4][0].startswith("gap")
        misses = [group.rates["miss"].value for group in table.groups[:2]]
        assert table.gaps["miss"].value == max(misses) - min(misses)

    def test_one_group_has_no_gap(self, folders, run):
        values = read_groups(folders[1], run.sets[0], "codec")
        table = measure_groups(run.sets[0], "codec", values, 0.0, bootstrap=10)
        assert [group.name for group in table.groups] == ["none"]
        assert table.gaps == {} and len(group_rows(table)) == 2

    def test_intervals_hold_the_value_and_are_those_of_a_bootstrap_within_groups(self, run):
        """Intervals of a share of independent trials, from its standard error."""
        scored = run.sets[0]
        # Forty times the trials of dev, in two groups of equal trials.
        llr = np.tile(scored.llr, 40)
        bonafide = np.tile(scored.bonafide, 40)
        big = type(scored)(**(vars(scored) | {"llr": llr, "bonafide": bonafide}))
        values = np.repeat(["a", "b"], len(llr) // 2)
        table = measure_groups(big, "codec", values, 0.25, bootstrap=400)
        for group in table.groups:
            rate = group.rates["fa"]
            standard_error = np.sqrt(0.2 * 0.8 / group.n_spoof)
            assert rate.value == 0.2
            assert rate.ci[0] == pytest.approx(0.2 - 1.96 * standard_error, abs=0.02)
            assert rate.ci[1] == pytest.approx(0.2 + 1.96 * standard_error, abs=0.02)
        # A gap of no difference is 0, and its samples are above it.
        gap = table.gaps["fa"]
        assert gap.value == 0 and 0 <= gap.ci[0] < gap.ci[1] < 4 * standard_error

    def test_sex_comes_from_the_table_of_speakers(self, folders, run):
        values = read_groups(folders[1], run.sets[0], "sex")
        assert values.tolist() == ["f", "m", "f", "m", "f", "m", "f", "m", "f"]
        assert read_groups(folders[1], run.sets[0], "speaker")[1] == "spk1"

    def test_a_column_that_is_none_is_refused_with_those_that_are(self, folders):
        exp, data = folders
        with pytest.raises(InputError, match=r"no column 'age'.*its columns: language, codec"):
            report(str(exp), str(data), groups="age")

    def test_are_on_the_page_where_they_are_asked_for(self, copy):
        assert "<h2>Groups</h2>" not in page_of(copy)
        page = page_of(copy, groups="language,sex", bootstrap=20)
        assert page.count(" by language, threshold ") == 2 and page.count(" by sex, ") == 2


class TestEmbeddings:
    def test_of_one_dimension_or_of_equal_points_are_drawn_too(self):
        line_N2, shares = principal_axes(np.array([[1.0], [3.0]]))
        assert line_N2.tolist() == [[-1.0, 0.0], [1.0, 0.0]] and shares == (1.0, 0.0)
        equal_N2, shares = principal_axes(np.ones((3, 5)))
        assert not equal_N2.any() and shares == (0.0, 0.0)

    def test_have_a_point_for_each_utterance_with_its_columns(self, folders, run):
        points = read_map(run, folders[0], "pca")
        assert points.counts == {"dev": (9, 9), "eval": (10, 10)}
        assert points.utterances == keys_of("dev") + keys_of("eval")
        content = points.content()
        place = content["utterances"].index(HOSTILE)
        values = {}
        for name, column in content["columns"].items():
            values[name] = column["names"][column["values"][place]]
        assert values == {"class": "spoof", "attack": "A2", "speaker": "spk1", "set": "eval"}
        assert content["llrs"][place] == "2.50"
        # The largest variance is that of the LLRs, which are the second number of an embedding.
        assert np.corrcoef(content["x"], points.llrs)[0, 1] > 0.99
        assert min(content["x"]) == 0 and max(content["x"]) == 1000

    def test_of_a_large_set_are_sampled_alike_each_time_and_the_page_says_so(
        self, folders, run, monkeypatch
    ):
        first = read_map(run, folders[0], "pca", most_points=6)
        second = read_map(run, folders[0], "pca", most_points=6)
        assert first.counts == {"dev": (6, 9), "eval": (6, 10)}
        assert first.utterances == second.utterances and len(set(first.utterances)) == 12
        monkeypatch.setattr(read_map, "__defaults__", (6,))
        assert "dev: 6 of 9 utterances, drawn at random" in page_of(folders)

    def test_of_another_list_are_refused(self, copy):
        exp, data = copy
        scp = exp / "embeddings/dev/embedding.scp"
        write_lines(scp, scp.read_text().splitlines()[1:])
        scp.with_suffix(".json").unlink()
        with pytest.raises(InputError, match="no embedding of dev_0: run stage 4 again"):
            report(str(exp), str(data))
        assert "<h2>Embeddings</h2>" not in page_of(copy, projection="none")

    def test_of_another_run_are_refused(self, copy):
        exp, data = copy
        scp = exp / "embeddings/dev/embedding.scp"
        write_text(scp, scp.read_text() + "more x:1\n")
        with pytest.raises(InputError, match="embedding"):
            report(str(exp), str(data))

    def test_umap_without_its_package_is_refused_at_once(self, copy, monkeypatch):
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(InputError, match=r"pip install 'wedefense_lite\[umap\]'"):
            report(str(copy[0]), str(copy[1]), projection="umap")

    def test_umap_keeps_neighbours_and_is_the_same_each_time(self):
        pytest.importorskip("umap", reason="needs umap-learn")
        rng = np.random.default_rng(0)
        points_NE = np.concatenate([rng.normal(0, 1, (40, 8)), rng.normal(30, 1, (40, 8))])
        xy_N2 = umap_axes(points_NE)
        np.testing.assert_array_equal(xy_N2, umap_axes(points_NE))
        centres = xy_N2[:40].mean(axis=0), xy_N2[40:].mean(axis=0)
        spread = max(xy_N2[:40].std(), xy_N2[40:].std())
        assert np.linalg.norm(centres[0] - centres[1]) > 2 * spread


class TestWorstErrors:
    def test_audio_stays_below_the_size_and_the_page_states_both(self, folders, run):
        errors = add_audio(list_errors(run, folders[1], 9), run.config_text, 1.0)
        assert all(error.has_player for error in errors)
        sizes = [len(in_base64(error.sound)) for error in errors]
        megabytes = sum(sizes[:2]) / 1e6 + 1e-5
        page = page_of(folders, worst=9, inline_audio_mb=megabytes)
        sounds = players(page)
        assert 0 < len(sounds) < len(errors)
        assert sum(len(in_base64(sound)) for sound in sounds) <= 1e6 * megabytes
        assert f"{len(sounds)} of {len(errors)} recordings have a player" in page
        assert page.count('class="spectrogram"') == len(errors)
        assert players(page_of(folders, inline_audio_mb=0.0)) == []

    def test_a_recording_that_is_gone_is_said_in_its_place(self, copy, tmp_path):
        exp, data = copy
        shutil.copytree(data, tmp_path / "data")
        wavs = dict(line.split() for line in (data / "eval/wav.scp").read_text().splitlines())
        write_table(tmp_path / "data/eval/wav.scp", wavs | {"eval_3": "/nowhere.wav"})
        page = page_of((exp, tmp_path / "data"), worst=1)
        assert "No picture: " in page and "/nowhere.wav" in page
        assert len(players(page)) == 3

    def test_of_shards_alone_are_read_from_these(self, folders, run, tmp_path):
        """As streams of a separator are."""
        exp, data = folders
        shutil.copytree(data, tmp_path / "data")
        folder = tmp_path / "data/dev"
        make_shard_list(
            str(folder / "wav.scp"), "none", str(folder / "shards"), str(folder / "shard.list")
        )
        (folder / "wav.scp").unlink()
        of_shards = add_audio(list_errors(run, tmp_path / "data", 2), run.config_text, 1.0)
        of_files = add_audio(list_errors(run, data, 2), run.config_text, 1.0)
        assert [error.sound for error in of_shards] == [error.sound for error in of_files]
        assert all(error.sound for error in of_shards)
        shutil.rmtree(folder / "shards")
        page = page_of((exp, tmp_path / "data"))
        assert "No picture: dev has neither wav.scp nor shards with dev_3" in page

    def test_none_are_shown_where_none_are_asked_for(self, folders):
        assert "<h2>Worst errors</h2>" not in page_of(folders, worst=0)

    def test_the_rate_is_that_of_the_configuration(self):
        assert rate_of_config("data: {sample_rate: 8000}") == 8000
        assert rate_of_config("data: {}") == rate_of_config("a") == 16000
        assert rate_of_config("data: {sample_rate: -1}") == 16000

    def test_a_spectrogram_of_silence_or_of_a_few_samples_is_one(self):
        for wav_T in (np.zeros(1000), np.ones(3)):
            picture = matplotlib.image.imread(io.BytesIO(spectrogram(wav_T)))
            assert picture.shape[0] == 129

    def test_are_explained_by_another_model_where_it_is_named(self, copy, tmp_path):
        pytest.importorskip("captum", reason="needs captum")
        bundle = tiny.bundle(tmp_path / "tiny", data={"eval_seconds": 0.5})
        options = {"worst": 1, "explain": "input_x_gradient", "model": str(bundle)}
        page = page_of(copy, **options)
        codes = re.findall(r"base64,([^\"]+)\" alt=\"Explanation of ([^\"]+)", page)
        assert [unescape(key) for _, key in codes] == ["dev_8", "dev_3", HOSTILE, "eval_3"]
        # Spectrogram and attribution, of recordings that differ.
        assert len({code for code, _ in codes}) == 4
        assert page == page_of(copy, **options)
        with pytest.raises(InputError, match="neither bundle.json nor models/avg_model.pt"):
            page_of(copy, worst=1, explain="input_x_gradient")

    def test_a_method_that_is_none_is_refused(self, folders):
        pytest.importorskip("captum", reason="needs captum")
        with pytest.raises(InputError, match="--explain 'x', expected one of .*grad_cam"):
            report(str(folders[0]), str(folders[1]), explain="x")


class TestPage:
    def test_is_the_same_for_the_same_files(self, folders):
        options = {"groups": "language", "bootstrap": 20}
        assert page_of(folders, **options) == page_of(folders, **options)

    def test_shows_hostile_ids_as_text(self, folders):
        page = page_of(folders)
        assert HOSTILE not in page and "<img/src" not in page
        assert HOSTILE in unescape(page)
        data = re.search(r'id="map-data">(.*?)</script>', page, re.DOTALL)[1]
        assert HOSTILE in json.loads(data)["utterances"]

    def test_has_a_learning_rate_beside_the_other_curves(self, folders):
        code = re.search(
            r'Training</h3><img src="data:image/svg\+xml;base64,([^"]+)', page_of(folders)
        )[1]
        picture = base64.b64decode(code).decode()
        for label in ("train loss", "dev loss", "dev eer", "learning rate", "1e−03"):
            assert f"<!-- {label} -->" in picture

    def test_shows_what_lies_beside_it(self, copy):
        exp, data = copy
        picture = '<svg xmlns="http://www.w3.org/2000/svg"><text>{}</text></svg>'
        for number in range(8):
            write_text(exp / f"pictures/eval/u{number}.svg", picture.format(number))
        write_text(exp / "mixtures/eval/confusion.svg", picture.format("confusion"))
        page = page_of((exp, data))
        assert "<h3>eval: 6 of 8 utterances</h3>" in page
        assert in_base64(picture.format(5).encode()) in page
        assert in_base64(picture.format(6).encode()) not in page
        assert in_base64(picture.format("confusion").encode()) in page

    def test_may_load_nothing_but_itself(self, folders):
        page = page_of(folders)
        assert "Content-Security-Policy\" content=\"default-src 'none';" in page
        for address in re.findall(r"(?:src|href)=\"([^\"]*)\"", page):
            assert address.startswith("data:")


class TestTables:
    def test_each_table_is_written_twice(self, copy, tmp_path):
        folder = tmp_path / "tables"
        page_of(copy, tables=str(folder), groups="language", bootstrap=0)
        names = [f"{name}_{table}" for name in LLRS for table in ("conditions", "confusion", "groups_language", "hardest", "metrics")]  # fmt: skip
        assert sorted(path.name for path in folder.iterdir()) == sorted(
            f"{name}.{ending}" for name in names for ending in ("tsv", "tex")
        )
        confusion = (folder / "eval_confusion.tsv").read_text().splitlines()
        assert confusion[1:] == [
            "bona fide\t2\t2\t50.00 %",
            "spoof\t3\t3\t50.00 %",
        ]

    def test_latex_has_as_many_cells_in_each_row_and_no_bare_special_character(self, run):
        for rows in tables_of(run, decide(run), []).values():
            lines = as_latex(rows)
            columns = len(re.fullmatch(r"\\begin{tabular}{(lr*)}", lines[0])[1])
            assert (lines[1], lines[3], lines[-2]) == (r"\toprule", r"\midrule", r"\bottomrule")
            assert lines[-1] == r"\end{tabular}"
            for line in [lines[2], *lines[4:-2]]:
                assert line.endswith(r" \\")
                assert len(re.split(r" & ", line)) == columns
                assert not re.search(r"(?<!\\)[%#_<>|]", line.removesuffix(r" \\"))

    def test_latex_of_a_hostile_id_is_its_text(self, run):
        text = "\n".join(as_latex(tables_of(run, decide(run), [])["eval_hardest"]))
        assert r"\textless{}/script\textgreater{}" in text and r"\&\%\_\#" in text


def test_the_page_on_reading_a_report_names_options_that_there_are():
    options = set(inspect.signature(report).parameters)
    options |= set(inspect.signature(compare_systems).parameters) | {"config"}  # of a recipe
    text = (ROOT / "docs/report.md").read_text()
    named = set(re.findall(r"--(\w+)", text))
    assert named <= options
    assert {"projection", "groups", "worst", "inline_audio_mb", "explain", "tables"} <= named
