"""Several systems on one page, and its tables for a paper."""

import json
import re

import numpy as np
import pytest

from wedefense_lite.bin.compare import compare
from wedefense_lite.bin.compare_systems import compare_systems
from wedefense_lite.bin.evaluate import evaluate
from wedefense_lite.files import InputError, write_json, write_lines, write_table, write_text
from wedefense_lite.report.comparison import compare_runs, holm, pairs_of, system_names
from wedefense_lite.report.run import read_run
from wedefense_lite.report.tables import as_latex, as_tsv
from wedefense_lite.scoring.scores import write_scores
from wedefense_lite.scoring.sidecar import Sidecar, write_sidecar

TRIALS = 120


def write_system(exp, data, sets, distance, cost="asvspoof5_track1"):
    """Scores of the sets, and their results, of a system whose classes are so far apart."""
    for name in sets:
        rng = np.random.default_rng(len(name))
        keys = [f"{name}{number:03d}" for number in range(TRIALS)]
        labels = np.where(np.arange(TRIALS) % 3 == 0, "bonafide", "spoof")
        noise = rng.standard_normal(TRIALS)
        scores = exp / "posteriors" / name / "llr.txt"
        write_scores(scores, keys, np.where(labels == "bonafide", distance, -distance) + noise)
        write_sidecar(scores, Sidecar())
        key_path = data / name / "cm_key_file.txt"
        rows = [f"{key}\t{label}" for key, label in zip(keys, labels)]
        write_lines(key_path, ["filename\tcm-label", *rows])
        write_table(data / name / "utt2dur", dict.fromkeys(keys, "1.0"))
        write_table(data / name / "utt2spk", dict.fromkeys(keys, "s"))
        write_table(data / name / "utt2attack", dict.fromkeys(keys, "-"))
        evaluate(
            cm=str(scores),
            cm_key=str(key_path),
            cost=cost,
            bootstrap=20,
            json=str(exp / f"results_{name}.json"),
        )
    write_text(exp / "config.yaml", "system: {class_path: Detection}\n")
    write_json(exp / "env.json", {})


@pytest.fixture(scope="module")
def systems(tmp_path_factory):
    """Two experiments, the second of which is better and has no eval set, and their data."""
    root = tmp_path_factory.mktemp("systems")
    write_system(root / "weak_1", root / "data", ("dev", "eval"), 0.3)
    write_system(root / "strong", root / "data", ("dev",), 1.2)
    return root


def test_a_page_has_each_system_and_its_paired_test(systems, tmp_path):
    output = tmp_path / "page.html"
    exp_dirs = [str(systems / name) for name in ("weak_1", "strong")]
    compare_systems(
        exp_dirs,
        str(systems / "data"),
        output=str(output),
        bootstrap=200,
        tables=str(tmp_path / "tables"),
    )
    page = re.sub(r"</?span>", "", output.read_text())
    assert page.count("<h2>") == 1 and "<h2>dev</h2>" in page
    assert "http:" not in re.sub(r"data:image/svg[^\"]*", "", page) and "https:" not in page
    rows = [
        line.split("\t") for line in (tmp_path / "tables/dev_metrics.tsv").read_text().splitlines()
    ]
    for name, cells in zip(("weak_1", "strong"), rows[1:]):
        results = json.loads((systems / name / "results_dev.json").read_text())
        assert cells[0] == name
        assert cells[1].startswith(f"{100 * results['eer']:.2f} % [")
        assert all(cell in page for cell in cells)
    # The same test as of bin/compare.py.
    paths = [str(systems / name / "posteriors/dev/llr.txt") for name in ("strong", "weak_1")]
    key = str(systems / "data/dev/cm_key_file.txt")
    compare(*paths, cm_key=key, bootstrap=200, json=str(tmp_path / "pair.json"))
    eer = json.loads((tmp_path / "pair.json").read_text())["eer"]
    low, high = eer["ci"]
    expected = (
        f"{100 * eer['difference']:+.2f} % [{100 * low:.2f}–{100 * high:.2f}] "
        f"p {eer['p_value']:.3f}"
    )
    difference_rows = (tmp_path / "tables/dev_differences.tsv").read_text().splitlines()
    assert difference_rows[1].split("\t")[:2] == ["strong − weak_1", expected]
    assert eer["difference"] < 0 and expected in page
    latex = (tmp_path / "tables/dev_metrics.tex").read_text()
    assert r"weak\_1 & " in latex and latex.startswith(r"\begin{tabular}{lrrrrr}")


def test_pairs_are_those_with_the_first_or_all():
    names = ["a", "b", "c"]
    assert pairs_of(names, "first") == [("b", "a"), ("c", "a")]
    assert pairs_of(names, "all") == [("b", "a"), ("c", "a"), ("c", "b")]


def test_p_values_are_corrected_for_all_pairs_that_are_tested(systems, tmp_path):
    data = systems / "data"
    write_system(tmp_path / "middle", data, ("dev",), 0.5)
    runs = {
        name: read_run(folder / name, data, ["dev"])
        for folder, name in ((systems, "weak_1"), (tmp_path, "middle"), (systems, "strong"))
    }
    (compared,) = compare_runs(runs, 200, "all")
    rows = compared.difference_rows()
    assert [row[0] for row in rows[1:]] == [
        "middle − weak_1",
        "strong − weak_1",
        "strong − middle",
    ]
    single = [pair.differences["eer"].p_value for pair in compared.comparisons.values()]
    shown = [float(row[1].rpartition("p ")[2]) for row in rows[1:]]
    assert shown == pytest.approx(holm(single), abs=5e-4)
    # Three tests, not two: the smallest value is three times that of its own test.
    assert min(shown) == pytest.approx(3 * min(single), abs=5e-4)
    differences = [pair.differences["eer"].value for pair in compared.comparisons.values()]
    assert differences[1] == pytest.approx(differences[0] + differences[2])


def test_systems_that_can_not_be_compared_are_refused(systems, tmp_path):
    data = str(systems / "data")
    weak = str(systems / "weak_1")
    with pytest.raises(InputError, match="1 experiments, expected two or more"):
        compare_systems([weak], data)
    with pytest.raises(InputError, match="an experiment is named twice"):
        compare_systems([weak, f"{weak}/."], data)
    write_system(tmp_path / "costly", systems / "data", ("dev",), 1.0, "asvspoof2019")
    with pytest.raises(InputError, match="run stage 7 with the same costs"):
        compare_systems([weak, str(tmp_path / "costly")], data, output=str(tmp_path / "x.html"))
    write_system(tmp_path / "short", systems / "data", ("eval",), 1.0)
    with pytest.raises(InputError, match="no set that all were evaluated on"):
        compare_systems(
            [str(systems / "strong"), str(tmp_path / "short")],
            data,
            output=str(tmp_path / "x.html"),
        )


def test_p_values_are_corrected_by_holm_as_by_hand():
    """3 x 0.01; 2 x 0.04; 0.05, which is raised to the one before."""
    assert holm([0.04, 0.01, 0.05]) == pytest.approx([0.08, 0.03, 0.08])
    assert holm([0.6, 0.7]) == [1.0, 1.0] and holm([0.02]) == [0.02] and holm([]) == []


def test_names_of_equal_folders_are_paths():
    assert system_names(["a/x", "b/x", "y"], ["x", "x", "y"]) == ["a/x", "b/x", "y"]


def test_tables_for_a_paper_escape_what_means_something():
    rows = [["a_b", "EER"], ["R&D\t$", "5 % [1–2] −1"]]
    assert as_tsv(rows)[0] == "a_b\tEER" and as_tsv(rows)[1].count("\t") == 1
    assert as_latex(rows)[2:5] == [
        r"a\_b & EER \\",
        r"\midrule",
        r"R\&D\textbackslash{}t\$ & 5 \% [1--2] $-$1 \\",
    ]
