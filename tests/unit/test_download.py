"""Archives are fetched from where they stopped, checked, and unpacked whole or not at all."""

import hashlib
import io
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from commands import run_script


def zip_archive(top="LA"):
    """Bytes of an archive of a folder with a text and an incompressible file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        packed.writestr(f"{top}/README.txt", "read me")
        packed.writestr(f"{top}/flac/a.flac", np.random.default_rng(0).bytes(200_000))
    return buffer.getvalue()


class Server(ThreadingHTTPServer):
    """Server of ``data`` at any path; the first reply ends after ``cut`` bytes."""

    daemon_threads = True

    def __init__(self, data):
        super().__init__(("127.0.0.1", 0), Handler)
        self.data = data
        self.cut = None
        self.knows_ranges = True
        self.requested_ranges = []  # header of each request
        self.url = f"http://127.0.0.1:{self.server_port}/LA.zip"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        size = len(server.data)
        byte_range = self.headers["Range"]
        server.requested_ranges.append(byte_range)
        start = 0
        if byte_range and server.knows_ranges:
            start = int(byte_range.removeprefix("bytes=").removesuffix("-"))
        if start >= size:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{size}")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(size - start))
        self.end_headers()
        self.wfile.write(server.data[start : server.cut])
        server.cut = None

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with Server(zip_archive()) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def download(folder, server, *more):
    words = ("--url", server.url, "--folder", "DB/LA", "--licence", "ODC-By 1.0")
    return run_script(folder, "tools/download.py", *words, *more)


def checksums(server):
    return {
        "md5": hashlib.md5(server.data).hexdigest(),
        "sha256": hashlib.sha256(server.data).hexdigest(),
    }


def test_a_stopped_download_goes_on_and_is_checked(tmp_path, server, caplog):
    caplog.set_level("INFO")
    options = []
    for name, value in checksums(server).items():
        options += [f"--{name}", value]
    server.cut = 90_000
    status, errors = download(tmp_path, server, *options)
    assert status == 2
    message = f"ended after 90000 of {len(server.data)} bytes; the same command goes on from there"
    assert message in errors
    assert [path.name for path in (tmp_path / "DB").iterdir()] == ["LA.zip.part"]
    status, errors = download(tmp_path, server, *options, "--size", len(server.data))
    assert status == 0, errors
    assert server.requested_ranges == [None, "bytes=90000-"]
    assert sorted(path.name for path in (tmp_path / "DB").iterdir()) == ["LA", "LA.zip"]
    assert (tmp_path / "DB/LA/README.txt").read_text() == "read me"
    assert (tmp_path / "DB/LA.zip").read_bytes() == server.data
    assert "licence ODC-By 1.0" in caplog.text
    assert f"md5 {checksums(server)['md5']}, as expected" in caplog.text
    # The folder is there, so nothing is fetched again.
    assert download(tmp_path, server)[0] == 0
    assert len(server.requested_ranges) == 2


def test_a_part_that_is_complete_needs_nothing_more(tmp_path, server):
    (tmp_path / "DB").mkdir()
    (tmp_path / "DB/LA.zip.part").write_bytes(server.data)
    assert download(tmp_path, server)[0] == 0
    assert (tmp_path / "DB/LA/README.txt").exists()


def test_a_server_without_ranges_begins_again(tmp_path, server):
    (tmp_path / "DB").mkdir()
    (tmp_path / "DB/LA.zip.part").write_bytes(b"x" * 1000)
    server.knows_ranges = False
    assert download(tmp_path, server)[0] == 0
    assert (tmp_path / "DB/LA.zip").read_bytes() == server.data


def test_checksums_without_published_ones_are_printed(tmp_path, server, caplog):
    caplog.set_level("INFO")
    assert download(tmp_path, server)[0] == 0
    for name, value in checksums(server).items():
        assert f"{name} {value}, nothing to compare" in caplog.text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--md5", "0" * 31 + "f"),
            "expected 0000000000000000000000000000000f; remove it to begin again",
        ),
        (("--sha256", "abc"), ", expected abc; remove it"),
        (("--size", "12"), "bytes, expected 12; remove it"),
        (("--folder", "DB/PA"), "expected an archive of PA/"),
        (("--url", "http://127.0.0.1:1/LA.zip"), "refused"),
        (("--url", ""), "unknown url type"),
    ],
)
def test_what_is_not_the_archive_is_not_unpacked(tmp_path, server, words, message):
    status, errors = download(tmp_path, server, *words)
    assert status == 2
    assert message in errors.splitlines()[-1]
    assert "Traceback" not in errors
    assert not any(path.is_dir() for path in (tmp_path / "DB").iterdir())


def test_a_page_instead_of_the_archive_is_refused(tmp_path, server):
    server.data = b"<html>moved</html>"
    status, errors = download(tmp_path, server)
    assert status == 2
    assert "not a zip file, expected an archive of LA/" in errors


def test_a_folder_inside_a_tar_is_unpacked(tmp_path, server):
    buffer = io.BytesIO()
    text = b"LA_0001 a - - bonafide"
    with tarfile.open(fileobj=buffer, mode="w:gz") as packed:
        member = tarfile.TarInfo("database/protocols/a.txt")
        member.size = len(text)
        packed.addfile(member, io.BytesIO(text))
    server.data = buffer.getvalue()
    url = server.url.replace("LA.zip", "database_protocols.tar.gz?download=1")
    assert download(tmp_path, server, "--folder", "DB/protocols", "--url", url)[0] == 0
    names = sorted(path.name for path in (tmp_path / "DB").iterdir())
    assert names == ["protocols", "protocols.tar.gz"]
    assert (tmp_path / "DB/protocols/a.txt").read_bytes() == text
    # An archive that lacks its last bytes.
    server.data = server.data[:-12]
    status, errors = download(tmp_path, server, "--folder", "DB/vad", "--url", url)
    assert status == 2
    assert "vad.tar.gz: " in errors
    assert "expected an archive of vad/" in errors
