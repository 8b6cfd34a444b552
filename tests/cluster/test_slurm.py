"""The mini recipe on a Slurm of two nodes: whole, as a chain of jobs, killed and preempted.

``make cluster_test`` runs it. A training of two nodes ends with the bits of one of two processes.
"""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import slurm
from conftest import ROOT, UNTRAINED, typist

pytestmark = [
    pytest.mark.skipif("CLUSTER_TESTS" not in os.environ, reason="make cluster_test runs it"),
    pytest.mark.timeout(1800),
    pytest.mark.turns("cluster"),
]
RECIPE = (
    "egs/mini/run.sh --data_dir data --data_type raw --num_avg 2 --num_workers 0 --bootstrap 20 "
    "--corpus_dir corpus --scale 0.05"
).split()
TRAINING = ["--train_options", "--num_epochs 4 --batch_size 4", *UNTRAINED]


@pytest.fixture(scope="module")
def cluster():
    reason = slurm.obstacle()
    if reason:
        pytest.skip(reason)
    # Paths of sockets are short.
    folder = Path(tempfile.mkdtemp(prefix="slurm."))
    try:
        slurm_cluster = slurm.Slurm(folder)
    except slurm.NotStartedError as error:
        shutil.rmtree(folder)
        pytest.skip(str(error))
    yield slurm_cluster
    slurm_cluster.stop()
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def root(mini_corpus, tmp_path_factory):
    """A folder like the repository's root, with data, lists and a training of two processes."""
    folder = tmp_path_factory.mktemp("cluster")
    (folder / "corpus").symlink_to(mini_corpus)
    shutil.copytree(ROOT / "conf", folder / "conf")
    typed = typist(folder)
    typed(["bash", *RECIPE, "--stop_stage", "2"])
    typed(["bash", *RECIPE, *TRAINING, "--stage", "3", "--nproc", "2", "--exp_dir", "exp_local"])
    return folder


@pytest.fixture
def submit(cluster, root):
    """Function that submits a job of two nodes, and gives its number."""
    return submitter(cluster, root)


def submitter(cluster, root):
    """Function that submits a job of two nodes of a cluster, and gives its number."""
    cluster.environment |= {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "VIRTUAL_ENV": sys.prefix,
        "OMP_NUM_THREADS": "1",
    }

    def submitted(exp_dir: str, *words: str) -> str:
        command = ["sbatch", "--parsable", "--nodes=2", "tools/slurm.sbatch", *RECIPE, *TRAINING]
        command += ["--exp_dir", exp_dir, "--nproc", "1", "--stage", "3", *words]
        return cluster.call(command, root)

    return submitted


def finish(cluster, root, job: str) -> None:
    """Wait for a job that ends as it should."""
    cluster.wait_for(lambda: cluster.state(job) not in ("PENDING", "RUNNING", "COMPLETING"), 900)
    log = (root / f"slurm-{job}.log").read_text()
    assert cluster.state(job) == "COMPLETED", log[-5000:]


def end(cluster, job: str, state: str) -> None:
    """Wait until a job has ended in a state."""
    cluster.wait_for(lambda: cluster.state(job) == state, 600, f"{job} is {state}")


def check_models(root, exp_dir: str) -> None:
    """Check that a training has the bits of the one of two processes."""
    for name in ("model_3.pt", "model_4.pt", "avg_model.pt"):
        expected = (root / "exp_local/models" / name).read_bytes()
        assert (root / exp_dir / "models" / name).read_bytes() == expected, name


def begin_training(cluster, root, job: str, exp_dir: str) -> None:
    """Wait until a training has saved an epoch."""
    log = root / f"slurm-{job}.log"

    def has_saved() -> bool:
        return log.exists() and ", train_loss" in log.read_text()

    cluster.wait_for(has_saved, 600, f"{exp_dir}: {cluster.state(job)}")


def begin_at_once(cluster, job: str) -> None:
    """Let a requeued job begin without the two minutes that Slurm holds it."""
    cluster.wait_for(lambda: cluster.state(job) == "PENDING", 120, cluster.state(job))
    # A node refuses a job that begins again in the second in which it has ended there.
    time.sleep(3)
    cluster.call(f"scontrol update JobId={job} StartTime=now")


def ranks_of(exp_dir: str) -> list[int]:
    """Numbers of the processes that train in a folder."""
    pids = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:  # it has ended
            continue
        is_rank = any(word.endswith(b"bin/train.py") for word in words[:4])
        is_launcher = any(b"torchrun" in word for word in words[:4])
        if is_rank and not is_launcher and exp_dir.encode() in words:
            pids.append(int(path.parent.name))
    return pids


def ask_for(root, cpu_job: str, gpu_job: str) -> None:
    """Set what the jobs of a chain ask for."""
    settings = root / "conf/cmd.sh"
    settings.write_text(settings.read_text() + f'cpu_job="{cpu_job}"\ngpu_job="{gpu_job}"\n')


def submit_chain(cluster, root, *words: str) -> tuple[list[str], list[list[str]]]:
    """Submit a chain of jobs: their numbers, and the commands that were printed."""
    lines = cluster.call(["bash", "tools/submit.sh", *words], root).splitlines()
    jobs = [line.split()[-1] for line in lines if line.startswith("stage ")]
    commands = [shlex.split(line) for line in lines if line.startswith("sbatch")]
    return jobs, commands


def rank_of(pid: int) -> str:
    """Number that a launcher has given to a process."""
    for variable in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
        name, _, value = variable.decode().partition("=")
        if name == "RANK":
            return value
    return ""


def test_two_nodes_end_with_the_bits_of_two_processes(cluster, root, submit):
    job = submit("exp_nodes")
    finish(cluster, root, job)
    check_models(root, "exp_nodes")
    for name in ("dev", "eval", "eval_calibrated"):
        expected = (root / f"exp_local/posteriors/{name}/llr.txt").read_bytes()
        assert (root / f"exp_nodes/posteriors/{name}/llr.txt").read_bytes() == expected
    assert (root / "exp_nodes/report.html").is_file()
    first, *_, final = (root / f"slurm-{job}.log").read_text().splitlines()
    assert f"job {job} on n[1-2]: bash egs/mini/run.sh" in first
    assert final.endswith(f"job {job} on n[1-2]: exit status 0")


def test_a_chain_of_jobs_does_the_same_and_cpu_stages_hold_one_node(cluster, root, submit):
    ask_for(root, cpu_job="--nodes=1", gpu_job="--nodes=2")
    options = ["--exp_dir", "exp_chain", "--nproc", "1", "--stage", "3"]
    jobs, commands = submit_chain(cluster, root, *RECIPE, *TRAINING, *options)
    assert len(jobs) == 6
    two_nodes = ["--nodes=2" in command for command in commands]
    assert two_nodes == [True, True, False, False, False, False]
    for job in jobs:
        finish(cluster, root, job)
    check_models(root, "exp_chain")


def test_a_killed_rank_ends_the_job_and_the_next_one_continues(cluster, root, submit):
    job = submit("exp_killed", "--stop_stage", "3")
    begin_training(cluster, root, job, "exp_killed")
    os.kill(ranks_of("exp_killed")[1], signal.SIGKILL)
    cluster.wait_for(lambda: cluster.state(job) == "FAILED", 300, cluster.state(job))
    cluster.wait_for(lambda: not ranks_of("exp_killed"), 60)
    finish(cluster, root, submit("exp_killed", "--stop_stage", "4"))
    check_models(root, "exp_killed")


def test_a_rank_that_is_stopped_ends_the_job_with_its_name_in_two_minutes(cluster, root, submit):
    job = submit("exp_stopped", "--stop_stage", "3")
    begin_training(cluster, root, job, "exp_stopped")
    (second,) = [pid for pid in ranks_of("exp_stopped") if rank_of(pid) == "1"]
    os.kill(second, signal.SIGSTOP)
    start = time.monotonic()
    end(cluster, job, "FAILED")
    assert time.monotonic() - start < 120
    assert (
        "process 1 has been silent for 60 s: the run has ended"
        in (root / f"slurm-{job}.log").read_text()
    )
    cluster.wait_for(lambda: not ranks_of("exp_stopped"), 60)


@pytest.mark.parametrize("how", ["the end of its time", "a requeue"])
def test_a_preempted_job_saves_its_step_and_goes_on(cluster, root, submit, how):
    exp_dir = f"exp_{how.split()[1]}"
    job = submit(exp_dir, "--stop_stage", "4")
    begin_training(cluster, root, job, exp_dir)
    if how == "a requeue":
        cluster.call(f"scontrol requeue {job}")
    else:
        # As Slurm sends it two minutes before the end.
        cluster.call(f"scancel --signal=USR1 --batch {job}")
    begin_at_once(cluster, job)
    finish(cluster, root, job)
    log = (root / f"slurm-{job}.log").read_text()
    assert "stopped by" in log and "continue from" in log, log[-5000:]
    check_models(root, exp_dir)


def test_a_failed_stage_cancels_the_stages_behind_it(cluster, root, submit):
    ask_for(root, cpu_job="--nodes=1", gpu_job="--nodes=1")
    options = ["--exp_dir", "exp_none", "--stage", "6"]
    jobs, _ = submit_chain(cluster, root, *RECIPE, *options)
    end(cluster, jobs[0], "FAILED")
    end(cluster, jobs[-1], "CANCELLED")


def test_an_array_whose_part_is_missing_names_it_and_ends_as_one_job_does(cluster, root, submit):
    ask_for(root, cpu_job="--nodes=1", gpu_job="--nodes=1")
    results = shutil.ignore_patterns("embeddings", "posteriors", "avg_model.pt")
    shutil.copytree(root / "exp_local", root / "exp_array", ignore=results)
    options = ["--exp_dir", "exp_array", "--nproc", "1", *UNTRAINED]
    options += ["--stage", "4", "--stop_stage", "6"]
    jobs, commands = submit_chain(cluster, root, "--array", "3", *RECIPE, *options)
    _, extraction, joining, inference, scoring = jobs
    cluster.call(f"scancel {extraction}_2")
    end(cluster, joining, "FAILED")
    log = (root / f"slurm-{joining}.log").read_text()
    assert "extract again --part 2/3, and join then" in log
    for job in (inference, scoring):
        end(cluster, job, "CANCELLED")
    assert not (root / "exp_array/embeddings/dev/embedding.ark").exists()
    # The printed commands again: the part that is missing, and what is behind it.
    again = [word.replace("--array=1-3", "--array=2") for word in commands[1]]
    before = ""
    for command in (again, *commands[2:]):
        words = [word for word in command if not word.startswith("--dependency=")]
        if before:
            words.insert(1, f"--dependency=afterany:{before}")
        before = cluster.call(words, root)
        end(cluster, before, "COMPLETED")
    for name in ("embeddings/dev", "embeddings/eval"):
        written = sorted(path.name for path in (root / "exp_array" / name).iterdir())
        assert not any(path.startswith("part_") for path in written), written
        archive = f"{name}/embedding.ark"
        expected = (root / "exp_local" / archive).read_bytes()
        assert (root / "exp_array" / archive).read_bytes() == expected
    for name in ("dev", "eval", "eval_calibrated"):
        scores = f"posteriors/{name}/llr.txt"
        assert (root / "exp_array" / scores).read_bytes() == (
            root / "exp_local" / scores
        ).read_bytes()


def test_two_machines_on_a_network_end_with_the_bits_of_two_processes(root):
    missing = [program for program in slurm.NETWORK_PROGRAMS if shutil.which(program) is None]
    if missing or slurm.obstacle():
        pytest.skip(slurm.obstacle() or f"two machines need {', '.join(missing)}")
    folder = Path(tempfile.mkdtemp(prefix="slurm."))
    try:
        network = slurm.Network(folder)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"network namespaces are not permitted here: {error.stderr.decode().strip()}")
    try:
        cluster = slurm.Slurm(folder, network.hosts)
    except slurm.NotStartedError as error:
        network.remove()
        shutil.rmtree(folder)
        pytest.skip(str(error))
    try:
        hosts = cluster.call("srun --nodes=2 --ntasks-per-node=1 hostname").split()
        assert sorted(hosts) == ["host-a", "host-b"]
        finish(cluster, root, submitter(cluster, root)("exp_network", "--stop_stage", "4"))
    finally:
        cluster.stop()
        network.remove()
        shutil.rmtree(folder)
    check_models(root, "exp_network")
