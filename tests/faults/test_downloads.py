"""Archives that a server sends wrong: one line, and nothing kept that is not the archive."""

import functools
import hashlib
import io
import socketserver
import threading
import zipfile
from collections.abc import Callable

import numpy as np
from checks import accepted, refused


def zip_of(*names: str, compression: int = zipfile.ZIP_STORED) -> bytes:
    """An archive of files that don't compress."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as packed:
        for name in names:
            packed.writestr(name, np.random.default_rng(0).bytes(20_000))
    return buffer.getvalue()


GOOD = zip_of("LA/a.flac", "LA/b.flac")
MD5 = hashlib.md5(GOOD).hexdigest()


def encrypted() -> bytes:
    """GOOD with the flag of a password in each header."""
    data = bytearray(GOOD)
    for signature, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = data.find(signature)
        while start >= 0:
            data[start + place] |= 1
            start = data.find(signature, start + 4)
    return bytes(data)


def compressed_unknown() -> bytes:
    """GOOD with a number of compression that there is not."""
    data = bytearray(GOOD)
    for signature, place in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        start = data.find(signature)
        while start >= 0:
            data[start + place] = 77
            start = data.find(signature, start + 4)
    return bytes(data)


def reply(body: bytes, length: int | None = None, status: str = "200 OK") -> bytes:
    """A whole HTTP reply."""
    length = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n".encode() + body


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n" + GOOD[:900]
REPLIES = {
    "not HTTP": b"\x00\x01\x02nonsense\r\n",
    "nothing": b"",
    "404": reply(b"no", status="404 Not Found"),
    "500": reply(b"no", status="500 Error"),
    "it stops half way": reply(GOOD[: len(GOOD) // 2], len(GOOD)),
    "chunks that stop half way": CHUNKED,
    "a page in place of the archive": reply(b"<html>log in</html>"),
    "an archive of something else": reply(zip_of("PA/a.flac")),
    "names that climb": reply(zip_of("LA/a.flac", "../outside.flac")),
    "an encrypted archive": reply(encrypted()),
    "a compression that there is not": reply(compressed_unknown()),
    "a damaged archive": reply(GOOD[:9000] + bytes(500) + GOOD[9500:]),
    "a length that is no number": b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n" + GOOD,
}


class Server(socketserver.ThreadingTCPServer):
    """Server that answers every request with the same bytes."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, answer: Callable[[bytes], bytes]):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer = answer
        self.url = f"http://127.0.0.1:{self.server_address[1]}/LA.zip"
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def __exit__(self, *arguments):
        self.shutdown()
        super().__exit__(*arguments)


class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        request = self.request.recv(4096)
        self.request.sendall(self.server.answer(request))


def words_of(server: Server, more: str = "") -> str:
    return f"tools/download.py --url {server.url} --folder DB/LA --licence x {more}"


def check_nothing_kept(folder) -> None:
    """Nothing under a final name, and nothing outside."""
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    final = [name for name in names if not name.endswith(".part")]
    assert not final, f"kept: {final}"
    assert not (folder.parent / "outside.flac").exists(), "written outside"


def test_replies_that_are_not_the_archive(warm, tmp_path, injected):
    for number, (name, answer) in enumerate(REPLIES.items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        answering = functools.partial(constant, answer)
        with Server(answering) as server, injected.fault("downloads", name):
            ended = warm.run(words_of(server), folder)
            if name == "names that climb" and ended.status == 0:
                assert not (folder / "outside.flac").exists(), "written outside"
                continue
            refused(ended, "LA.zip", server.url)
            check_nothing_kept(folder)


def constant(answer: bytes, request: bytes) -> bytes:
    return answer


def test_a_checksum_or_a_size_that_differs_is_refused(warm, tmp_path, injected):
    options = {"another MD5": f"--md5 {32 * '0'}", "another size": f"--size {len(GOOD) - 1}"}
    for number, (name, option) in enumerate(options.items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        answering = functools.partial(constant, reply(GOOD))
        with Server(answering) as server, injected.fault("downloads", name):
            refused(warm.run(words_of(server, option), folder), "LA.zip")
            assert not (folder / "DB/LA").exists(), "unpacked"


def test_what_lies_there_already(warm, tmp_path, injected):
    def ranges(request: bytes) -> bytes:
        if b"Range: bytes=" not in request:
            return reply(GOOD)
        start = int(request.partition(b"Range: bytes=")[2].partition(b"-")[0])
        if start >= len(GOOD):
            head = f"HTTP/1.1 416 No\r\nContent-Range: bytes */{len(GOOD)}\r\n"
            return f"{head}Content-Length: 0\r\n\r\n".encode()
        return reply(GOOD[start:], status="206 Partial Content")

    for number, (name, part) in enumerate(
        {
            "half of it": GOOD[: len(GOOD) // 2],
            "a longer part": GOOD + bytes(100),
            "a part of something else": bytes(1000),
        }.items()
    ):
        folder = tmp_path / str(number)
        (folder / "DB").mkdir(parents=True)
        (folder / "DB/LA.zip.part").write_bytes(part)
        with Server(ranges) as server, injected.fault("downloads", name):
            ended = warm.run(words_of(server, f"--md5 {MD5}"), folder)
            if name == "half of it":
                accepted(ended)
                assert (folder / "DB/LA/a.flac").stat().st_size == 20_000
            else:
                refused(ended, "LA.zip")
                assert not (folder / "DB/LA").exists(), "unpacked"
    folder = tmp_path / "file"
    (folder / "DB").mkdir(parents=True)
    (folder / "DB/LA").write_text("a file\n")
    with Server(ranges) as server, injected.fault("downloads", "a file where the folder is to be"):
        refused(warm.run(words_of(server), folder), "LA")
