"""Systems by corpora."""

import json

import pytest
from commands import refused, run

from wedefense_lite.bin.cross_table import cross_table
from wedefense_lite.metrics.costs import DEFAULT
from wedefense_lite.metrics.detection import SortedScores


def write_results(folder, name, eer, min_dcf, **changes):
    folder.mkdir(exist_ok=True)
    results = {"n_bonafide": 10, "n_spoof": 90, "eer": eer, "min_dcf": min_dcf}
    results |= {"cost": DEFAULT.as_dict(), "tie": "merge"} | changes
    (folder / f"results_{name}.json").write_text(json.dumps(results))


@pytest.fixture
def systems(tmp_path):
    """System a was scored on two sets, b on one of them."""
    write_results(tmp_path / "a", "eval", 0.0083, 0.0275)
    write_results(tmp_path / "a", "eval_calibrated", 0.0083, 0.0275)
    write_results(tmp_path / "a", "in_the_wild", 0.4301, 1.0)
    (tmp_path / "a/results_frames.json").write_text(json.dumps({"range_eer": 0.2}))
    write_results(tmp_path / "b", "in_the_wild", 0.11336, 0.25)
    return [tmp_path / "a", tmp_path / "b"]


def print_table(monkeypatch, systems, *more):
    run(monkeypatch, cross_table, "--exp_dirs", ",".join(map(str, systems)), *more)


def test_rates_in_percent_and_empty_cells(monkeypatch, capsys, systems):
    print_table(monkeypatch, systems)
    line, *rows = capsys.readouterr().out.splitlines()
    assert line == f"cost model of min DCF: {DEFAULT}"
    assert rows == [
        "   eval EER %  eval min DCF  in_the_wild EER %  in_the_wild min DCF",
        "a        0.83        0.0275              43.01               1.0000",
        "b                                        11.34               0.2500",
    ]


def test_the_table_is_not_written_over_results_that_it_is_made_of(monkeypatch, capsys, systems):
    results = systems[0] / "results_eval.json"
    before = results.read_text()
    words = ("--exp_dirs", ",".join(map(str, systems)), "--json", results)
    assert "an input of this command" in refused(monkeypatch, capsys, cross_table, *words)
    assert results.read_text() == before


def test_json_and_markdown_of_chosen_sets(monkeypatch, tmp_path, systems):
    files = ("--json", tmp_path / "t.json", "--markdown", tmp_path / "t.md")
    print_table(monkeypatch, systems, "--sets", "in_the_wild,eval", *files)
    assert json.loads((tmp_path / "t.json").read_text()) == {
        "cost": DEFAULT.as_dict(),
        "systems": {
            "a": {
                "in_the_wild": {"eer": 0.4301, "min_dcf": 1.0},
                "eval": {"eer": 0.0083, "min_dcf": 0.0275},
            },
            "b": {"in_the_wild": {"eer": 0.11336, "min_dcf": 0.25}},
        },
    }
    assert (tmp_path / "t.md").read_text().splitlines() == [
        "| system | in_the_wild EER % | in_the_wild min DCF | eval EER % | eval min DCF |",
        "| --- | ---: | ---: | ---: | ---: |",
        "| a | 43.01 | 1.0000 | 0.83 | 0.0275 |",
        "| b | 11.34 | 0.2500 |  |  |",
        "",
        f"cost model of min DCF: {DEFAULT}",
    ]


def test_systems_of_one_name_are_told_apart(monkeypatch, capsys, tmp_path):
    for seed in ("one", "two"):
        (tmp_path / seed).mkdir()
        write_results(tmp_path / seed / "x", "eval", 0.1, 0.2)
    print_table(monkeypatch, [tmp_path / "one/x", tmp_path / "two/x"])
    assert f"{tmp_path / 'two/x'}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"n_spoof": 91},
            "b on in_the_wild: in_the_wild 10 bona fide and 91 spoofed trials, "
            "but 10 bona fide and 90",
        ),
        ({"tie": "official"}, "b on in_the_wild: tie official, but merge in a on eval"),
        ({"cost": DEFAULT.as_dict() | {"p_spoof": 0.5}}, "b on in_the_wild: cost {"),
    ],
)
def test_numbers_that_can_not_be_compared_are_refused(
    monkeypatch, capsys, systems, changes, message
):
    write_results(systems[1], "in_the_wild", 0.11, 0.25, **changes)
    assert message in refused(
        monkeypatch, capsys, cross_table, "--exp_dirs", ",".join(map(str, systems))
    )


def test_a_folder_or_a_set_without_results_is_refused(monkeypatch, capsys, tmp_path, systems):
    (tmp_path / "c").mkdir()
    message = refused(
        monkeypatch, capsys, cross_table, "--exp_dirs", f"{systems[0]},{tmp_path / 'c'}"
    )
    assert f"{tmp_path / 'c'}: no results_*.json of detection" in message
    message = refused(monkeypatch, capsys, cross_table, "--exp_dirs", systems[0], "--sets", "no")
    assert "no results on no" in message


def write_mixtures(folder, **more):
    (folder / "mixtures/eval").mkdir(parents=True)
    results = {
        "classes": ["SS", "SB", "BB"],
        "confusion": [[3, 1, 0], [2, 6, 0], [0, 0, 4]],
        "n_mixtures": 16,
    }
    results |= {"macro_f1": 0.8, "chance_macro_f1": 1 / 3, "any_spoof_eer": 0.125} | more
    (folder / "mixtures/eval/results.json").write_text(json.dumps(results))


@pytest.fixture
def talkers(tmp_path):
    """Systems that hear stems, separated streams, and the mixture as it is."""
    write_mixtures(
        tmp_path / "oracle", assignment="identity", source_eer=0.05, cost=DEFAULT.as_dict()
    )
    write_mixtures(
        tmp_path / "separated", assignment="sisdr", source_eer=0.2, sisdr_improvement=9.876
    )
    write_mixtures(tmp_path / "direct", assignment="none")
    return [tmp_path / name for name in ("oracle", "separated", "direct")]


def test_systems_of_mixtures_say_how_sources_were_found(monkeypatch, capsys, tmp_path, talkers):
    files = ("--json", tmp_path / "t.json", "--markdown", tmp_path / "t.md")
    print_table(monkeypatch, talkers, "--mixtures", *files)
    heads, *rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert " ".join(heads) == (
        "eval macro F1 eval chance eval any-spoof EER % eval source EER % "
        "eval sources by eval SI-SDRi dB"
    )
    assert rows == [
        ["oracle", "0.800", "0.333", "12.50", "5.00", "identity"],
        ["separated", "0.800", "0.333", "12.50", "20.00", "sisdr", "9.88"],
        ["direct", "0.800", "0.333", "12.50", "none"],
    ]
    systems = json.loads((tmp_path / "t.json").read_text())["systems"]
    assert systems["direct"]["eval"]["assignment"] == "none"
    markdown = (tmp_path / "t.md").read_text()
    assert markdown.endswith("| direct | 0.800 | 0.333 | 12.50 |  | none |  |\n")


def test_systems_of_other_mixtures_are_refused(monkeypatch, capsys, tmp_path, talkers, systems):
    write_mixtures(
        tmp_path / "other", assignment="none", confusion=[[3, 1, 1], [2, 6, 0], [0, 0, 3]]
    )
    words = "--exp_dirs", f"{talkers[0]},{tmp_path / 'other'}", "--mixtures"
    message = refused(monkeypatch, capsys, cross_table, *words)
    assert "other on eval: eval [5, 8, 3] mixtures of SS, SB, BB, but [4, 8, 4] mixtures" in message
    assert "no mixtures/*/results.json of mixtures" in refused(
        monkeypatch, capsys, cross_table, "--exp_dirs", systems[0], "--mixtures"
    )


def write_scores(folder, name, bonafide, spoof):
    """LLRs and key of a set, and its results if it has both classes."""
    (folder / "posteriors" / name).mkdir(parents=True)
    (folder / "data" / name).mkdir(parents=True)
    scores = ["filename\tcm-score"]
    key = ["filename\tcm-label"]
    for label, values in (("bonafide", bonafide), ("spoof", spoof)):
        for position, value in enumerate(values):
            scores.append(f"{name}_{label}_{position}\t{value}")
            key.append(f"{name}_{label}_{position}\t{label}")
    (folder / "posteriors" / name / "llr.txt").write_text("\n".join(scores) + "\n")
    (folder / "data" / name / "cm_key_file.txt").write_text("\n".join(key) + "\n")
    if bonafide and spoof:
        eer = SortedScores(bonafide, spoof).eer().value
        write_results(folder, name, eer, 1.0, n_bonafide=len(bonafide), n_spoof=len(spoof))


@pytest.fixture
def scored(tmp_path):
    """An experiment that separates each of two sets, at thresholds of their own."""
    (tmp_path / "a").mkdir()
    write_scores(tmp_path / "a", "low", [1.0, 2.0, 3.0, 4.0], [-1.0, 0.0])
    write_scores(tmp_path / "a", "high", [11.0, 12.0], [5.0, 6.0, 7.0, 8.0])
    write_scores(tmp_path / "a", "fakes", [], [-0.5, 2.5, 9.0, 10.0])
    return [tmp_path / "a"]


def test_the_pool_has_one_threshold(monkeypatch, capsys, tmp_path, scored):
    words = ("--sets", "low,high", "--pooled", "--json", tmp_path / "t.json")
    print_table(monkeypatch, scored, *words)
    # Six bona fide and six spoofed trials in one order: -1 0 [1 2 3 4] 5 6 7 8 [11 12]. Rejecting
    # the first six misses four of six and accepts four of six.
    numbers = json.loads((tmp_path / "t.json").read_text())["over_sets"]["a"]
    assert numbers["average_eer"] == 0
    assert numbers["pooled_eer"] == pytest.approx(4 / 6, abs=1e-15)
    assert 4 < numbers["threshold"] <= 5
    assert numbers["accuracy"] == pytest.approx(4 / 12, abs=1e-15)
    assert numbers["f1"] == pytest.approx(2 * 2 / (2 * 2 + 4 + 4), abs=1e-15)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2].split() == "average EER % pooled EER % threshold accuracy % F1".split()
    assert lines[-1].split() == ["a", "0.00", "66.67", "4.0000", "33.33", "0.3333"]


def test_labels_of_a_data_directory_by_hand_are_its_key(monkeypatch, tmp_path, scored):
    words = ("--sets", "low,high", "--pooled", "--json", tmp_path / "t.json")
    print_table(monkeypatch, scored, *words)
    expected = json.loads((tmp_path / "t.json").read_text())
    key = scored[0] / "data/low/cm_key_file.txt"
    lines = key.read_text().splitlines()[1:]
    key.with_name("utt2lab").write_text("".join(line.replace("\t", " ") + "\n" for line in lines))
    key.unlink()
    print_table(monkeypatch, scored, *words)
    assert json.loads((tmp_path / "t.json").read_text()) == expected


def test_spoofs_that_pass_the_threshold_of_another_set(monkeypatch, capsys, tmp_path, scored):
    words = ("--sets", "high,fakes", "--threshold_set", "low", "--json", tmp_path / "t.json")
    print_table(monkeypatch, scored, *words, "--markdown", tmp_path / "t.md")
    numbers = json.loads((tmp_path / "t.json").read_text())["over_sets"]["a"]
    # The threshold of "low" lies above 0, at most at 1.
    assert numbers == {"srr_complement high": 1.0, "srr_complement fakes": 0.75}
    assert "fakes 1-SRR %" in (tmp_path / "t.md").read_text().splitlines()[0]


def test_what_the_pool_needs_is_said(monkeypatch, capsys, caplog, tmp_path, scored):
    words = ("--exp_dirs", scored[0])
    message = refused(monkeypatch, capsys, cross_table, *words, "--data_dir", tmp_path)
    assert "--data_dir goes with --pooled or --threshold_set" in message
    message = refused(monkeypatch, capsys, cross_table, *words, "--threshold_set", "dev")
    assert "posteriors/dev/llr.txt: No such file, and --threshold_set is dev" in message
    message = refused(monkeypatch, capsys, cross_table, *words, "--mixtures", "--pooled")
    assert "--mixtures is given" in message
    (scored[0] / "posteriors/high/llr.txt").unlink()
    print_table(monkeypatch, scored, "--pooled")
    assert "high is not in the pool" in caplog.text
