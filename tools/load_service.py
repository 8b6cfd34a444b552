"""The service under load: good and bad uploads from many clients at once, memory and files."""

from wedefense_lite import cli

import asyncio
import io
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import soundfile as sf
from jsonargparse.typing import PositiveFloat, PositiveInt

from wedefense_lite.files import InputError
from wedefense_lite.report.tables import publish, table

RATE = 16000
MAX_MB = 2.0
UPLOAD_SECONDS = 2  # after which the service refuses a body that has not come
STARTING_SECONDS = 120
BUSY = 503
BUSY_SECONDS = 0.2  # until a client that was told that the service is busy tries again
SLOW_CHUNKS = 10  # in which a slow client sends the half of its body
BOUNDARY = "------------------------boundary"
# Kinds of uploads: how many of each hundred, and the statuses that are right for them.
KINDS = {
    "speech": (76, {200}),
    "silence": (8, {422}),
    "no audio": (8, {422}),
    "no form": (3, {400}),
    "too large": (2, {413}),
    "cut off": (2, {400, None}),
    "slow": (1, {408}),
}


def load_service(
    model: str,
    requests: PositiveInt = 5000,
    clients: PositiveInt = 200,
    seconds: PositiveFloat = 1.0,
    json: str | None = None,
) -> None:
    """Start the service of a model on loopback, send it uploads, and print what became of them.

    Of a hundred uploads 76 are speech; the others are silence, no audio, no form, too large, cut
    off, or slower than the service waits. A client that is told that the service is busy tries
    again. Memory and open files of both processes are taken after the first fifth of the requests,
    and at the end.

    Args:
        model: bundle, experiment or ONNX file.
        requests: uploads that are answered with another status than busy.
        clients: how many send at a time.
        seconds: length of the speech.
        json: file for the results.

    Raises:
        InputError: the service does not start or ends, an upload has another status than it should
            have, a process that scores was replaced, or files are left.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "wedefense_lite", "serve", "--model", model, "--port", "0"]
        command += ["--upload_seconds", str(UPLOAD_SECONDS), "--max_uploads", str(clients)]
        command += ["--max_mb", f"{MAX_MB:g}", "--max_connections", str(2 * clients + 50)]
        log = Path(folder, "log")
        temporary = Path(folder, "temporary")
        temporary.mkdir()
        with open(log, "w") as log_file:
            process = subprocess.Popen(
                command, stderr=log_file, env=os.environ | {"TMPDIR": str(temporary)}
            )
        try:
            port = _port(process, log)
            load = Load(port, process.pid, bodies(seconds))
            started = time.perf_counter()
            asyncio.run(load.run(requests, clients))
            passed = time.perf_counter() - started
            replaced = asyncio.run(load.replaced())
            left = [path.name for path in temporary.rglob("*") if path.is_file()]
        finally:
            process.terminate()
            process.wait()
    results = {
        "requests": requests,
        "clients": clients,
        "seconds": passed,
        "busy": load.busy,
        "replaced": replaced,
        "files left": left,
        "statuses": load.statuses_by_kind(),
        "before": load.before,
        "after": load.after,
    }
    publish(_lines(results), results, json)
    if load.wrong:
        raise InputError(f"{len(load.wrong)} wrong answers, the first: {load.wrong[0]}")
    if replaced or left:
        raise InputError(f"{replaced:g} processes replaced, files left: {left}, expected none")


def bodies(seconds: float) -> dict[str, bytes]:
    """Bytes of a file of each kind of upload."""
    rng = np.random.default_rng(1)
    samples = round(seconds * RATE)
    # Bursts, as of syllables: noise of one level is refused as no speech.
    envelope = np.abs(np.sin(2 * np.pi * 4 * np.arange(samples) / RATE)) ** 4
    files = {}
    for kind, wav in (
        ("speech", 0.3 * envelope * rng.standard_normal(samples)),
        ("silence", np.zeros(samples)),
    ):
        file = io.BytesIO()
        sf.write(file, wav, RATE, format="WAV")
        files[kind] = file.getvalue()
    files["no audio"] = rng.bytes(3000)
    files["too large"] = bytes(round(1.5e6 * MAX_MB))
    for kind in ("no form", "cut off", "slow"):
        files[kind] = files["speech"]
    return files


class Load:
    """Clients of a service.

    Args:
        port: port of the service, on loopback.
        pid: number of its process.
        files: bytes of a file of each kind of upload.

    Attributes:
        statuses: statuses of each kind of upload, counted; None where no answer came.
        busy: answers that said that the service is busy.
        wrong: answers that were not right for their kind, in words.
        before: memory and open files of the processes after a fifth of the requests.
        after: the same at the end.
    """

    def __init__(self, port: int, pid: int, files: dict[str, bytes]):
        self.port = port
        self.pid = pid
        self.statuses: Counter[tuple[str, int | None]] = Counter()
        self.busy = 0
        self.wrong: list[str] = []
        self.before: dict[str, float] = {}
        self.after: dict[str, float] = {}
        self._messages = {kind: _message(kind, data) for kind, data in files.items()}

    async def run(self, requests: int, clients: int) -> None:
        """Send uploads until so many are answered."""
        kinds = []
        for kind, (share, _) in KINDS.items():
            kinds += share * [kind]
        order = np.random.default_rng(1).permutation(len(kinds))
        waiting = [kinds[order[number % len(kinds)]] for number in range(requests)][::-1]
        total = len(waiting)

        async def client() -> None:
            while waiting:
                kind = waiting.pop()
                await self._answered(kind)
                if not self.before and len(waiting) < 0.8 * total:
                    self.before = observed(self.pid)

        await asyncio.gather(*(client() for _ in range(clients)))
        await asyncio.sleep(1)  # until the last connections are closed
        self.after = observed(self.pid)

    async def replaced(self) -> float:
        """How many processes that score were replaced."""
        _, text = await self._exchange(b"GET /metrics HTTP/1.1\r\nHost: x\r\n", b"", "metrics")
        return float(re.search(r"^wedefense_scoring_processes_replaced\S* (\S+)$", text, re.M)[1])

    def statuses_by_kind(self) -> dict[str, dict[str, int]]:
        """Counts of the statuses of each kind."""
        by_kind: dict[str, dict[str, int]] = {kind: {} for kind in KINDS}
        for (kind, status), count in sorted(self.statuses.items(), key=str):
            by_kind[kind][str(status or "closed")] = count
        return by_kind

    async def _answered(self, kind: str) -> None:
        while True:
            try:
                status, text = await self._exchange(*self._messages[kind], kind)
            # The service may close the connection of a body that it does not want.
            except ConnectionError:
                status, text = None, ""
            if status != BUSY:
                break
            self.busy += 1
            await asyncio.sleep(BUSY_SECONDS)
        self.statuses[kind, status] += 1
        expected = KINDS[kind][1]
        if status not in expected or (status and status != 200 and "error" not in text):
            self.wrong.append(f"{kind}: status {status}, {text[-200:]!r}, expected {expected}")

    async def _exchange(self, head: bytes, body: bytes, kind: str) -> tuple[int, str]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            length = b"Content-Length: %d\r\n" % len(body)
            writer.write(head + length + b"Connection: close\r\n\r\n")
            if kind == "cut off":
                writer.write(body[: len(body) // 2])
                writer.write_eof()
            elif kind == "slow":
                await self._send_slowly(writer, body)
            else:
                writer.write(body)
            reply = await reader.read()
        finally:
            writer.close()
        if not reply:
            raise ConnectionError
        return int(reply.split(b" ", 2)[1]), reply.decode(errors="replace")

    async def _send_slowly(self, writer: asyncio.StreamWriter, body: bytes) -> None:
        """Send the first half of a body bit by bit, and then no more."""
        size = len(body) // 2 // SLOW_CHUNKS
        for number in range(SLOW_CHUNKS):
            writer.write(body[number * size : (number + 1) * size])
            await asyncio.sleep(UPLOAD_SECONDS / 2 / SLOW_CHUNKS)


def _message(kind: str, data: bytes) -> tuple[bytes, bytes]:
    """Head and body of an upload."""
    disposition = 'Content-Disposition: form-data; name="file"; filename="a.wav"'
    begin = f"--{BOUNDARY}\r\n{disposition}\r\n\r\n".encode()
    body = begin + data + f"\r\n--{BOUNDARY}--\r\n".encode()
    if kind == "no form":
        body = data
    kind_of_content = f"multipart/form-data; boundary={BOUNDARY}"
    head = f"POST /score HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind_of_content}\r\n"
    return head.encode(), body


def observed(pid: int) -> dict[str, float]:
    """Megabytes and open files of a process and of its children, by /proc of Linux.

    The first child is the one of multiprocessing that removes what others leave.
    """
    facts = {}
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for name, number in (("service", pid), *zip(("helper", "scoring"), children)):
        status = Path(f"/proc/{number}/status").read_text()
        facts[f"{name} MB"] = int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1000
        facts[f"{name} files"] = len(os.listdir(f"/proc/{number}/fd"))
    return facts


def _port(process: subprocess.Popen, log: Path) -> int:
    end = time.monotonic() + STARTING_SECONDS
    while time.monotonic() < end and process.poll() is None:
        listening = re.search(r"http://127\.0\.0\.1:(\d+)/", log.read_text())
        if listening:
            return int(listening[1])
        time.sleep(0.1)
    raise InputError(f"the service does not start: {log.read_text().strip()[-300:]}")


def _lines(results: dict) -> list[str]:
    rows = [["upload", "statuses"]]
    for kind, statuses in results["statuses"].items():
        counted = ", ".join(f"{status}: {count}" for status, count in statuses.items())
        rows.append([kind, counted])
    facts = [["", "after a fifth", "at the end"]]
    for name, before in results["before"].items():
        facts.append([name, f"{before:.0f}", f"{results['after'][name]:.0f}"])
    rate = results["requests"] / results["seconds"]
    return [
        f"{results['requests']} requests of {results['clients']} clients in "
        f"{results['seconds']:.0f} s, {rate:.0f} a second; told to try again: {results['busy']}; "
        f"processes replaced: {results['replaced']:g}; files left: {len(results['files left'])}",
        *table(rows),
        *table(facts),
    ]


if __name__ == "__main__":
    cli.run(load_service, positional=True)
