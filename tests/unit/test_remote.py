"""Shards on a server: each utterance once whatever the network does, or the shard is named; and the
cache keeps its limit.
"""

import functools
import http.server
import os
import threading
from collections import Counter
from pathlib import Path

import fsspec
import pytest
from corpora import make_corpus
from make_shard_list import make_shard_list

from wedefense_lite.audio import remote
from wedefense_lite.audio.index import read_index
from wedefense_lite.files import InputError, write_lines, write_table
from wedefense_lite.scoring.loader import EvalLoader
from wedefense_lite.systems.config import DataConfig
from wedefense_lite.training.loader import TrainLoader

CONFIG = DataConfig(crop_seconds=0.02, batch_size=4)
LENGTHS = [2400 + 10 * number for number in range(12)]
STALL_SECONDS = 1.0


class Server(http.server.ThreadingHTTPServer):
    """Web server of a folder whose replies go wrong as a test says.

    Attributes:
        faults: for each name of a file, what goes wrong with its next replies, in turn.
        requests: number of requests of each name.
        ranges: ranges that were asked for.
        after_request: called before each reply.
    """

    daemon_threads = True

    def __init__(self, folder: Path):
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.faults: dict[str, list[str]] = {}
        self.requests = Counter()
        self.ranges = []
        self.before_reply = lambda: None

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{name}"


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        """Nothing is logged."""

    def do_HEAD(self):
        self._reply(with_content=False)

    def do_GET(self):
        self._reply(with_content=True)

    def _reply(self, with_content: bool) -> None:
        server = self.server
        name = self.path.lstrip("/")
        server.before_reply()
        path = server.folder / name
        if not path.is_file():
            self.send_error(404)
            return
        faults = server.faults.get(name, []) if with_content else []
        fault = faults.pop(0) if faults else ""
        server.requests[name] += with_content
        if fault.isdigit():
            self.send_error(int(fault))
            return
        content = path.read_bytes()
        start = 0
        requested = self.headers.get("Range")
        if requested:
            server.ranges.append(requested)
            start = int(requested.removeprefix("bytes=").removesuffix("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        body = content[start:]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if not with_content:
            return
        if fault == "wrong bytes":
            body = bytes(len(body))
        if fault in ("drop", "stall"):
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            if fault == "stall":
                threading.Event().wait(STALL_SECONDS)
            self.connection.close()
            return
        self.wfile.write(body)


@pytest.fixture
def served(tmp_path, monkeypatch):
    """Corpus of four shards of three utterances, its server, and the list of their URLs."""
    monkeypatch.setattr(remote, "FIRST_DELAY", 0.001)
    monkeypatch.setattr(remote, "TIMEOUT", STALL_SECONDS / 4)
    monkeypatch.setenv(remote.CACHE_FOLDER, str(tmp_path / "cache"))
    corpus = make_corpus(tmp_path, LENGTHS)
    shards = [Path(line) for line in Path(corpus.list("shard", 3)).read_text().splitlines()]
    assert len(shards) == 4
    manifest = remote.write_manifest(corpus.folder / "shard.list")
    server = Server(shards[0].parent)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    urls = [server.url(path.name) for path in shards]
    url_list = tmp_path / "url.list"
    write_lines(url_list, urls)
    manifest.rename(remote.manifest_path(url_list))
    yield corpus, server, url_list, urls
    server.shutdown()
    server.server_close()


def scored(url_list: Path, corpus, workers: int = 0, world: int = 1) -> list[str]:
    """Ids that are read for scoring, sorted."""
    index = read_index(str(url_list), "shard", corpus.labels)
    keys = []
    for rank in range(world):
        for batch in EvalLoader(index, CONFIG, rank, world, num_workers=workers):
            keys += batch.keys
    return sorted(keys)


def cached(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.tar"))


def names(urls: list[str]) -> list[str]:
    return [url.rpartition("/")[2] for url in urls]


@pytest.mark.parametrize(
    "faults",
    [
        ["503", "429", "drop"],
        ["drop", "drop", "drop"],
        ["wrong bytes", "drop", "wrong bytes"],
        ["stall", "500"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize(("workers", "world"), [(0, 1), (2, 1), (1, 2)])
def test_every_utterance_is_delivered_once(served, faults, workers, world):
    corpus, server, url_list, urls = served
    for name in names(urls):
        server.faults[name] = list(faults)
    assert scored(url_list, corpus, workers, world) == sorted(corpus.wavs)
    requests = server.requests.copy()
    assert scored(url_list, corpus, workers, world) == sorted(corpus.wavs)
    assert server.requests == requests, "the second pass is read from the cache"


def test_a_download_goes_on_where_it_broke_off(served):
    corpus, server, url_list, urls = served
    server.faults[names(urls)[0]] = ["drop"]
    scored(url_list, corpus)
    size = (server.folder / names(urls)[0]).stat().st_size
    assert server.ranges == [f"bytes={size // 2}-"]


def test_a_killed_fetch_is_gone_on_from_by_the_next_run(served, tmp_path):
    corpus, server, url_list, urls = served
    server.faults[names(urls)[0]] = ["drop"] * remote.ATTEMPTS
    with pytest.raises(InputError, match=f"{urls[0]}: attempt {remote.ATTEMPTS}: "):
        scored(url_list, corpus)
    (part,) = (tmp_path / "cache").glob("*.part")
    present = part.stat().st_size
    assert present > 0
    server.ranges.clear()
    assert scored(url_list, corpus) == sorted(corpus.wavs)
    assert server.ranges[0] == f"bytes={present}-"
    assert not list((tmp_path / "cache").glob("*.part"))


def test_bytes_that_stay_wrong_are_told_by_the_name_of_their_shard(served):
    corpus, server, url_list, urls = served
    server.faults[names(urls)[2]] = ["wrong bytes"] * 2 * remote.ATTEMPTS
    with pytest.raises(InputError, match=f"{urls[2]}: attempt {remote.ATTEMPTS}: .*sha256"):
        scored(url_list, corpus)


@pytest.mark.parametrize("has_manifest", [True, False])
def test_what_a_server_refuses_is_not_asked_for_again(served, has_manifest):
    corpus, server, url_list, urls = served
    (server.folder / names(urls)[1]).unlink()
    if not has_manifest:
        remote.manifest_path(url_list).unlink()
    asked = []
    server.before_reply = lambda: asked.append(1)
    cache = remote.ShardCache()
    facts = remote.read_manifest(url_list, urls).get(urls[1])
    with pytest.raises(InputError, match=f"{urls[1]}: .*404"):
        cache.hold(urls[1], facts)
    assert len(asked) == 1


def test_the_cache_never_exceeds_its_limit(served, tmp_path, monkeypatch):
    corpus, server, url_list, urls = served
    sizes = [(server.folder / name).stat().st_size for name in names(urls)]
    limit = max(sizes) * 2
    monkeypatch.setenv(remote.CACHE_GIGABYTES, str(limit / remote.GIGABYTE))
    largest = []

    def measure():
        files = [path for path in (tmp_path / "cache").iterdir() if path.name != "lock"]
        largest.append(sum(path.stat().st_size for path in files))

    server.before_reply = measure
    for workers in (0, 1):
        assert scored(url_list, corpus, workers) == sorted(corpus.wavs)
        measure()
    assert max(largest) <= limit
    assert len(cached(tmp_path / "cache")) == 2


def test_the_shard_unread_for_longest_goes_first(served, tmp_path):
    _, server, url_list, urls = served
    facts = remote.read_manifest(url_list, urls)
    limit = sum(facts[url].size for url in urls[:3])
    cache = remote.ShardCache(limit=limit)
    for url in urls[:3]:
        cache.hold(url, facts[url]).close()
    for place, path in enumerate(sorted(cached(tmp_path / "cache"), key=os.path.getmtime)):
        os.utime(path, (1000 + place, 1000 + place))
    cache.hold(urls[0], facts[urls[0]]).close()
    cache.hold(urls[3], facts[urls[3]]).close()
    cache.hold(urls[0], facts[urls[0]]).close()
    assert [server.requests[name] for name in names(urls)] == [1, 1, 1, 1]
    cache.hold(urls[1], facts[urls[1]]).close()
    assert server.requests[names(urls)[1]] == 2


def test_a_shard_that_is_read_stays_and_a_cache_without_room_is_told(served, monkeypatch):
    _, server, url_list, urls = served
    monkeypatch.setattr(remote, "ROOM_TIMEOUT", 0.1)
    facts = remote.read_manifest(url_list, urls)
    cache = remote.ShardCache(limit=max(fact.size for fact in facts.values()))
    with cache.hold(urls[0], facts[urls[0]]) as file:
        with pytest.raises(InputError, match=f"{urls[1]}: no room for .* raise WEDEFENSE_CACHE_GB"):
            cache.hold(urls[1], facts[urls[1]])
        assert file.read() == (server.folder / names(urls)[0]).read_bytes()
    cache.hold(urls[1], facts[urls[1]]).close()
    with pytest.raises(InputError, match=r"bytes, the cache has 10: raise WEDEFENSE_CACHE_GB"):
        remote.ShardCache(limit=10).hold(urls[2], facts[urls[2]])


def test_readers_at_the_same_time_fetch_a_shard_once(served):
    _, server, url_list, urls = served
    facts = remote.read_manifest(url_list, urls)
    contents = []

    def read():
        with remote.ShardCache().hold(urls[0], facts[urls[0]]) as file:
            contents.append(file.read())

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(contents) == 4 and len(set(contents)) == 1
    assert server.requests[names(urls)[0]] == 1


def test_a_shard_that_was_fetched_while_its_lock_was_taken_is_not_fetched_again(
    served, monkeypatch
):
    _, server, url_list, urls = served
    facts = remote.read_manifest(url_list, urls)
    with remote.ShardCache().hold(urls[0], facts[urls[0]]) as file:
        content = file.read()
        path = Path(file.name)
    path.unlink()
    locked = remote._locked

    def locked_late(place, lock):
        if place.suffix == ".part":
            path.write_bytes(content)
        return locked(place, lock)

    monkeypatch.setattr(remote, "_locked", locked_late)
    with remote.ShardCache().hold(urls[0], facts[urls[0]]) as file:
        assert file.read() == content
    assert server.requests[names(urls)[0]] == 1
    assert list(path.parent.glob("*.part")) == []


def test_training_reads_the_same_batches_as_from_files(served):
    corpus, _, url_list, urls = served
    file_list = url_list.with_name("file.list")
    paths = Path(corpus.folder / "shard.list").read_text().splitlines()
    write_lines(file_list, [f"file:{path}" for path in paths])
    batches = {}
    for path in (url_list, file_list):
        loader = TrainLoader(read_index(str(path), "shard", corpus.labels), CONFIG, 3)
        batches[path] = [(batch.keys, batch.wav_BT.tolist()) for batch in loader.epoch(1)]
    assert batches[url_list] == batches[file_list]


def test_a_manifest_of_other_shards_is_refused(served):
    corpus, _, url_list, urls = served
    manifest = remote.manifest_path(url_list)
    lines = manifest.read_text().splitlines()
    name, size, checksum, count = lines[0].split()
    assert int(count) == 3
    manifest.write_text("\n".join([f"{name} {size} {checksum} 4", *lines[1:]]) + "\n")
    with pytest.raises(InputError, match=f"{urls[0]}: 3 utterances, its manifest has 4"):
        scored(url_list, corpus)
    manifest.write_text("\n".join(lines[1:]) + "\n")
    with pytest.raises(InputError, match=f"{name} is not in it"):
        scored(url_list, corpus)
    manifest.write_text("\n".join([*lines, lines[0]]) + "\n")
    with pytest.raises(InputError, match=f":5: {name} is there twice"):
        scored(url_list, corpus)
    manifest.write_text(f"{name} many {checksum} 3\n")
    with pytest.raises(InputError, match=':1: expected "name bytes sha256 utterances"'):
        scored(url_list, corpus)


def test_shards_packed_anew_under_the_same_url_are_fetched_again(served):
    corpus, server, url_list, urls = served
    assert scored(url_list, corpus) == sorted(corpus.wavs)
    first, second = (server.folder / name for name in names(urls)[:2])
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)
    lines = remote.manifest_path(url_list).read_text().splitlines()
    swapped = [lines[1].replace(second.name, first.name), lines[0].replace(first.name, second.name)]
    write_lines(remote.manifest_path(url_list), [*swapped, *lines[2:]])
    assert scored(url_list, corpus) == sorted(corpus.wavs)
    assert server.requests[first.name] == 2


def test_without_a_manifest_the_server_is_asked_for_the_size_and_it_is_said(served, caplog):
    corpus, _, url_list, _ = served
    remote.manifest_path(url_list).unlink()
    assert scored(url_list, corpus) == sorted(corpus.wavs)
    assert "no url.list.manifest" in caplog.text


@pytest.mark.parametrize("text", ["0", "-1", "nan", "many"])
def test_a_limit_that_is_no_size_is_refused(served, monkeypatch, text):
    monkeypatch.setenv(remote.CACHE_GIGABYTES, text)
    with pytest.raises(InputError, match="WEDEFENSE_CACHE_GB=.*: expected a positive number"):
        remote.ShardCache()


def test_object_stores_are_read_through_fsspec(served, monkeypatch):
    """The memory of this process stands for the store."""
    corpus, server, url_list, urls = served
    monkeypatch.setattr(remote, "STORES", ("memory://",))
    store = fsspec.filesystem("memory")
    stored = []
    for name in names(urls):
        store.pipe(f"/bucket/{name}", (server.folder / name).read_bytes())
        stored.append(f"memory://bucket/{name}")
    write_lines(url_list, stored)
    assert scored(url_list, corpus) == sorted(corpus.wavs)
    remote.manifest_path(url_list).unlink()
    store.rm(f"/bucket/{names(urls)[0]}")
    other = remote.ShardCache(url_list.parent / "other")
    with pytest.raises(InputError, match=f"{stored[0]}: "):
        other.hold(stored[0])
    # Where a manifest gives the size, the store is asked for the file itself, once.
    with pytest.raises(InputError, match=f"{stored[0]}: attempt 1: "):
        other.hold(stored[0], remote.ShardFacts(10, "0" * 64, 3))


def test_make_shard_list_writes_the_manifest_and_removes_one_of_other_shards(tmp_path):
    corpus = make_corpus(tmp_path, LENGTHS)
    write_table(tmp_path / "wav.scp", corpus.wavs)
    write_table(tmp_path / "utt2lab", corpus.labels)
    pack = functools.partial(
        make_shard_list,
        tmp_path / "wav.scp",
        tmp_path / "utt2lab",
        tmp_path / "shards",
        tmp_path / "packed.list",
        num_utts_per_shard=5,
    )
    pack(manifest=True)
    manifest = remote.manifest_path(tmp_path / "packed.list")
    lines = [line.split() for line in manifest.read_text().splitlines()]
    assert [int(count) for _, _, _, count in lines] == [5, 5, 2]
    for name, size, _, _ in lines:
        assert (tmp_path / "shards" / name).stat().st_size == int(size)
    pack()
    assert not manifest.exists()
