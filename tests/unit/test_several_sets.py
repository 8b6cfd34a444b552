"""Stages 4 to 7 of several sets in one process: what each set gives alone."""

import json
from pathlib import Path

import commands
import kaldiio
import numpy as np
import pytest
import tiny

from wedefense_lite.bin.evaluate import evaluate
from wedefense_lite.bin.extract import extract
from wedefense_lite.bin.infer import infer
from wedefense_lite.bin.logits_to_llr import logits_to_llr
from wedefense_lite.files import InputError
from wedefense_lite.scoring.sidecar import Sidecar, read_sidecar, write_sidecar

SETS = ("dev", "eval")


class System:
    """A tiny system and the lists of two sets."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.lists = {}
        self.labels = {}
        for seed, name in enumerate(SETS):
            rows = tiny.corpus(folder / name, 3 + seed, seed)
            self.lists[name], self.labels[name] = tiny.write_lists(folder / name, rows)
        experiment = tiny.parsed(folder / "exp", num_epochs=1)
        tiny.trainer(experiment, folder / "exp", rows).fit()
        (folder / "exp/config.yaml").write_text(experiment.text)
        self.words = ["--config", folder / "exp/config.yaml"]
        self.words += ["--model_path", folder / "exp/models/model_1.pt"]

    def typed_extraction(self, names: tuple[str, ...], out: Path) -> list:
        words = [*self.words, "--data_type", "raw"]
        words += ["--data_list", *[self.lists[name] for name in names]]
        words += ["--label", *[self.labels[name] for name in names]]
        return [*words, "--embed_ark", *[out / name / "e.ark" for name in names]]

    def typed_inference(self, names: tuple[str, ...], out: Path) -> list:
        words = [*self.words, "--embedding_scp_path", *[out / name / "e.scp" for name in names]]
        return [*words, "--out_path", *[out / name for name in names]]


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
            patch.delenv(name, raising=False)
        yield System(tmp_path_factory.mktemp("several"))


def contents(out: Path) -> dict[str, bytes]:
    """Files of a folder."""
    files = {}
    for path in sorted(out.rglob("*")):
        if path.is_file():
            files[str(path.relative_to(out))] = path.read_bytes()
    return files


def stages_4_and_5(system, folder: Path, groups: list[tuple[str, ...]]) -> dict[str, bytes]:
    """Files of both stages, a process for each group of sets."""
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)  # archives are named from there
        for names in groups:
            commands.run(patch, extract, *system.typed_extraction(names, Path("sets")))
            commands.run(patch, infer, *system.typed_inference(names, Path("sets")))
    return contents(folder / "sets")


def test_sets_of_one_process_are_those_of_several(system, tmp_path):
    together = stages_4_and_5(system, tmp_path / "together", [SETS])
    alone = stages_4_and_5(system, tmp_path / "alone", [("dev",), ("eval",)])
    assert {"dev/e.ark", "eval/e.ark", "eval/logits.ark", "eval/posteriors.json"} <= set(together)
    assert together == alone


@pytest.mark.parametrize("stage", [4, 5])
def test_a_stop_in_the_first_set_leaves_no_old_results_of_the_second(
    system, monkeypatch, tmp_path, stage
):
    """Results of a set that is still to come can't be taken for those of this run."""
    commands.run(monkeypatch, extract, *system.typed_extraction(SETS, tmp_path))
    commands.run(monkeypatch, infer, *system.typed_inference(SETS, tmp_path))
    read_sidecar(tmp_path / "eval/logits.scp")

    def stop(*_arguments):
        raise KeyboardInterrupt

    if stage == 4:
        monkeypatch.setattr("wedefense_lite.bin.extract.run_inference", stop)
        function = extract
        words = system.typed_extraction(SETS, tmp_path)
        name = "e.scp"
    else:
        monkeypatch.setattr("wedefense_lite.bin.infer.read_archive", stop)
        function = infer
        words = system.typed_inference(SETS, tmp_path)
        name = "logits.scp"
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        commands.run(monkeypatch, function, *words)
    for set_name in SETS:
        with pytest.raises(InputError):
            read_sidecar(tmp_path / set_name / name)


def test_nothing_is_extracted_where_the_second_list_can_not_be_read(
    system, monkeypatch, capsys, tmp_path
):
    words = system.typed_extraction(SETS, tmp_path)
    words[words.index(system.lists["eval"])] = tmp_path / "no.list"
    error = commands.refused(monkeypatch, capsys, extract, *words)
    assert "no.list: No such file" in error
    assert not list(tmp_path.rglob("*.ark"))


@pytest.mark.parametrize(
    ("names", "out", "message"),
    [
        (("dev",), ("dev", "eval"), "have 1 and 2 and 1 values, expected as many of each"),
        (("dev", "eval"), ("dev", "dev"), r"dev/e.ark: twice, expected an archive for each list"),
    ],
)
def test_a_list_and_its_archive_are_named_together(
    system, monkeypatch, capsys, tmp_path, names, out, message
):
    words = system.typed_extraction(names, tmp_path)
    words = words[: words.index("--embed_ark") + 1] + [tmp_path / name / "e.ark" for name in out]
    words += ["--label", *[system.labels[name] for name in names]]
    error = commands.refused(monkeypatch, capsys, extract, *words)
    assert message in error
    if len(names) == 1:
        assert error.startswith("extract: error: --data_list, --embed_ark and --label ")


def test_a_folder_takes_the_logits_of_one_set(system, monkeypatch, capsys, tmp_path):
    words = system.typed_inference(("dev", "dev"), tmp_path)
    error = commands.refused(monkeypatch, capsys, infer, *words)
    assert "dev: twice, expected a folder for each set" in error


LOGIT_SETS = ("cal", "dev", "eval")


@pytest.fixture
def logits(tmp_path, monkeypatch):
    """Folder with logits, labels and attacks of three sets; archives are named from there."""
    monkeypatch.chdir(tmp_path)
    sidecar = Sidecar(class_prior=(0.8, 0.2), config_hash="c", model_hash="m")
    for seed, name in enumerate(LOGIT_SETS):
        rng = np.random.default_rng(seed)
        folder = Path("sets", name)
        folder.mkdir(parents=True)
        rows = {}
        labels = ""
        attacks = ""
        for number in range(40 + seed):
            is_bonafide = number % 3 == 0
            row = rng.normal(size=2) + [0.0, 2.0 * is_bonafide]
            rows[f"{name}{number}"] = row.astype(np.float32)
            labels += f"{name}{number} {'bonafide' if is_bonafide else 'spoof'}\n"
            attacks += f"{name}{number} {'-' if is_bonafide else f'A{number % 2}'}\n"
        kaldiio.save_ark(f"{folder}/logits.ark", rows, scp=f"{folder}/logits.scp")
        write_sidecar(folder / "logits.ark", sidecar)
        (folder / "utt2lab").write_text(labels)
        (folder / "utt2attack").write_text(attacks)
    return tmp_path


def files_of(names: tuple[str, ...], name: str) -> list[str]:
    return [f"sets/{set_name}/{name}" for set_name in names]


def typed_llrs(names: tuple[str, ...], out: str, calibrates: bool = True) -> list:
    words = ["--logits_scp_path", *files_of(names, "logits.scp"), "--pi_spoof", 0.05]
    if calibrates:
        words += ["--cal_logits_scp_path", "sets/cal/logits.scp", "--cal_label", "sets/cal/utt2lab"]
    return [*words, "--llr_path", *[f"{out}/{name}/llr.txt" for name in names]]


def typed_evaluation(names: tuple[str, ...], out: str) -> list:
    words = ["--cm", *[f"llrs/{name}/llr.txt" for name in names], "--by", "attack"]
    words += ["--cm_key", *files_of(names, "utt2lab"), "--meta", *files_of(names, "utt2attack")]
    words += ["--bootstrap", 20, "--json", *[f"{out}/{name}.json" for name in names]]
    return [*words, "--txt", *[f"{out}/{name}.txt" for name in names]]


@pytest.mark.parametrize("calibrates", [True, False])
def test_llrs_of_one_process_are_those_of_several(logits, monkeypatch, calibrates):
    commands.run(monkeypatch, logits_to_llr, *typed_llrs(SETS, "together", calibrates))
    for name in SETS:
        commands.run(monkeypatch, logits_to_llr, *typed_llrs((name,), "alone", calibrates))
    together = contents(logits / "together")
    assert set(together) == {
        f"{name}/{file}" for name in SETS for file in ("llr.txt", "llr.json", "calibration.json")
    }
    assert together == contents(logits / "alone")
    assert ("cllr_after" in json.loads(together["dev/calibration.json"])) == calibrates


def test_no_llrs_are_written_where_those_of_the_second_set_can_not_be(logits, monkeypatch, capsys):
    commands.run(monkeypatch, logits_to_llr, *typed_llrs(SETS, "llrs"))
    before = contents(logits / "llrs")
    write_sidecar("sets/eval/logits.ark", Sidecar(class_prior=(0.5, 0.5)))
    error = commands.refused(monkeypatch, capsys, logits_to_llr, *typed_llrs(SETS, "llrs"))
    assert "class_prior is" in error
    rows = {"dev0": np.zeros(2, np.float32)}
    kaldiio.save_ark("sets/eval/logits.ark", rows, scp="sets/eval/logits.scp")
    error = commands.refused(monkeypatch, capsys, logits_to_llr, *typed_llrs(SETS, "llrs", False))
    assert "eval/logits.ark: its hash is" in error
    assert contents(logits / "llrs") == before


def test_a_stop_in_the_first_set_leaves_no_old_llrs_of_the_second(logits, monkeypatch):
    commands.run(monkeypatch, logits_to_llr, *typed_llrs(SETS, "llrs"))

    def stop(*_arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("wedefense_lite.bin.logits_to_llr.write_calibrated", stop)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        commands.run(monkeypatch, logits_to_llr, *typed_llrs(SETS, "llrs"))
    for name in SETS:
        with pytest.raises(InputError, match="has not ended"):
            read_sidecar(f"llrs/{name}/llr.txt")


def test_sets_do_not_share_a_folder_of_llrs(logits, monkeypatch, capsys):
    words = typed_llrs(SETS, "llrs")
    words[-1] = "llrs/dev/other.txt"  # calibration.json would be that of the last one
    error = commands.refused(monkeypatch, capsys, logits_to_llr, *words)
    assert "llrs/dev: twice, expected a folder for the LLRs of each set" in error
    assert not (logits / "llrs").exists()


def test_results_of_one_process_are_those_of_several(logits, monkeypatch, capsys):
    commands.run(monkeypatch, logits_to_llr, *typed_llrs(SETS, "llrs"))
    capsys.readouterr()
    commands.run(monkeypatch, evaluate, *typed_evaluation(SETS, "together"))
    printed = capsys.readouterr().out
    tables = ""
    for name in SETS:
        commands.run(monkeypatch, evaluate, *typed_evaluation((name,), "alone"))
        tables += f"-- llrs/{name}/llr.txt\n" + capsys.readouterr().out
    assert printed == tables
    together = contents(logits / "together")
    assert set(together) == {"dev.json", "dev.txt", "eval.json", "eval.txt"}
    assert together == contents(logits / "alone")


def test_nothing_is_printed_where_the_second_set_can_not_be_evaluated(logits, monkeypatch, capsys):
    commands.run(monkeypatch, logits_to_llr, *typed_llrs(SETS, "llrs"))
    words = typed_evaluation(SETS, "out")
    words[words.index("sets/eval/utt2lab")] = "sets/cal/utt2lab"
    assert "cal" in commands.refused(monkeypatch, capsys, evaluate, *words)
    assert not (logits / "out").exists()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--json", "one.json"], "have 2 and 2 and 2 and 1 and 2 values, expected as many of each"),
        (["--m", "t2_single", "--sasv", "s"], "2 sets go with --m t1, and --m is t2_single"),
        (["--json", "a.json", "a.json"], "a.json: two outputs of one name"),
    ],
)
def test_files_of_sets_are_named_together(logits, monkeypatch, capsys, changes, message):
    words = typed_evaluation(SETS, "out")
    error = commands.refused(monkeypatch, capsys, evaluate, *words, *changes)
    assert message in error


def test_labels_that_nobody_knows_are_none_of_each_set(logits, monkeypatch, capsys):
    commands.run(monkeypatch, logits_to_llr, *typed_llrs(SETS, "llrs"))
    words = ["--cm", "llrs/dev/llr.txt", "llrs/eval/llr.txt", "--cm_key", "none", "none"]
    capsys.readouterr()
    commands.run(monkeypatch, evaluate, *words)
    assert capsys.readouterr().out.count("no labels: EER n/a") == 2
