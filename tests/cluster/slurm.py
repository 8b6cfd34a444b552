"""A Slurm of our own: controller and nodes as processes of this machine, all files in one folder.

Debian's packages slurm-wlm, slurm-wlm-basic-plugins and munge are needed, and root. Nothing under
/etc is read or written, and what was started is stopped by its process number.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol")
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}({address})
SlurmUser=root
SlurmdUser=root
SlurmctldPort={port}
AuthType=auth/munge
AuthInfo=socket={folder}/run/munge.sock
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd.%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=2,batch_sched_delay=0,bf_interval=2
SlurmdParameters=config_overrides
ReturnToService=2
MailProg=/bin/true
KillWait=20
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=YES:4
"""
NODE = "NodeName={name} NodeHostname={host} NodeAddr={address} Port={port} CPUs=2 RealMemory=8000\n"
NETWORK_PROGRAMS = ("ip", "nsenter", "unshare")


@dataclass(frozen=True)
class Host:
    """Machine of a node, as its processes see it.

    Attributes:
        name: its name.
        address: its address.
        prefix: words before a command that runs on it.
    """

    name: str
    address: str = "127.0.0.1"
    prefix: tuple[str, ...] = ()


class Network:
    """Two machines made of network namespaces of this one, which a pair of virtual cards connects.

    Each has a name of its own, and one table of hosts.

    Args:
        folder: of the table.

    Raises:
        subprocess.CalledProcessError: it isn't permitted here.
    """

    def __init__(self, folder: Path):
        mark = os.getpid()
        self.namespaces = [f"wd{mark}a", f"wd{mark}b"]
        names = ["host-a", "host-b"]
        addresses = ["10.77.0.1", "10.77.0.2"]
        table = folder / "hosts"
        lines = ["127.0.0.1 localhost"]
        for name, address in zip(names, addresses):
            lines.append(f"{address} {name}")
        table.write_text("\n".join(lines) + "\n")
        # Not "ip netns exec": that mounts another /sys, which slurmd can't do with.
        script = f'hostname "$0" && mount --bind {table} /etc/hosts && exec "$@"'
        self.hosts = []
        cards = [f"v{mark}a", f"v{mark}b"]
        for namespace in self.namespaces:
            _call("ip", "netns", "add", namespace)
        _call("ip", "link", "add", cards[0], "type", "veth", "peer", "name", cards[1])
        for namespace, card, name, address in zip(self.namespaces, cards, names, addresses):
            _call("ip", "link", "set", card, "netns", namespace)
            _call("ip", "-n", namespace, "addr", "add", f"{address}/24", "dev", card)
            _call("ip", "-n", namespace, "link", "set", card, "up")
            _call("ip", "-n", namespace, "link", "set", "lo", "up")
            enter = ("nsenter", f"--net=/run/netns/{namespace}", "unshare", "--uts", "--mount")
            self.hosts.append(Host(name, address, (*enter, "sh", "-c", script, name)))

    def remove(self) -> None:
        for namespace in self.namespaces:
            _call("ip", "netns", "delete", namespace)


def _call(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True, timeout=60)


def obstacle() -> str | None:
    """Reason why no Slurm can be started here; None where one can."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        return f"Slurm needs {', '.join(missing)} (apt-get install slurm-wlm munge)"
    if os.geteuid() != 0:
        return "Slurm needs root"
    return None


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, all different."""
    sockets = [socket.socket() for _ in range(count)]
    for listener in sockets:
        listener.bind(("127.0.0.1", 0))
    ports = [listener.getsockname()[1] for listener in sockets]
    for listener in sockets:
        listener.close()
    return ports


class NotStartedError(Exception):
    """Slurm is installed, but does not come up on this machine."""


class Slurm:
    """A cluster of nodes of two cores.

    Args:
        folder: of all its files; a short path, since sockets are in it.
        hosts: machine of each node; the first one has the controller, and commands run on it. By
            default two nodes are on this machine.

    Raises:
        NotStartedError: its programs end at once, or its nodes are not idle within a minute; says
            what the controller logged last.
    """

    def __init__(self, folder: Path, hosts: list[Host] | None = None):
        self.folder = folder
        if hosts is None:
            hosts = [Host(socket.gethostname().partition(".")[0])] * 2
        self.hosts = hosts
        nodes = len(hosts)
        self.environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf")}
        names = [f"n{number}" for number in range(1, nodes + 1)]
        for name in ("run", "log", "state", *(f"spool.{node}" for node in names)):
            (folder / name).mkdir(parents=True)
            (folder / name).chmod(0o755)
        key = folder / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        port, *node_ports = free_ports(nodes + 1)
        first = hosts[0]
        text = CONFIGURATION.format(
            host=first.name, address=first.address, port=port, folder=folder
        )
        for name, host, node_port in zip(names, hosts, node_ports):
            text += NODE.format(name=name, host=host.name, address=host.address, port=node_port)
        # Nodes come before the partition of all of them.
        lines = text.strip().splitlines()
        lines.sort(key=lambda line: line.startswith("PartitionName"))
        (folder / "slurm.conf").write_text("\n".join(lines) + "\n")
        try:
            self._start_all(names)
        except (AssertionError, subprocess.SubprocessError) as error:
            log = folder / "log/slurmctld.log"
            lines = log.read_text().splitlines() if log.exists() else []
            self.stop()
            raise NotStartedError(f"Slurm does not start here: {error}; {lines[-1:]}") from error

    def _start_all(self, names: list[str]) -> None:
        """Start the programs, and wait until all nodes are idle."""
        folder = self.folder
        self._start(
            "munged",
            "--force",
            f"--key-file={folder}/munge.key",
            f"--socket={folder}/run/munge.sock",
            f"--pid-file={folder}/run/munged.pid",
            f"--log-file={folder}/log/munged.log",
            f"--seed-file={folder}/run/munge.seed",
        )
        self._start(*self.hosts[0].prefix, "slurmctld", "-c")
        for name, host in zip(names, self.hosts):
            self._start(*host.prefix, "slurmd", "-N", name)
        self.wait_for(lambda: self.call("sinfo -h -t idle -o %D") == str(len(names)), 60)

    def _start(self, *words: str) -> None:
        subprocess.run(words, env=self.environment, check=True, capture_output=True, timeout=60)

    def call(self, words: str | list, folder: Path | None = None) -> str:
        """Standard output of a command of Slurm."""
        words = words.split() if isinstance(words, str) else words
        words = [*self.hosts[0].prefix, *words]
        run = subprocess.run(
            words,
            env=self.environment,
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert run.returncode == 0, f"{words}: {run.stderr}"
        return run.stdout.strip()

    def state(self, job: str) -> str:
        """State of a job, such as RUNNING."""
        fields = dict(
            field.split("=", 1)
            for field in self.call(f"scontrol show job {job}").split()
            if "=" in field
        )
        return fields["JobState"]

    def wait_for(self, condition, seconds: float, reason: str = "") -> None:
        """Wait until a condition is met.

        Raises:
            AssertionError: it is not met within some seconds.
        """
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"not within {seconds} s: {reason}"
            time.sleep(0.2)

    def stop(self) -> None:
        """Cancel all jobs, and end what was started."""
        cancel = [*self.hosts[0].prefix, "scancel", "-u", "root"]
        subprocess.run(cancel, env=self.environment, check=False, timeout=60)
        for name in ("slurmd.*.pid", "slurmctld.pid", "munged.pid"):
            for path in (self.folder / "run").glob(name):
                pid = int(path.read_text())
                os.kill(pid, signal.SIGTERM)
        self.wait_for(lambda: not list((self.folder / "run").glob("slurm*.pid")), 60)
