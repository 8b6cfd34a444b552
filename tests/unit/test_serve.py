"""The HTTP service: rows of recordings, refusals with a reason, and nothing that is kept."""

import io
import json
import logging
import os
import socket
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import httpx
import numpy as np
import pytest
import serve_process
import soundfile as sf
import tiny
import uvicorn
from load_service import KINDS, load_service
from starlette.testclient import TestClient

from wedefense_lite import cli
from wedefense_lite.bin.serve import listening_socket, serve
from wedefense_lite.files import InputError
from wedefense_lite.scoring.recording_scores import Request, Scorer
from wedefense_lite.serve import observation
from wedefense_lite.serve.app import application, policy
from wedefense_lite.serve.limits import Limits
from wedefense_lite.serve.observation import JsonFormatter
from wedefense_lite.serve.pool import (
    Pool,
    Reply,
    ScoringError,
    TooSlow,
    Upload,
    Worker,
    answer,
    peaks_of,
)

LIMITS = Limits(max_mb=0.3, max_files=3, max_seconds=4.0, upload_seconds=1.0, max_uploads=4)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    thresholds = {"EER": -1e6}
    return tiny.bundle(
        folder,
        data={"eval_seconds": 1.0},
        class_prior=(0.5, 0.5),
        thresholds=thresholds,
        threshold=-1e6,
    )


class PoolHere:
    """Pool whose recordings are scored in this process, as a process of ``Pool`` does."""

    restarts = 0

    def __init__(self, bundle):
        self.scorer = Scorer(Request(str(bundle), windows="all"), max_seconds=LIMITS.max_seconds)
        self.model = {"hashes": self.scorer.model_hashes, "threshold": self.scorer.threshold}
        self.threads = ThreadPoolExecutor(1)
        self.problem = None

    def submit(self, upload: Upload) -> Future:
        return self.threads.submit(self.reply, upload)

    def reply(self, upload: Upload) -> Reply:
        if self.problem:
            raise self.problem
        return answer(self.scorer, upload)


@pytest.fixture(scope="module")
def pool(bundle):
    return PoolHere(bundle)


@pytest.fixture
def client(pool):
    pool.problem = None
    return TestClient(application(pool, LIMITS, "tiny"), raise_server_exceptions=False)


def wav(seconds: float = 2.4, seed: int = 0, rate: int = tiny.RATE) -> bytes:
    file = io.BytesIO()
    sf.write(file, tiny.talking(seconds * rate / tiny.RATE, seed), rate, format="WAV")
    return file.getvalue()


def form(*parts: tuple[str, bytes]) -> list:
    return [("file", part) for part in parts]


# ---- Rows


def test_a_row_is_that_of_the_command_score(client, bundle, tmp_path):
    """Its name is that of the client, which no process that scores is told."""
    path = tmp_path / "call.wav"
    path.write_bytes(wav())
    expected, _ = Scorer(Request(str(bundle), windows="all")).score(str(path))
    reply = client.post("/score?waveform=40", files=form(("call.wav", wav())))
    assert reply.status_code == 200
    fields = reply.json()
    assert len(fields.pop("waveform")) == 40
    assert fields == json.loads(replace(expected, path="call.wav").json())
    assert len(fields["windows"]) == 3
    assert "waveform" not in client.post("/score", files=form(("call.wav", wav()))).json()


def test_a_batch_has_a_row_each_and_a_broken_one_ends_nothing(client):
    files = form(("a.wav", wav(1.0)), ("b.wav", b"text"), ("c.wav", wav(1.0, seed=1)))
    rows = client.post("/batch", files=files).json()["recordings"]
    assert [row["path"] for row in rows] == ["a.wav", "b.wav", "c.wav"]
    assert [row["llr"] is None for row in rows] == [False, True, False]
    assert rows[0]["llr"] != rows[2]["llr"]
    assert "Format not recognised" in rows[1]["note"]


def test_peaks_are_those_of_equal_parts():
    wav_T = np.array([0.1, -0.5, 0.2, 0.3, 0.0, -1.0, 0.25])
    assert peaks_of(wav_T, 3) == [0.5, 0.3, 1.0]
    assert peaks_of(wav_T[:2], 5) == [0.1, 0.5]
    assert peaks_of(wav_T[:0], 5) == []


def test_a_file_that_only_its_name_tells_is_read(client):
    """G.722 has no header: 20 kB of it are 2.5 s."""
    noise = np.random.default_rng(0).integers(0, 256, 8000, dtype=np.uint8).tobytes()
    named = client.post("/score", files=form(("call.g722", noise)))
    assert "Format not recognised" not in named.text
    assert "Format not recognised" in client.post("/score", files=form(("call", noise))).text


# ---- Refusals


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"text", "Format not recognised"),
        (b"", "an empty file"),
        (wav()[:3000], "truncated"),
        (wav(0.2), "too short"),
        (wav(4.5), "4.5 s long, expected at most 4 s"),
    ],
)
def test_what_can_not_be_scored_says_why(client, data, reason):
    reply = client.post("/score", files=form(("secret name.wav", data)))
    assert reply.status_code == 422
    assert reason in reply.json()["error"]
    assert "recording:" not in reply.json()["error"]


def test_requests_that_are_none_are_refused_with_a_reason(client):
    boundary = {"content-type": "multipart/form-data; boundary=x"}
    cut = b"--x\r\nContent-Disposition: form-data; name=file; filename=a\r\n\r\nab"
    no_boundary = {"content-type": "multipart/form-data"}
    two_files = form(("a", wav(0.6)), ("b", wav(0.6)))
    cases = [
        ({"content": b"RIFF"}, 415, "expected multipart/form-data"),
        ({"content": b"", "headers": no_boundary}, 400, "boundary"),
        ({"content": b"no form at all", "headers": boundary}, 400, "form"),
        ({"content": cut, "headers": boundary}, 400, "ends before its last boundary"),
        ({"data": {"a": "b"}, "files": {"c": (None, "text")}}, 400, "no file in it"),
        ({"files": two_files}, 400, "2 files, expected one"),
        ({"files": form(*[("a", b"1")] * 4)}, 400, "Too many files"),
        ({"files": form(("a", bytes(400_000)))}, 413, "larger than 0.3 MB"),
    ]
    for words, status, reason in cases:
        reply = client.post("/score", **words)
        assert (reply.status_code, reason in reply.json()["error"]) == (status, True), reply.text
    for text in ("-1", "4001", "1" * 5000, "²"):
        assert client.post("/score", params={"waveform": text}).status_code == 400
    assert client.get("/score").status_code == 405
    assert client.get("/../../etc/passwd").status_code == 404


def test_a_body_without_a_length_is_counted(client):
    def parts():
        for _ in range(10):
            yield bytes(100_000)

    headers = {"content-type": "multipart/form-data; boundary=x"}
    reply = client.post("/score", content=parts(), headers=headers)
    assert reply.status_code in (400, 413)
    body = b"--x\r\nContent-Disposition: form-data; name=file; filename=a\r\n\r\n"

    def long_file():
        yield body
        yield from parts()

    reply = client.post("/score", content=long_file(), headers=headers)
    assert (reply.status_code, reply.json()["error"]) == (413, "body: larger than 0.3 MB")


@pytest.mark.parametrize(
    ("problem", "status"),
    [(TooSlow("scoring takes longer than 1 s"), 422), (ScoringError("ended"), 500),
     (InputError("its weights are damaged"), 500), (ValueError("of somebody's file"), 500)],
)  # fmt: skip
def test_a_process_that_fails_is_a_reply(client, pool, problem, status):
    pool.problem = problem
    reply = client.post("/score", files=form(("a.wav", wav(0.6))))
    assert reply.status_code == status
    assert "somebody" not in reply.json()["error"]
    pool.problem = None
    assert client.post("/score", files=form(("a.wav", wav(0.6)))).status_code == 200


# ---- Operators


def test_health_and_metrics(client):
    assert client.get("/health").json()["model"]["name"] == "tiny"
    client.post("/score", files=form(("a.wav", wav(0.6))))
    client.post("/score", files=form(("a.wav", b"text")))
    client.get("/somebody.wav")
    text = client.get("/metrics").text
    for line in (
        'wedefense_requests_total{route="/score",status="200"} 1.0',
        'wedefense_requests_total{route="other",status="404"} 1.0',
        'wedefense_recordings_total{decision="bonafide"} 1.0',
        'wedefense_recordings_total{decision="refused"} 1.0',
        "wedefense_uploads_in_progress 0.0",
        "wedefense_scoring_processes_replaced 0.0",
    ):
        assert line in text.splitlines(), text
    assert "somebody" not in text


def test_log_lines_are_json_without_names(client, caplog):
    with caplog.at_level("INFO", logger="wedefense_lite.serve"):
        for data in (wav(0.6), b"text"):
            reply = client.post("/score?secret=1", files=form(("secret.wav", data)))
        client.get("/secret.wav")
    lines = [JsonFormatter().format(record) for record in caplog.records if "wedef" in record.name]
    assert "secret" not in "".join(lines)
    scored, refused, missing = map(json.loads, lines)
    assert (scored["route"], scored["status"], scored["event"]) == ("/score", 200, "request")
    assert scored["bytes"] > len(wav(0.6)) and scored["seconds"] > 0
    assert (refused["status"], refused["id"]) == (422, reply.headers["x-request-id"])
    assert (missing["route"], missing["status"]) == ("other", 404)


def test_an_exception_in_the_log_is_its_type():
    try:
        raise ValueError("of somebody's file")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "", 0, "failed", (), sys.exc_info())
    line = json.loads(JsonFormatter().format(record))
    assert (line["event"], line["error"]) == ("failed", "ValueError")
    assert "somebody" not in str(line)


# ---- The page


def test_the_page_is_whole_and_asks_its_own_host_alone(client):
    """Its policy names its style and its script by their hashes, and lets nothing else in."""
    reply = client.get("/")
    rules = reply.headers["content-security-policy"]
    assert rules == policy(reply.text)
    assert rules.startswith("default-src 'none'; style-src 'sha256-")
    assert "connect-src 'self'" in rules and "unsafe" not in rules
    assert "http" not in reply.text.replace("http://www.w3.org/2000/svg", "")
    assert " on" + "click" not in reply.text and "innerHTML" not in reply.text
    assert " style=" not in reply.text


def test_behind_a_proxy_the_page_asks_below_its_path(pool):
    there = TestClient(application(pool, LIMITS, "<b>"), root_path="/detect")
    page = there.get("/detect/").text
    assert '<body data-root="/detect">' in page
    assert "&lt;b&gt;" in page and "<b>" not in page
    assert there.post("/detect/score", files=form(("a.wav", wav(0.6)))).status_code == 200
    metrics = there.get("/detect/metrics").text
    assert 'wedefense_requests_total{route="/score",status="200"} 1.0' in metrics


# ---- Processes


def test_a_process_scores_as_the_command_does(bundle, pool):
    """One that can be started has loaded its model; names of others are no names of audio."""
    processes = Pool(Request(str(bundle), windows="all"), "cpu", LIMITS, 1)
    try:
        assert processes.model == pool.model
        for upload in (Upload(wav(1.5), num_peaks=9), Upload(b"text"), Upload(wav(5.0))):
            reply = processes.submit(upload).result()
            assert reply == pool.submit(upload).result()
            assert reply.scored.path == "recording"
    finally:
        processes.close()


def test_a_process_that_hangs_or_dies_is_replaced(monkeypatch):
    monkeypatch.setattr("wedefense_lite.serve.pool._work", serve_process.work)
    limits = replace(LIMITS, scoring_seconds=0.2)
    processes = Pool(Request("none"), "cpu", limits, 1)
    try:
        for data, error, restarts in (
            (b"1", None, 0),
            (b"hang", TooSlow, 1),
            (b"2", None, 1),
            (b"die", ScoringError, 2),
            (b"damaged", InputError, 2),
            (b"3", None, 2),
        ):
            future = processes.submit(Upload(data))
            assert isinstance(future.exception(), error) if error else not future.exception()
            assert error or future.result().scored == data
            assert processes.restarts == restarts
    finally:
        processes.close()


def test_a_model_that_can_not_be_loaded_is_one_line(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(Worker, "_start", lambda self: None)
    monkeypatch.setattr(Worker, "_receive", lambda self, seconds: raise_input_error())
    monkeypatch.setattr(Worker, "close", lambda self: None)
    monkeypatch.setattr(sys, "argv", ["serve", "--model", str(tmp_path), "--port", "0"])
    with pytest.raises(SystemExit) as stop:
        cli.run(serve)
    assert stop.value.code == 2
    assert "error: no model" in capsys.readouterr().err


def raise_input_error():
    raise InputError("no model")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--host", "example.org"), "expected an address"),
        (("--root_path", "detect"), "expected a path such as /detect"),
        (("--port", "65536"), "port"),
        (("--max_mb", "0"), "max_mb"),
    ],
)
def test_options_that_can_not_be_are_refused(monkeypatch, capsys, tmp_path, words, reason):
    monkeypatch.setattr(sys, "argv", ["serve", "--model", str(tmp_path), *words])
    with pytest.raises(SystemExit) as stop:
        cli.run(serve)
    assert stop.value.code == 2
    assert reason in capsys.readouterr().err


def test_it_listens_on_loopback_and_says_where_it_does_not(caplog):
    with listening_socket("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(InputError, match=f"127.0.0.1 port {port}: Address already in use"):
            listening_socket("127.0.0.1", port)
    assert not caplog.records
    listening_socket("0.0.0.0", 0).close()
    assert "0.0.0.0 is open to the network" in caplog.text


# ---- Load


@pytest.fixture
def address(pool, tmp_path, monkeypatch):
    """Address of a service that listens, with an empty folder for temporary files."""
    pool.problem = None
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(observation, "DRAIN_SECONDS", 0.5)
    listener = listening_socket("127.0.0.1", 0)
    config = uvicorn.Config(application(pool, LIMITS, "tiny"), log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield listener.getsockname()
    server.should_exit = True
    thread.join()


def raw_reply(address, body: bytes, length: int, waits: bool) -> bytes:
    """Reply to a body that states another length than it has, to the end of the connection."""
    head = (
        "POST /score HTTP/1.1\r\nHost: here\r\nConnection: close\r\n"
        f"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: {length}\r\n\r\n"
    )
    with socket.create_connection(address, timeout=20) as connection:
        connection.sendall(head.encode() + body)
        if not waits:
            return b""
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
        return b"".join(parts)


def test_under_load_good_ones_are_scored_and_bad_ones_refused(address, tmp_path):
    """Sixty uploads at once: good, malformed, oversized, slow and cut off."""
    url = f"http://{address[0]}:{address[1]}"
    begin = b"--x\r\nContent-Disposition: form-data; name=file; filename=a\r\n\r\n"
    good = wav(0.6)
    open_files = len(os.listdir("/proc/self/fd"))

    def send(number: int) -> tuple[str, int]:
        kind = ("good", "malformed", "oversized", "slow", "cut off", "silent")[number % 6]
        if kind == "slow":
            return kind, int(raw_reply(address, begin, 1000, waits=True).split()[1])
        if kind == "cut off":
            raw_reply(address, begin, 1000, waits=False)
            return kind, 0
        content = {"good": good, "malformed": good[:99], "oversized": bytes(500_000)}
        data = content.get(kind, bytes(30_000))
        for _ in range(200):
            status = httpx.post(f"{url}/score", files={"file": ("a.wav", data)}).status_code
            if status != 503:
                break
            time.sleep(0.1)
        return kind, status

    with ThreadPoolExecutor(20) as threads:
        statuses = {}
        for kind, status in threads.map(send, range(60)):
            statuses.setdefault(kind, set()).add(status)
    assert statuses.pop("slow") <= {408, 503}
    assert statuses == {
        "good": {200},
        "malformed": {422},
        "oversized": {413},
        "silent": {422},
        "cut off": {0},
    }
    metrics = httpx.get(f"{url}/metrics").text
    assert 'wedefense_requests_total{route="/score",status="200"} 10.0' in metrics
    assert "wedefense_uploads_in_progress 0.0" in metrics
    assert os.listdir(tmp_path) == []
    deadline = time.monotonic() + 10
    while len(os.listdir("/proc/self/fd")) > open_files + 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(os.listdir("/proc/self/fd")) <= open_files + 2


# ---- Load


@pytest.mark.turns
def test_many_clients_with_good_and_bad_uploads_are_answered_rightly(bundle, tmp_path, capsys):
    results = tmp_path / "load.json"
    load_service(str(bundle), requests=100, clients=20, json=str(results))
    facts = json.loads(results.read_text())
    counts = {}
    for kind, statuses in facts["statuses"].items():
        counts[kind] = sum(statuses.values())
    assert counts == {kind: share for kind, (share, _) in KINDS.items()}
    assert facts["statuses"]["speech"] == {"200": 76}
    assert facts["files left"] == [] and facts["replaced"] == 0
    assert facts["after"]["service files"] < 20
    assert "100 requests of 20 clients" in capsys.readouterr().out
