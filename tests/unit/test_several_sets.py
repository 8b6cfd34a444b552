"""Stages 4 and 5 of several sets in one process: what each set gives alone."""

from pathlib import Path

import commands
import pytest
import tiny

from wedefense_lite.bin.extract import extract
from wedefense_lite.bin.infer import infer
from wedefense_lite.files import InputError
from wedefense_lite.scoring.sidecar import read_sidecar

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
