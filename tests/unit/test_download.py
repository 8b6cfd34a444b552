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


def zipped(top="LA"):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        packed.writestr(f"{top}/README.txt", "read me")
        packed.writestr(f"{top}/flac/a.flac", np.random.default_rng(0).bytes(200_000))
    return buffer.getvalue()


class Server(ThreadingHTTPServer):
    """Serves ``data`` at any path; the first reply ends after ``cut`` bytes, later ones at the
    end.
    """

    daemon_threads = True

    def __init__(self, data):
        super().__init__(("127.0.0.1", 0), Handler)
        self.data, self.cut, self.ranges, self.asked = data, None, True, []
        self.url = f"http://127.0.0.1:{self.server_port}/LA.zip"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server, wanted = self.server, self.headers["Range"]
        server.asked.append(wanted)
        start = (
            int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and server.ranges else 0
        )
        size = len(server.data)
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
    with Server(zipped()) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def download(folder, server, *more):
    words = ("--url", server.url, "--folder", "DB/LA", "--licence", "ODC-By 1.0")
    return run_script(folder, "tools/download.py", *words, *more)


def sums(server):
    return {
        "md5": hashlib.md5(server.data).hexdigest(),
        "sha256": hashlib.sha256(server.data).hexdigest(),
    }


def test_a_stopped_download_goes_on_and_is_checked(tmp_path, server, caplog):
    caplog.set_level("INFO")
    known = [word for name, value in sums(server).items() for word in (f"--{name}", value)]
    server.cut = 90_000
    status, said = download(tmp_path, server, *known)
    assert status == 2
    assert (
        f"ended after 90000 of {len(server.data)} bytes; the same command goes on from there"
        in said
    )
    assert [path.name for path in (tmp_path / "DB").iterdir()] == ["LA.zip.part"]
    status, said = download(tmp_path, server, *known, "--size", len(server.data))
    assert (status, server.asked) == (0, [None, "bytes=90000-"]), said
    assert sorted(path.name for path in (tmp_path / "DB").iterdir()) == ["LA", "LA.zip"]
    assert (tmp_path / "DB/LA/README.txt").read_text() == "read me"
    assert (tmp_path / "DB/LA.zip").read_bytes() == server.data
    assert (
        "licence ODC-By 1.0" in caplog.text
        and f"md5 {sums(server)['md5']}, as expected" in caplog.text
    )
    assert download(tmp_path, server)[0] == 0 and len(server.asked) == 2  # it is there already


def test_a_part_that_is_complete_needs_nothing_more(tmp_path, server):
    (tmp_path / "DB").mkdir()
    (tmp_path / "DB/LA.zip.part").write_bytes(server.data)
    assert download(tmp_path, server)[0] == 0
    assert (tmp_path / "DB/LA/README.txt").exists()


def test_a_server_without_ranges_begins_again(tmp_path, server):
    (tmp_path / "DB").mkdir()
    (tmp_path / "DB/LA.zip.part").write_bytes(b"x" * 1000)
    server.ranges = False
    assert download(tmp_path, server)[0] == 0
    assert (tmp_path / "DB/LA.zip").read_bytes() == server.data


def test_checksums_without_published_ones_are_printed(tmp_path, server, caplog):
    caplog.set_level("INFO")
    assert download(tmp_path, server)[0] == 0
    for name, value in sums(server).items():
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
    status, said = download(tmp_path, server, *words)
    assert status == 2 and message in said.splitlines()[-1] and "Traceback" not in said
    assert not any(path.is_dir() for path in (tmp_path / "DB").iterdir())


def test_a_page_instead_of_the_archive_is_refused(tmp_path, server):
    server.data = b"<html>moved</html>"
    status, said = download(tmp_path, server)
    assert status == 2 and "not a zip file, expected an archive of LA/" in said


def test_a_folder_inside_a_tar_is_unpacked(tmp_path, server):
    buffer, text = io.BytesIO(), b"LA_0001 a - - bonafide"
    with tarfile.open(fileobj=buffer, mode="w:gz") as packed:
        member = tarfile.TarInfo("database/protocols/a.txt")
        member.size = len(text)
        packed.addfile(member, io.BytesIO(text))
    server.data = buffer.getvalue()
    words = (
        "--folder",
        "DB/protocols",
        "--url",
        server.url.replace("LA.zip", "database_protocols.tar.gz?download=1"),
    )
    assert download(tmp_path, server, *words)[0] == 0
    assert sorted(path.name for path in (tmp_path / "DB").iterdir()) == [
        "protocols",
        "protocols.tar.gz",
    ]
    assert (tmp_path / "DB/protocols/a.txt").read_bytes() == text
    server.data = server.data[:-12]
    status, said = download(tmp_path, server, "--folder", "DB/vad", *words[2:])
    assert status == 2 and "vad.tar.gz: " in said and "expected an archive of vad/" in said
