"""Stages 4 and 5: every utterance once, in list order, or an error that names what is missing."""

import os
import subprocess
import sys
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import tiny
import torch

from wedefense_lite import files
from wedefense_lite.bin import extract as extract_module
from wedefense_lite.bin import infer as infer_module
from wedefense_lite.bin import join_extraction as join_module
from wedefense_lite.bin import train as train_module
from wedefense_lite.bin.average_model import average_model
from wedefense_lite.bin.evaluate import evaluate
from wedefense_lite.bin.extract import extract
from wedefense_lite.bin.infer import infer
from wedefense_lite.bin.join_extraction import join_extraction
from wedefense_lite.bin.logits_to_llr import logits_to_llr
from wedefense_lite.files import InputError, read_json
from wedefense_lite.processes import usable_cores
from wedefense_lite.runtime import start_process
from wedefense_lite.scoring.archives import read_archive, write_archive
from wedefense_lite.scoring.joining import join
from wedefense_lite.scoring.scores import read_scores
from wedefense_lite.scoring.sidecar import read_sidecar, write_sidecar
from wedefense_lite.systems import checkpoint
from wedefense_lite.systems.experiment import load_experiment
from wedefense_lite.training.exp_dir import remove_training


class System:
    """A trained tiny system, its evaluation list, and the stages as functions.

    Tests that load another model load it into an experiment of their own: ``exp`` keeps the trained
    weights, whatever the order of tests.
    """

    def __init__(self, folder):
        self.folder = folder
        self.rows = tiny.corpus(folder / "eval", 7)[::-1]
        self.list, _ = tiny.write_lists(folder, self.rows)
        self.exp = tiny.parsed(folder / "exp", num_epochs=1)
        self.config, self.model = folder / "exp/config.yaml", folder / "exp/models/model_1.pt"
        self.config.write_text(self.exp.text)
        tiny.trainer(self.exp, folder / "exp", self.rows).fit()
        self.exp.system.eval()
        self.ark = folder / "out/embedding.ark"
        self.extract()

    def extract(self, **options):
        options = {"data_list": self.list, "data_type": "raw", "embed_ark": str(self.ark)} | options
        extract(str(self.config), str(self.model), **options)

    def infer(self, out="out/posteriors", **options):
        options = {"config": str(self.config), "model_path": str(self.model)} | options
        infer(
            embedding_scp_path=str(self.ark.with_suffix(".scp")),
            out_path=str(self.folder / out),
            **options,
        )

    @torch.no_grad()
    def by_hand(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Embedding and logits of each utterance on its own."""
        found = {}
        for row in self.rows:
            (batch,) = tiny.EvalLoader([row], self.exp.data)
            embedding = self.exp.system.embed(batch.to("cpu"))
            found[row.key] = embedding[0].numpy(), self.exp.system.head(embedding)[0].numpy()
        return found


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    return System(tmp_path_factory.mktemp("system"))


@pytest.fixture(autouse=True)
def as_one_process(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_embeddings_are_those_of_each_utterance_alone(system, batch_size, tmp_path):
    # Not system.ark: batches of another size have other last bits.
    ark = tmp_path / "embedding.ark"
    system.extract(batch_size=batch_size, embed_ark=str(ark))
    found = read_archive(ark.with_suffix(".scp"))
    for key, (embedding, _) in system.by_hand().items():
        np.testing.assert_allclose(found[key], embedding, rtol=1e-5, atol=1e-6)
    assert [key for key, _ in kaldiio.load_ark(str(ark))] == [row.key for row in system.rows]
    assert tiny.files(tmp_path) == ["embedding.ark", "embedding.json", "embedding.scp"]


def test_the_sidecar_says_what_the_numbers_mean(system):
    sidecar = read_sidecar(system.ark)
    assert sidecar.class_prior == pytest.approx((4 / 7, 3 / 7))
    assert sidecar.has_posterior
    assert sidecar.config_hash == system.exp.config_hash


def test_logits_and_posteriors_are_each_utterances_own(system):
    system.infer(num_classes=2)
    logits = read_archive(system.folder / "out/posteriors/logits.scp")
    posteriors = read_archive(system.folder / "out/posteriors/posteriors.scp")
    expected = system.by_hand()
    assert set(logits) == set(posteriors) == set(expected)
    for key, (_, row) in expected.items():
        np.testing.assert_allclose(logits[key], row, rtol=1e-4, atol=1e-5)
        share = np.exp(row) / np.exp(row).sum()
        np.testing.assert_allclose(posteriors[key], share, rtol=1e-4, atol=1e-5)
    assert (
        read_json(system.folder / "out/posteriors/logits.json")["polarity"] == "higher is bonafide"
    )


def test_scores_of_the_bona_fide_logit_are_told_from_llrs(system, tmp_path, caplog):
    system.infer(out="out/of_logit", score="bonafide_logit")
    folder = system.folder / "out/of_logit"
    assert read_json(folder / "scores.json")["score"] == "bonafide_logit"
    assert read_json(folder / "logits.json")["score"] == "bonafide_logit"
    scores = {name: score for name, (score,) in read_scores(folder / "scores.txt").items()}
    for key, (_, row) in system.by_hand().items():
        assert scores[key] == pytest.approx(float(row[1]), rel=1e-4, abs=1e-5)
    with pytest.raises(InputError, match=r"bonafide_logit, which is no LLR, expected difference"):
        logits_to_llr(str(folder / "logits.scp"), pi_spoof=0.5)
    key_lines = ["filename\tcm-label"]
    key_lines += [f"{row.key}\t{row.label}" for row in system.rows]
    (tmp_path / "key.txt").write_text("\n".join(key_lines) + "\n")
    of_logit = tmp_path / "of_logit.json"
    evaluate(cm=str(folder / "scores.txt"), cm_key=str(tmp_path / "key.txt"), json=str(of_logit))
    assert "no LLRs" in caplog.text
    results = read_json(of_logit)
    assert "eer" in results and not {"cllr", "act_dcf", "decisions"} & results.keys()
    system.infer(out="out/of_difference")
    assert read_json(system.folder / "out/of_difference/logits.json")["score"] == "difference"
    assert not (system.folder / "out/of_difference/scores.txt").exists()


def test_another_number_of_classes_is_refused(system):
    with pytest.raises(InputError, match="--num_classes 3, but the head of .* gives 2"):
        system.infer(out="three", num_classes=3)
    assert not (system.folder / "three").exists()


def test_embeddings_of_another_model_are_refused(system, tmp_path):
    state = checkpoint.load(system.model)
    checkpoint.save(tmp_path / "other.pt", state | {"epoch": 99})
    with pytest.raises(InputError, match="model_hash"):
        system.infer(out="other", model_path=str(tmp_path / "other.pt"))


def test_another_configuration_is_refused(system, tmp_path):
    other = tiny.parsed(tmp_path, seed=5)
    (tmp_path / "config.yaml").write_text(other.text)
    with pytest.raises(InputError, match=r"model_1\.pt: not trained with .*config\.yaml"):
        extract(
            str(tmp_path / "config.yaml"),
            str(system.model),
            system.list,
            str(tmp_path / "e.ark"),
            "raw",
        )


def test_an_utterance_that_is_lost_on_the_way_is_named(system, monkeypatch):
    before = system.ark.read_bytes()
    whole = extract_module._rows
    with monkeypatch.context() as patch:
        patch.setattr(extract_module, "_rows", lambda *args: list(whole(*args))[1:])
        with pytest.raises(InputError, match="1 of 7 utterances missing: eval06"):
            system.extract()
    # The earlier archive is as it was, and is not taken for a result of this run.
    assert system.ark.read_bytes() == before
    with pytest.raises(InputError, match="the run that writes embedding.ark has not ended"):
        read_sidecar(system.ark)
    system.extract()


def test_parts_of_an_earlier_run_are_not_merged(system):
    stale = system.ark.with_suffix(".part1.ark")
    write_archive(stale, [("ghost", np.zeros(6, np.float32))])
    part = system.ark.with_suffix(".part0.ark")
    rows = [(row.key, np.ones(6, np.float32)) for row in system.rows]
    write_archive(part, rows)
    keys = [key for key, _ in rows]
    join(keys, [part], system.ark)
    assert "ghost" not in read_archive(system.ark.with_suffix(".scp"))
    system.extract()
    assert [path.name for path in system.ark.parent.glob("*part*")] == []


def test_a_file_that_is_missing_is_named_and_the_earlier_output_stays(system):
    before = system.ark.read_bytes()
    away = tiny.Path(system.rows[3].path)
    moved = away.rename(away.with_suffix(".away"))
    try:
        with pytest.raises(InputError, match=f"{system.rows[3].key}: .*No such file"):
            system.extract()
    finally:
        moved.rename(away)
    assert system.ark.read_bytes() == before
    system.extract()


def test_parts_of_an_array_are_joined_to_the_same_archive(
    system, other_model, monkeypatch, tmp_path
):
    experiment = load_experiment(str(system.config))
    monkeypatch.setattr(extract_module, "load_experiment", lambda config: experiment)
    monkeypatch.setattr(join_module, "load_experiment", lambda config: experiment)
    ark = tmp_path / "embedding.ark"
    arguments = (str(system.config), system.list, str(ark))

    def extract_part(part: str, model=system.model) -> None:
        extract(str(system.config), str(model), system.list, str(ark), "raw", part=part)

    extract_part("2/3")
    missing = r"part_1_of_3/embedding\.json: No such file .*: extract again --part 1/3, 3/3, "
    with pytest.raises(InputError, match=missing):
        join_extraction(*arguments, 3, "raw")
    assert not ark.exists() and (tmp_path / "part_2_of_3/embedding.ark").exists()
    for part in ("1/3", "3/3"):
        extract_part(part)
    with pytest.raises(InputError, match=r"part_1_of_3/embedding\.json: model_hash is"):
        join_extraction(*arguments, 3, "raw", str(other_model))
    join_extraction(*arguments, 3, "raw", str(system.model))
    assert ark.read_bytes() == system.ark.read_bytes()
    assert read_rows(ark.with_suffix(".scp")) == read_rows(system.ark.with_suffix(".scp"))
    assert not list(tmp_path.glob("part_*"))


def test_parts_of_two_models_are_not_joined(system, other_model, monkeypatch, tmp_path):
    experiment = load_experiment(str(system.config))
    monkeypatch.setattr(extract_module, "load_experiment", lambda config: experiment)
    monkeypatch.setattr(join_module, "load_experiment", lambda config: experiment)
    ark = tmp_path / "embedding.ark"
    for part, model in (("1/2", system.model), ("2/2", other_model)):
        extract(str(system.config), str(model), system.list, str(ark), "raw", part=part)
    with pytest.raises(InputError, match=r"part_2_of_2/embedding\.json: of another model or code"):
        join_extraction(str(system.config), system.list, str(ark), 2, "raw")
    assert not ark.exists()


@pytest.mark.parametrize("part", ["0/3", "4/3", "1", "1/0", "a/b", "99/99"])
def test_parts_that_can_not_be_are_refused(system, tmp_path, part):
    with pytest.raises(InputError, match="--part|99 parts of 7 utterances"):
        extract(
            str(system.config),
            str(system.model),
            system.list,
            str(tmp_path / "embedding.ark"),
            "raw",
            part=part,
        )


def test_more_processes_than_utterances_is_no_error(system, tmp_path):
    """Rank 0 of 2 has nothing to do where the list holds one utterance."""
    write_archive(tmp_path / "e.part0.ark", [])
    write_archive(tmp_path / "e.part1.ark", [(system.rows[0].key, np.ones(6, np.float32))])
    parts = [tmp_path / f"e.part{rank}.ark" for rank in (0, 1)]
    join([system.rows[0].key], parts, tmp_path / "e.ark")
    assert list(read_archive(tmp_path / "e.scp")) == [system.rows[0].key]


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ("a", "a was written by two processes"),
        ("stranger", "1 written that the list lacks: stranger"),
    ],
)
def test_an_utterance_twice_or_of_another_list_is_said(tmp_path, second, said):
    parts = [tmp_path / f"e.part{rank}.ark" for rank in (0, 1)]
    for part, keys in zip(parts, (["a", "b"], [second])):
        write_archive(part, [(key, np.ones(6, np.float32)) for key in keys])
    with pytest.raises(InputError, match=said):
        join(["a", "b"], parts, tmp_path / "e.ark")
    assert not (tmp_path / "e.ark").exists()


@pytest.mark.parametrize(
    ("asked", "processes", "expected"), [(None, "1", [3]), ("1", "1", []), ("1", "2", [1])]
)
def test_threads_are_those_asked_for_or_all_there_are(monkeypatch, asked, processes, expected):
    """torchrun asks for one of each of several processes, which is none of the user's words."""
    found = []
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: range(3))
    monkeypatch.setattr(torch, "set_num_threads", found.append)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if asked:
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
    start_process()
    assert found == expected


def test_all_cores_are_used_where_a_process_is_bound_to_none(monkeypatch):
    monkeypatch.delattr("os.sched_getaffinity")
    monkeypatch.setattr("os.cpu_count", lambda: 5)
    assert usable_cores() == 5


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"RANK": ""}, "RANK is ''"),
        ({"RANK": "x"}, "RANK is 'x'"),
        ({"RANK": "-1"}, "RANK is '-1'"),
        ({"RANK": "3"}, "RANK is '3', expected 0 to 0"),
        ({"WORLD_SIZE": "1.5"}, "WORLD_SIZE is '1.5'"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE is '0'"),
        ({"WORLD_SIZE": "2"}, "but RANK is not set"),
        ({"WORLD_SIZE": "2", "RANK": "0"}, "but MASTER_ADDR is not set"),
        ({"LOCAL_RANK": "9" * 20}, "LOCAL_RANK is '9"),
        ({"LOCAL_WORLD_SIZE": "x"}, "LOCAL_WORLD_SIZE is 'x'"),
        ({"SLURM_STEP_NUM_TASKS": "x"}, "SLURM_STEP_NUM_TASKS is 'x'"),
        (
            {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "x"},
            "MASTER_PORT is 'x'",
        ),
    ],
)
def test_an_environment_of_no_launcher_is_told(monkeypatch, variables, told):
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=told):
        start_process()


# Stages that are killed over results of another model


KILLED = 9


def run_killed(function, number: int) -> int:
    """Exit status of a process that is gone before its n-th change of a file's name."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        return os.waitstatus_to_exitcode(status)
    try:
        changes = 0

        def counted(change):
            def count(*args, **options):
                nonlocal changes
                changes += 1
                if changes > number:
                    os._exit(KILLED)
                return change(*args, **options)

            return count

        for name in ("replace", "unlink"):
            setattr(os, name, counted(getattr(os, name)))
        function()
        os._exit(0)
    finally:
        os._exit(1)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def restore(folder: Path, files: dict[str, bytes]) -> None:
    for path in folder.iterdir():
        path.unlink()
    for name, content in files.items():
        (folder / name).write_bytes(content)


def kill_everywhere(folder: Path, first, second, read) -> None:
    """Kill a stage at every change of a file, over results of another model.

    Args:
        folder: folder of the results.
        first: runs the stage with one model.
        second: runs it with another one.
        read: gives the model and the results as the next stage reads them.
    """
    first()
    results = dict([read()])
    earlier = contents(folder)
    second()
    results |= dict([read()])
    undisturbed = contents(folder)
    assert len(results) == 2
    outcomes = set()
    for number in range(100):
        restore(folder, earlier)
        files._cleaned_folders.clear()
        status = run_killed(second, number)
        try:
            model, rows = read()
            assert rows == results[model]
            outcomes.add(model)
        except InputError:
            outcomes.add("refused")
        if status != KILLED:
            break
        if number % 3 == 0:
            files._cleaned_folders.clear()
            second()
            assert contents(folder) == undisturbed
    # Before the first change, in the midst, and after the last one.
    assert status == 0
    assert outcomes == {*results, "refused"}


def read_rows(scp: Path) -> tuple[str, dict]:
    """Model and arrays of an archive, as the next stage reads them."""
    sidecar = read_sidecar(scp)
    return sidecar.model_hash, {key: row.tolist() for key, row in read_archive(scp).items()}


@pytest.fixture
def other_model(system, tmp_path) -> Path:
    state = checkpoint.load(system.model)
    for name, value in state["model"].items():
        if name.endswith("weight"):
            state["model"][name] = value * 1.25
    checkpoint.save(tmp_path / "other.pt", state)
    return tmp_path / "other.pt"


def test_a_killed_extraction_leaves_no_mixture(system, other_model, tmp_path, monkeypatch):
    # Building the system and asking git take longer than all the rest.
    experiment = load_experiment(str(system.config))
    monkeypatch.setattr(extract_module, "load_experiment", lambda config: experiment)
    monkeypatch.setattr(extract_module, "code_commit", lambda: "unknown")
    ark = tmp_path / "e/embedding.ark"

    def stage(model):
        def run():
            extract(str(system.config), str(model), system.list, str(ark), "raw")

        return run

    scp = ark.with_suffix(".scp")
    kill_everywhere(ark.parent, stage(system.model), stage(other_model), lambda: read_rows(scp))


def test_a_killed_inference_leaves_no_mixture(system, other_model, tmp_path, monkeypatch):
    experiment = load_experiment(str(system.config))
    monkeypatch.setattr(extract_module, "load_experiment", lambda config: experiment)
    monkeypatch.setattr(infer_module, "load_experiment", lambda config: experiment)
    out = tmp_path / "p"

    def stage(model):
        ark = tmp_path / f"{model.stem}.ark"
        extract(str(system.config), str(model), system.list, str(ark), "raw")

        def run():
            infer(str(model), str(system.config), str(ark.with_suffix(".scp")), str(out))

        return run

    scp = out / "logits.scp"
    kill_everywhere(out, stage(system.model), stage(other_model), lambda: read_rows(scp))


def test_two_extractions_in_one_folder_are_refused(system, tmp_path):
    code = (
        "import sys, time; from wedefense_lite.files import folder_lock\n"
        "with folder_lock(sys.argv[1], 'extraction'): print(flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE)
    try:
        holder.stdout.readline()
        with pytest.raises(InputError, match="in use by extraction, process"):
            system.extract(embed_ark=str(tmp_path / "embedding.ark"))
    finally:
        holder.kill()
        holder.wait()
    assert not (tmp_path / "embedding.json").exists()


def test_embeddings_of_another_shape_are_refused_by_name(system, tmp_path):
    scp = system.ark.with_suffix(".scp")
    rows = dict(read_archive(scp))
    rows[system.rows[2].key] = np.ones((2, 3), np.float32)
    write_archive(tmp_path / "e.ark", rows.items())
    write_sidecar(tmp_path / "e.ark", read_sidecar(scp))
    with pytest.raises(InputError, match=rf"e\.scp: {system.rows[2].key} has .*\(2, 3\), expected"):
        infer(str(system.model), str(system.config), str(tmp_path / "e.scp"), str(tmp_path / "out"))


def test_a_model_trained_on_one_class_is_named(system, tmp_path):
    state = checkpoint.load(system.model)
    checkpoint.save(tmp_path / "one.pt", state | {"class_prior": [1.0, 0.0]})
    with pytest.raises(
        InputError, match=r"one\.pt: class_prior is \[1\.0, 0\.0\]: it was trained on one class"
    ):
        extract(
            str(system.config),
            str(tmp_path / "one.pt"),
            system.list,
            str(tmp_path / "e.ark"),
            "raw",
        )


# Stage 3 as a command


def test_tutorial_flags_stand_for_keys_of_the_configuration(tmp_path, monkeypatch):
    config, seen = tiny.write_config(tmp_path), {}
    words = f"""--config {config} --exp_dir {tmp_path} --gpus [0] --num_avg 2 --data_type shard
        --train_data t --train_label l --val_data v --val_label w --save_epoch_interval 3
        --early_stop_patience -1 --validate_interval 4 --num_epochs=7 --batch_size 8 --seed 5
        --num_workers 0 --precision bf16 --data.crop_seconds 1.5 --training.optimizer.lr 0.5"""
    monkeypatch.setattr("sys.argv", ["train.py", *words.split()])
    parser = train_module._parser()
    arguments = parser.parse_args(train_module._full_names(words.split()))
    exp = train_module.build(arguments)
    seen |= vars(exp.training)
    expected = {"num_avg": 2, "save_epoch_interval": 3, "early_stop_patience": -1, "num_epochs": 7}
    expected |= {"validate_interval": 4, "seed": 5, "precision": "bf16"}
    assert expected.items() <= seen.items()
    assert (exp.data.batch_size, exp.data.crop_seconds, arguments.gpus) == (8, 1.5, "[0]")
    assert exp.training.optimizer([torch.zeros(1)]).defaults["lr"] == 0.5


@pytest.mark.parametrize(
    "words", ["--num_epoch 3", "--training.num_epoch 3", "--data.batch_size x"]
)
def test_unknown_shortened_and_mistyped_options_are_refused(tmp_path, words, capsys):
    command = (
        f"--config {tiny.write_config(tmp_path)} --exp_dir e --train_data t --train_label l {words}"
    )
    with pytest.raises(SystemExit) as stop:
        train_module._parser().parse_args(train_module._full_names(command.split()))
    assert stop.value.code == 2


def test_training_leaves_what_the_later_stages_and_a_reader_need(tmp_path):
    rows = tiny.corpus(tmp_path / "train", 6)
    raw, labels = tiny.write_lists(tmp_path, rows)
    exp_dir = tmp_path / "exp"
    exp = tiny.experiment(num_epochs=1)
    train_module.train(exp, exp_dir, raw, labels, raw, labels, data_type="raw", gpus="[0]")
    folders = {"config.yaml", "env.json", "metrics.csv", "models", "tensorboard", "train.log"}
    assert set(tiny.files(exp_dir)) == folders
    assert (exp_dir / "config.yaml").read_text() == exp.text
    assert read_json(exp_dir / "env.json")["class_prior"] == pytest.approx([4 / 6, 2 / 6])


def test_a_dev_list_needs_its_labels(tmp_path):
    with pytest.raises(InputError, match="--val_corpora or --val_sources go together"):
        train_module.train(None, tmp_path, "t", "l", val_data="v")


def test_training_can_start_from_another_models_weights(system, tmp_path):
    raw, labels = tiny.write_lists(tmp_path, system.rows)
    exp = tiny.experiment(num_epochs=1, lr=0.0)
    train_module.train(
        exp, tmp_path / "e", raw, labels, data_type="raw", checkpoint=str(system.model)
    )
    start = checkpoint.load(system.model)["model"]["head.linear.weight"]
    end = checkpoint.load(tmp_path / "e/models/model_1.pt")["model"]["head.linear.weight"]
    assert torch.equal(start, end)


# A folder in which another training was


class Exp:
    """A folder to train in, and two corpora to train on."""

    def __init__(self, folder):
        self.folder, self.models = folder / "exp", folder / "exp/models"
        self.lists = {}
        for seed, name in enumerate(("first", "second")):
            rows = tiny.corpus(folder / name, 6, seed)
            self.lists[name] = tiny.write_lists(folder / name, rows)

    def train(self, name: str, num_epochs=2, lr=0.01, kill=None, **options):
        """Train on one of the corpora, its own dev set; ``kill`` names the method in which it is
        killed.
        """
        exp = tiny.experiment(num_epochs=num_epochs, save_epoch_interval=1, lr=lr)
        listed = self.lists[name]
        with pytest.MonkeyPatch.context() as patch:
            if kill is not None:
                patch.setattr(train_module.Trainer, kill, killed)
            train_module.train(exp, self.folder, *listed, *listed, data_type="raw", **options)

    def content(self) -> dict[str, bytes]:
        paths = [path for path in self.folder.rglob("*") if path.is_file()]
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in paths}


class Killed(Exception):
    """What a power cut is to a test."""


def killed(*_):
    raise Killed


@pytest.fixture
def exp(tmp_path):
    return Exp(tmp_path)


def test_a_training_without_its_last_is_not_trained_over(exp):
    """Else, where the second one ends earlier, epochs of both would be averaged."""
    exp.train("first", num_epochs=4)
    (exp.models / "last.pt").unlink()
    before = exp.content()
    said = r"models holds model_1\.pt, model_2\.pt, model_3\.pt and 2 more of another training.*--overwrite true"
    with pytest.raises(InputError, match=said) as error:
        exp.train("second")
    assert "another --exp_dir" in str(error.value) and "\n" not in str(error.value)
    assert exp.content() == before


def test_overwriting_removes_what_training_wrote_and_nothing_else(exp):
    exp.train("first", num_epochs=4)
    average_model(str(exp.models / "avg_model.pt"), str(exp.models), 2)
    (exp.models / "last.pt").unlink()
    (exp.folder / "train.log").write_text("of the first\n")
    own = ("notes.txt", "models/mine.pt", "models/model_x.pt", "tensorboard/notes.txt")
    for name in own:
        (exp.folder / name).write_text("mine")
    exp.train("second", overwrite=True)
    assert all((exp.folder / name).read_text() == "mine" for name in own)
    names = ["best_model.pt", "last.pt", "mine.pt", "model_1.pt", "model_2.pt", "model_x.pt"]
    assert tiny.files(exp.models) == names
    assert len(list((exp.folder / "tensorboard").glob("events*"))) == 1
    assert "of the first" not in (exp.folder / "train.log").read_text()
    assert len((exp.folder / "metrics.csv").read_text().splitlines()) == 3
    alone = Exp(exp.folder.parent / "alone")
    alone.lists = exp.lists
    alone.train("second")
    average_model(str(exp.models / "avg_model.pt"), str(exp.models), 2)
    average_model(str(alone.models / "avg_model.pt"), str(alone.models), 2)
    found, expected = (
        checkpoint.load(one.models / "avg_model.pt")["model"] for one in (exp, alone)
    )
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("first", {"lr": 0.5}, "with another training.lr"),
        ("second", {}, "on another --train_data"),
    ],
)
def test_overwriting_begins_anew_where_last_is_of_another_training(exp, name, changes, said):
    exp.train("first")
    former = (exp.models / "model_2.pt").read_bytes()
    with pytest.raises(
        InputError, match=rf"was trained {said}.*: take another --exp_dir, or --overwrite true"
    ):
        exp.train(name, **changes)
    assert (exp.models / "model_2.pt").read_bytes() == former
    exp.train(name, overwrite=True, **changes)
    latter = (exp.models / "model_2.pt").read_bytes()
    assert latter != former
    exp.train(name, **changes)
    assert (exp.models / "model_2.pt").read_bytes() == latter


@pytest.mark.parametrize("removed", range(5))
def test_models_are_not_averaged_once_their_removal_has_begun(exp, removed, monkeypatch):
    exp.train("first")
    unlink = Path.unlink
    calls = []

    def unlink_or_die(path, **options):
        if path.suffix in (".pt", ".csv"):
            calls.append(path.name)
            if len(calls) > removed:
                raise Killed
        unlink(path, **options)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Path, "unlink", unlink_or_die)
        remove_training(exp.folder)
    for num in (2, 0):
        with pytest.raises(InputError):
            average_model(str(exp.folder.parent / "average.pt"), str(exp.models), num)
    if not removed:
        # Its last.pt is still there, and has the rows of metrics.csv.
        exp.train("first")
        average_model(str(exp.folder.parent / "average.pt"), str(exp.models), 2)


def test_overwriting_continues_what_is_its_own(exp):
    """So a job that is killed and queued again with the same command gets on."""
    exp.train("first")
    before = {path.name: path.stat().st_mtime_ns for path in exp.models.iterdir()}
    exp.train("first", overwrite=True)
    assert {path.name: path.stat().st_mtime_ns for path in exp.models.iterdir()} == before


@pytest.mark.parametrize("damaged", [b"", b"not a checkpoint"])
def test_a_last_that_is_damaged_is_refused_or_overwritten(exp, damaged):
    exp.train("first")
    (exp.models / "last.pt").write_bytes(damaged)
    with pytest.raises(InputError, match="not a readable checkpoint.*--overwrite true"):
        exp.train("first")
    exp.train("first", overwrite=True)
    assert checkpoint.load(exp.models / "last.pt")["epoch"] == 3


def test_imported_weights_are_not_trained_over(exp, system):
    exp.models.mkdir(parents=True)
    best = exp.models / "best_model.pt"
    state = checkpoint.load(system.model) | {"epoch": 0}
    checkpoint.save(best, {key: value for key, value in state.items() if key != "data_hashes"})
    with pytest.raises(InputError, match=r"holds best_model\.pt of another training"):
        exp.train("first")
    with pytest.raises(
        InputError, match=r"--checkpoint .* is in the --exp_dir that --overwrite clears"
    ):
        exp.train("first", overwrite=True, checkpoint=str(best))
    assert best.exists()


def test_a_training_killed_before_its_first_last_begins_again(exp):
    with pytest.raises(Killed):
        exp.train("first", kill="train_epoch")
    assert {"config.yaml", "env.json", "train.log"} <= set(tiny.files(exp.folder))
    exp.train("first")
    assert checkpoint.load(exp.models / "last.pt")["epoch"] == 3


def test_a_training_killed_between_its_first_model_and_last_begins_again(exp):
    with pytest.raises(Killed):
        exp.train("first", kill="_save_last")
    assert tiny.files(exp.models) == ["best_model.pt", "model_1.pt"]
    for name, changes in (("second", {}), ("first", {"lr": 0.5})):
        with pytest.raises(InputError, match="of another training"):
            exp.train(name, **changes)
    exp.train("first")
    assert checkpoint.load(exp.models / "last.pt")["epoch"] == 3


def test_a_training_that_would_keep_no_model_is_refused(exp):
    raw, labels = exp.lists["first"]
    settings = tiny.experiment(num_avg=0)
    with pytest.raises(
        InputError, match="--num_avg 0 keeps the best model alone, which takes a dev set"
    ):
        train_module.train(settings, exp.folder, raw, labels, data_type="raw")
    train_module.train(
        tiny.experiment(num_avg=0, save_epoch_interval=1), exp.folder, raw, labels, data_type="raw"
    )
