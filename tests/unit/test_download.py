"""Archives are fetched from where they stopped, checked, and unpacked whole or not at all."""

import hashlib
import io
import os
import stat
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import numpy as np
import pytest
from commands import run_script
from hypothesis import given
from hypothesis import strategies as st

from wedefense_lite.downloads import unpack
from wedefense_lite.files import InputError


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
        self.raw = None  # bytes that are sent in place of an HTTP reply
        self.status = None  # status in place of the right one
        self.is_chunked = False
        self.range_header = "bytes {start}-{last}/{size}"
        self.requested_ranges = []  # header of each request
        self.url = f"http://127.0.0.1:{self.server_port}/LA.zip"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        size = len(server.data)
        byte_range = self.headers["Range"]
        server.requested_ranges.append(byte_range)
        if server.raw is not None:
            self.wfile.write(server.raw)
            self.close_connection = True
            return
        start = 0
        if byte_range and server.knows_ranges:
            start = int(byte_range.removeprefix("bytes=").removesuffix("-"))
        if start >= size:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{size}")
            self.end_headers()
            return
        self.send_response(server.status or (206 if start else 200))
        if start:
            content_range = server.range_header.format(start=start, last=size - 1, size=size)
            self.send_header("Content-Range", content_range)
        if server.is_chunked:
            # One chunk, and no end behind it.
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"%x\r\n" % (size + 1) + server.data)
            self.close_connection = True
            return
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
        (("--size", "12"), "bytes, expected 12"),
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
    assert "vad.tar.gz.part: " in errors
    assert "expected an archive of vad/" in errors


# Answers of servers


def refused(folder, server, *more):
    """The one line of error of a download that must leave no folder."""
    status, errors = download(folder, server, *more)
    lines = [line for line in errors.splitlines() if ": error: " in line]
    assert status == 2 and len(lines) == 1 and "Traceback" not in errors
    assert not any(path.is_dir() for path in (folder / "DB").iterdir())
    return lines[0]


ANSWERS = {
    "no HTTP": ({"raw": b"\x00\x01\x02nonsense\r\n"}, "nonsense"),
    "nothing": ({"raw": b""}, "without response"),
    "chunks that break off": ({"is_chunked": True}, "IncompleteRead"),
    "no content": ({"status": 204}, "status 204, expected 200"),
    "not there": ({"status": 404}, "404"),
    "a lie about its length": (
        {"raw": b"HTTP/1.0 200 OK\r\nContent-Length: many\r\n\r\n"},
        "many",
    ),
    "a negative length": (
        {"raw": b"HTTP/1.0 200 OK\r\nContent-Length: -5\r\n\r\nPK"},
        "LA.zip",
    ),
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_answers_that_are_no_archive_are_one_line(tmp_path, server, kind):
    settings, message = ANSWERS[kind]
    for name, value in settings.items():
        setattr(server, name, value)
    assert message in refused(tmp_path, server)


@pytest.mark.parametrize("header", ["bytes {start}-{last}/12", "bytes 0-{last}/{size}", "x"])
def test_another_range_than_was_asked_for_is_refused(tmp_path, server, header):
    (tmp_path / "DB").mkdir()
    (tmp_path / "DB/LA.zip.part").write_bytes(b"x" * 1000)
    server.range_header = header
    assert "to begin again" in refused(tmp_path, server)


def test_a_part_that_is_longer_than_the_file_is_refused(tmp_path, server):
    (tmp_path / "DB").mkdir()
    (tmp_path / "DB/LA.zip.part").write_bytes(server.data + b"more")
    assert "remove it to begin again" in refused(tmp_path, server)
    assert not (tmp_path / "DB/LA.zip").exists()


def test_a_file_of_another_size_is_not_fetched(tmp_path, server):
    message = refused(tmp_path, server, "--size", len(server.data) + 1)
    assert f"{len(server.data)} bytes, expected {len(server.data) + 1}" in message
    assert not (tmp_path / "DB/LA.zip.part").exists()


def test_a_file_in_place_of_the_folder_is_told(tmp_path, server):
    (tmp_path / "DB").mkdir()
    (tmp_path / "DB/LA").write_text("")
    assert "a file, expected the folder" in refused(tmp_path, server)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/LA.zip", "LA.zip", "data:,x"])
def test_addresses_of_other_kinds_are_refused(tmp_path, server, url):
    assert "expected http:// or https://" in refused(tmp_path, server, "--url", url)


# Hostile archives


def zip_of(*members, compression=zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as packed:
        for name, data, mode in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.compress_type = compression
            packed.writestr(info, data)
    return buffer.getvalue()


def with_bytes(data, offset_in_local, offset_in_central, value):
    """A zip of one member with two bytes replaced in both of its headers."""
    central = data.rindex(b"PK\x01\x02")
    changed = bytearray(data)
    changed[offset_in_local : offset_in_local + 2] = value
    changed[central + offset_in_central : central + offset_in_central + 2] = value
    return bytes(changed)


FILE = ("LA/a.txt", b"text", 0o100644)
ONE = zip_of(FILE)
ZIPS = {
    "a password": (with_bytes(ONE, 6, 8, b"\x01\x00"), "'LA/a.txt' is encrypted"),
    "an unknown compression": (with_bytes(ONE, 8, 10, b"\x63\x00"), "unknown compression"),
    "a file in place of the folder": (zip_of(("LA", b"text", 0)), "no folder LA/"),
    "an absolute path": (zip_of(("/tmp/outside_of_it", b"x", 0)), "lies outside"),
    "a path upwards": (zip_of(FILE, ("LA/../../outside", b"x", 0)), "lies outside"),
    "a path upwards, backslashes": (zip_of(FILE, ("LA\\..\\..\\x", b"x", 0)), "outside"),
    "a link": (zip_of(FILE, ("LA/link", b"/etc/passwd", 0o120777)), "'LA/link' is no file"),
    "a device": (zip_of(FILE, ("LA/zero", b"", 0o020666)), "'LA/zero' is no file"),
    "a FIFO": (zip_of(FILE, ("LA/fifo", b"", 0o010666)), "'LA/fifo' is no file"),
    "an escape code in a name": (zip_of(FILE, ("LA/\x1b[2J", b"x", 0)), "control characters"),
    "a member twice": (zip_of(FILE, FILE), "is there twice"),
    "a flipped bit": (zip_archive().replace(b"read me", b"reed me"), "CRC"),
    "half of it": (zip_archive()[:100_000], "not a zip"),
    "nothing in it": (zip_of(), "no folder LA/"),
    "nothing": (b"", "not a zip"),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("kind", ZIPS)
def test_a_zip_that_is_none_of_the_corpus_leaves_nothing(tmp_path, server, kind):
    server.data, message = ZIPS[kind]
    if kind == "nothing":
        (tmp_path / "DB").mkdir()
        (tmp_path / "DB/LA.zip").write_bytes(b"")
    assert message in refused(tmp_path, server)
    assert not (tmp_path / "outside").exists()


def test_a_zip_that_states_more_than_it_can_hold_is_not_unpacked(tmp_path, server):
    """Stated sizes decide, so nothing of 4 GB is written to learn it."""
    central = ONE.rindex(b"PK\x01\x02")
    bomb = bytearray(ONE)
    bomb[22:26] = bomb[central + 24 : central + 28] = b"\xff\xff\xff\xf0"
    server.data = bytes(bomb)
    assert "more than an archive of its size can hold" in refused(tmp_path, server)


def test_an_archive_that_the_disk_has_no_room_for_is_not_unpacked(tmp_path, server, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    assert "1000 are free on the disk" in refused(tmp_path, server)


def tar_of(name, kind=tarfile.REGTYPE, data=b"", linkname=""):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as packed:
        for member_name, member_kind in [("LA/first.txt", tarfile.REGTYPE), (name, kind)]:
            member = tarfile.TarInfo(member_name)
            member.type = member_kind
            member.size = len(data)
            member.linkname = linkname
            packed.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


TARS = {
    "an absolute path": (tar_of("/tmp/outside_of_it"), "lies outside"),
    "a path upwards": (tar_of("LA/../../outside"), "lies outside"),
    "a link outside": (tar_of("LA/link", tarfile.SYMTYPE, linkname="../../outside"), "link"),
    "a link to a path": (tar_of("LA/link", tarfile.SYMTYPE, linkname="/etc/passwd"), "link"),
    "a hard link outside": (tar_of("LA/link", tarfile.LNKTYPE, linkname="../../x"), "link"),
    "a device": (tar_of("LA/zero", tarfile.CHRTYPE), "'LA/zero' is no file"),
    "a FIFO": (tar_of("LA/fifo", tarfile.FIFOTYPE), "'LA/fifo' is no file"),
    "no tar": (b"not a tar", "expected an archive of LA/"),
    "a page": (b"<html></html>", "expected an archive of LA/"),
    "another checksum": (tar_of("LA/a.txt")[:-8] + bytes(8), "CRC check failed"),
    "its checksum cut off": (tar_of("LA/a.txt")[:-8], "ended before"),
    "an escape code in a name": (tar_of("LA/\x1b[2J"), "control characters"),
}


@pytest.mark.parametrize("kind", TARS)
def test_a_tar_that_is_none_of_the_corpus_leaves_nothing(tmp_path, server, kind):
    server.data, message = TARS[kind]
    url = server.url.replace("LA.zip", "LA.tar.gz")
    assert message in refused(tmp_path, server, "--url", url)
    assert not (tmp_path / "outside").exists()


def test_bits_and_owners_of_an_archive_do_not_hold(tmp_path):
    """A program of root that everybody may start and change, as an archive unpacked by root."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as packed:
        member = tarfile.TarInfo("LA/program")
        member.mode = 0o6777
        member.uid = member.gid = 12345
        packed.addfile(member)
    (tmp_path / "LA.tar.gz").write_bytes(buffer.getvalue())
    unpack(tmp_path / "LA.tar.gz", tmp_path / "LA")
    status = (tmp_path / "LA/program").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid) == (0o755, os.geteuid())


@pytest.mark.parametrize("name", ["LA.zip", "LA.zip.part"])
@pytest.mark.parametrize("kind", ["a FIFO", "/dev/zero"])
def test_an_archive_that_is_no_file_is_refused_without_waiting(tmp_path, server, name, kind):
    path = tmp_path / "DB" / name
    path.parent.mkdir()
    if kind == "a FIFO":
        os.mkfifo(path)
    else:
        path.symlink_to(kind)
    assert f"{name}: a " in refused(tmp_path, server)


def test_a_part_that_is_a_link_is_not_written_through(tmp_path, server):
    (tmp_path / "DB").mkdir()
    (tmp_path / "DB/LA.zip.part").symlink_to(tmp_path / "outside")
    assert "LA.zip.part: a link" in refused(tmp_path, server)
    assert not (tmp_path / "outside").exists()


@given(data=st.data())
def test_fuzz_archives(tmp_path_factory, data):
    """Any bytes replaced in an archive: unpacked, or refused in one line and nothing left."""
    kind = data.draw(st.sampled_from([".zip", ".tar.gz"]))
    archive = bytearray(zip_of(FILE) if kind == ".zip" else tar_of("LA/a.txt", data=b"text"))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(archive) - 1))
        archive[place] = data.draw(st.integers(0, 255))
    folder = tmp_path_factory.mktemp("fuzzed")
    path = folder / f"LA{kind}"
    path.write_bytes(archive)
    try:
        unpack(path, folder / "LA")
    except InputError as error:
        assert "\n" not in str(error)
        assert [left.name for left in folder.iterdir()] == [path.name]
