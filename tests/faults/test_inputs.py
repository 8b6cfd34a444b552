"""Audio, lists, shards, checkpoints, bundles, archives and numbers that are not as they should be."""

import contextlib
import functools
import hashlib
import io
import json
import os
import pickle
import shutil
import stat
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import soundfile as sf
import torch
import yaml
from checks import accepted, refused
from injection import BIN
from stages import (
    AVERAGE,
    EXPORT_READS,
    EXTRACT_READS,
    FUSE_WORDS,
    INFER_READS,
    LLR_READS,
    LOCALIZATION_WORDS,
    MODELS,
    NOBODY,
    SCORE_WORDS,
    SCORED_READS,
    SEGMENT_WORDS,
    TRAIN_READS,
    evaluate_words,
    export_words,
    extract_words,
    infer_words,
    llr_words,
    open_parents,
    pack_words,
    set_files,
    snapshot,
    train_words,
)

MARK = "code_ran"  # file that code of a hostile input would make
RAW_LIST_WORDS = "tools/make_raw_list.py data/dev/wav.scp data/dev/utt2lab data/dev/raw.list"
VALIDATE = "tools/validate_data_dir.py"
SHARD_READS = (
    "exp/config.yaml", MODELS, "data/dev/shards", "data/dev/shard.list", "data/dev/utt2lab",
    *TRAIN_READS,
)  # fmt: skip
EXTRACT_SHARDS = extract_words(kind="shard")
BUNDLE_READS = ("bundle", "recording.wav")


@dataclass(frozen=True)
class Fault:
    """An input that is not as it should be.

    Attributes:
        area: row of the table.
        name: what is wrong.
        words: command that reads it.
        reads: files that are there.
        change: makes the fault in a folder.
        told: texts of which the error must hold one; any error will do without them.
        check: in place of an error: looks at the folder and at the end of the command.
        unreadable: file or folder that the user of the command has no permission to read.
    """

    area: str
    name: str
    words: str
    reads: tuple[str, ...]
    change: Callable[[Path], None]
    told: tuple[str, ...] = ()
    check: Callable | None = None
    unreadable: str = ""


FAULTS: list[Fault] = []


def replaced(path: str, old: str, new: str) -> Callable[[Path], None]:
    """Change that replaces a text in a file, once."""

    def change(folder: Path) -> None:
        file = folder / path
        text = file.read_text()
        assert old in text, f"{path} holds no {old}"
        file.write_text(text.replace(old, new, 1))

    return change


def written(path: str, content: str | bytes) -> Callable[[Path], None]:
    """Change that writes a file."""

    def change(folder: Path) -> None:
        if isinstance(content, bytes):
            (folder / path).write_bytes(content)
        else:
            (folder / path).write_text(content)

    return change


def nothing(folder: Path) -> None:
    """Change nothing: the fault is in the words of the command."""


# ---- Lists

TABLE_READS = set_files("dev", files="wav.scp utt2lab")
for name, path, new, told in (
    ("a NUL byte in a path", "wav.scp", "LA_D_1000000 a\0b.flac\n", ("wav.scp", "1000000")),
    ("a key twice", "wav.scp", "LA_D_1000001 x.flac\nLA_D_1000001 x.flac\n", ("1000001",)),
    ("a key without a path", "wav.scp", "LA_D_1000000\n", ("wav.scp:1",)),
    ("nothing", "wav.scp", "", ("wav.scp",)),
    ("bytes that are no text", "wav.scp", b"\xff\xfe\x00a", ("wav.scp",)),
    ("an unknown label", "utt2lab", "LA_D_1000000 fake\n", ("fake",)),
    ("labels of others", "utt2lab", "LA_X_1 spoof\n", ("LA_",)),
    ("escape codes in a label", "utt2lab", "LA_D_1000000 \x1b[2J\n", ("utt2lab",)),
    ("a NUL byte in a label", "utt2lab", "LA_D_1000000 sp\0oof\n", ("utt2lab",)),
):  # fmt: skip
    for tool, words in (("make_raw_list", RAW_LIST_WORDS), ("make_shard_list", pack_words())):
        change = written(f"data/dev/{path}", new)
        FAULTS.append(Fault("lists", f"{path}: {name} ({tool})", words, TABLE_READS, change, told))


for tool, words in (("make_raw_list", RAW_LIST_WORDS), ("make_shard_list", pack_words())):
    change = replaced("data/dev/wav.scp", "1000000.flac", "no.flac")
    name = f"wav.scp: a missing file ({tool})"
    FAULTS.append(Fault("lists", name, words, TABLE_READS, change, ("no.flac", "1000000")))


def special_files(path: str, words: str, reads: tuple, area: str, told: str) -> None:
    """Faults of a file that is a folder, a device, a FIFO, or not there."""

    def put(kind: str, folder: Path) -> None:
        file = folder / path
        file.unlink()
        if kind == "a folder":
            file.mkdir()
        elif kind == "a FIFO without a writer":
            os.mkfifo(file)
        elif kind == "/dev/zero":
            file.symlink_to("/dev/zero")

    for kind in ("a folder", "a FIFO without a writer", "/dev/zero", "missing"):
        change = functools.partial(put, kind)
        FAULTS.append(Fault(area, f"{path}: {kind}", words, reads, change, (told,)))


special_files("data/dev/wav.scp", RAW_LIST_WORDS, TABLE_READS, "lists", "wav.scp")
special_files("data/dev/raw.list", extract_words(), EXTRACT_READS, "lists", "raw.list")
special_files("data/dev/utt2lab", train_words("new"), TRAIN_READS, "lists", "utt2lab")
special_files(
    "exp/posteriors/dev/llr.txt", evaluate_words(), SCORED_READS, "lists", "llr.txt"
)  # fmt: skip
FAULTS.append(
    Fault("lists", "a data directory given twice", f"{VALIDATE} data/dev data/dev",
          ("data/dev",), nothing, ("data/dev", "LA_D"))
)  # fmt: skip


def one_class(name: str, folder: Path) -> None:
    """Leave the spoofs of a set alone."""
    path = folder / f"data/{name}/utt2lab"
    spoofs = {line.split()[0] for line in path.read_text().splitlines() if line.endswith(" spoof")}
    path.write_text("".join(f"{key} spoof\n" for key in sorted(spoofs)))
    path = folder / f"data/{name}/raw.list"
    rows = [line for line in path.read_text().splitlines() if json.loads(line)["key"] in spoofs]
    path.write_text("".join(f"{row}\n" for row in rows))


for name in ("train", "dev"):
    change = functools.partial(one_class, name)
    words = train_words("new")
    FAULTS.append(
        Fault("lists", f"{name} of one class", words, TRAIN_READS, change, ("bonafide", "bona"))
    )

for text in ("{}", "[1, 2]", "null", "3", '{"key": 1, "wav": "a.flac", "lab": "spoof"}',
             '{"key": "a", "wav": ["x"], "lab": "spoof", "samples": 16000}',
             '{"key": "a", "wav": "a.flac", "lab": "spoof", "samples": "many"}',
             '{"key": "a", "wav": "a.flac", "lab": "spoof", "samples": -1}'):  # fmt: skip
    change = written("data/dev/raw.list", text + "\n")
    FAULTS.append(
        Fault("lists", f"raw.list: {text}", extract_words(), EXTRACT_READS, change, ("raw.list",))
    )


# ---- Media

MEDIA_READS = ("exp/config.yaml", MODELS)
TRUE_SAMPLES = 12000


def write_media(folder: Path) -> dict[str, Path]:
    """Data directory of six files, with lists made before the damage."""
    rng = np.random.default_rng(5)
    (folder / "audio").mkdir()
    (folder / "data/dev").mkdir(parents=True)
    names = {}
    for number in range(6):
        key = f"LA_X_{number}"
        ending = ("flac", "wav", "ogg")[number % 3]
        path = folder / f"audio/{key}.{ending}"
        noise = 0.1 * rng.standard_normal(TRUE_SAMPLES).clip(-5, 5)
        sf.write(path, noise, 16000)
        names[key] = path
    tables = {"wav.scp": "", "utt2lab": "", "raw.list": ""}
    for number, (key, path) in enumerate(names.items()):
        wav = f"audio/{path.name}"
        label = ("spoof", "bonafide")[number // 3]
        tables["wav.scp"] += f"{key} {wav}\n"
        tables["utt2lab"] += f"{key} {label}\n"
        row = {"key": key, "wav": wav, "lab": label, "samples": TRUE_SAMPLES}
        tables["raw.list"] += json.dumps(row) + "\n"
    for name, text in tables.items():
        (folder / "data/dev" / name).write_text(text)
    return names


def half_flac_header(path: Path) -> None:
    """Make STREAMINFO say half the samples; the MD5 of the audio is unknown."""
    data = bytearray(path.read_bytes())
    fields = int.from_bytes(data[18:26], "big")
    mask = (1 << 36) - 1
    fields = (fields & ~mask) | (TRUE_SAMPLES // 2)
    data[18:26] = fields.to_bytes(8, "big")
    data[26:42] = bytes(16)
    path.write_bytes(data)


def half_wav_header(path: Path) -> None:
    """Make the data chunk say half of its size."""
    data = bytearray(path.read_bytes())
    place = data.index(b"data") + 4
    size = int.from_bytes(data[place : place + 4], "little")
    data[place : place + 4] = (size // 2).to_bytes(4, "little")
    path.write_bytes(data)


def cut(path: Path) -> None:
    """Keep the first half of a file."""
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def not_finite(path: Path) -> None:
    """Put a NaN into the audio."""
    wav = np.full(TRUE_SAMPLES, 0.1, np.float32)
    wav[100] = np.nan
    sf.write(path, wav, 16000, subtype="FLOAT")


def flip(path: Path) -> None:
    """Flip a bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)


MEDIA = {
    "FLAC header says half the samples": ("LA_X_0", half_flac_header),
    "WAV header says half the data": ("LA_X_1", half_wav_header),
    "OGG cut in half": ("LA_X_2", cut),
    "FLAC cut in half": ("LA_X_0", cut),
    "WAV cut in half": ("LA_X_1", cut),
    "a flipped bit in FLAC": ("LA_X_0", flip),
    "NaN in a WAV of floats": ("LA_X_1", not_finite),
    "an empty file": ("LA_X_1", lambda path: path.write_bytes(b"")),
    "a text": ("LA_X_0", lambda path: path.write_text("no audio\n")),
    "no file": ("LA_X_0", lambda path: path.unlink()),
}
LYING = ("FLAC header says half the samples", "WAV header says half the data", "OGG cut in half")
TRAIN_MEDIA = train_words("new").replace("data/train", "data/dev")


def true_samples(key: str, folder: Path, ended) -> None:
    """A list of the true number of samples, or a refusal that names the utterance."""
    if ended.status != 0:
        refused(ended, key)
        return
    for line in (folder / "data/dev/raw.list").read_text().splitlines():
        row = json.loads(line)
        assert row["samples"] == TRUE_SAMPLES, f"{row['key']}: {row['samples']} samples in the list"


def damage(key: str, spoil: Callable[[Path], None], folder: Path) -> None:
    names = write_media(folder)
    if key:
        spoil(names[key])


for name, (key, spoil) in MEDIA.items():
    change = functools.partial(damage, key, spoil)
    for command, words in (("extract", extract_words()), ("train", TRAIN_MEDIA)):
        FAULTS.append(
            Fault("media", f"{name}: {command}", words, MEDIA_READS, change, (key, "audio"))
        )
    check = functools.partial(true_samples, key)
    FAULTS.append(
        Fault("media", f"{name}: make_raw_list", RAW_LIST_WORDS, (), change, (), check)
    )  # fmt: skip


def damaged_recording(key: str, spoil: Callable[[Path], None], folder: Path) -> None:
    (folder / "media").mkdir()
    path = write_media(folder / "media")[key]
    spoil(path)
    shutil.copy(path, folder / "recording.wav")


for name in LYING:
    key, spoil = MEDIA[name]
    change = functools.partial(damaged_recording, key, spoil)
    FAULTS.append(
        Fault("media", f"{name}: score", SCORE_WORDS, BUNDLE_READS, change, ("recording.wav",))
    )


# ---- Shards


def same_embeddings(folder: Path, ended) -> None:
    """The embeddings of an index that is right, or a refusal."""
    if ended.status != 0:
        refused(ended)
        return
    expected = json.loads((folder / "expected.json").read_text())
    actual = embeddings(folder)
    assert actual == expected, "embeddings of other utterances"


def embeddings(folder: Path) -> dict[str, list]:
    import kaldiio

    rows = kaldiio.load_ark(str(folder / "exp/embeddings/dev/embedding.ark"))
    return {key: [round(float(value), 4) for value in row] for key, row in rows}


def members_of(tar: Path) -> list[tuple[tarfile.TarInfo, bytes]]:
    with tarfile.open(tar) as packed:
        return [(member, packed.extractfile(member).read()) for member in packed]


def write_members(tar: Path, members: list[tuple[tarfile.TarInfo, bytes | None]]) -> None:
    with tarfile.open(tar, "w", format=tarfile.PAX_FORMAT) as packed:
        for member, data in members:
            packed.addfile(member, None if data is None else io.BytesIO(data))


FIRST_TAR = "data/dev/shards/shards_000000000.tar"


def replace_tar(folder: Path) -> None:
    """Another order of the same utterances, under an index that is newer than the tar."""
    tar = folder / FIRST_TAR
    members = members_of(tar)
    pairs = [members[start : start + 2] for start in range(0, len(members), 2)]
    pairs.reverse()
    write_members(tar, [member for pair in pairs for member in pair])
    os.utime(tar, (1, 1))


def index_rows(change_rows: Callable[[list], object], folder: Path) -> None:
    """Change the rows of an index, wherever the file holds them."""
    path = folder / f"{FIRST_TAR}.index"
    content = json.loads(path.read_text())
    place = next(number for number, value in enumerate(content) if isinstance(value, list))
    content[place] = change_rows(content[place])
    path.write_text(json.dumps(content))
    os.utime(path)


def labels_swapped(rows: list) -> list:
    return [[*row[:-1], {"spoof": "bonafide", "bonafide": "spoof"}[row[-1]]] for row in rows]


INDEXES = {
    "a row is missing": lambda rows: rows[1:],
    "a row twice": lambda rows: [*rows, rows[0]],
    "two keys are exchanged": lambda rows: [[rows[1][0], *rows[0][1:]], [rows[0][0], *rows[1][1:]],
                                            *rows[2:]],
    "a row too short": lambda rows: [rows[0][:2], *rows[1:]],
    "a row too long": lambda rows: [[*rows[0], 1, 2], *rows[1:]],
    "null for a row": lambda rows: [None, *rows[1:]],
    "the offset is a text": lambda rows: [[rows[0][0], "x", *rows[0][2:]], *rows[1:]],
    "the size is 10^15": lambda rows: [[*rows[0][:2], 10**15, *rows[0][3:]], *rows[1:]],
    "a key is a number": lambda rows: [[1, *rows[0][1:]], *rows[1:]],
    "a label is neither": lambda rows: [[*rows[0][:-1], "fake"], *rows[1:]],
    "rows are a number": lambda rows: 3,
}  # fmt: skip
SHARDS = {
    "a tar of another order, older than its index": replace_tar,
    "the index is a number": written(f"{FIRST_TAR}.index", "3"),
    "the index is no JSON": written(f"{FIRST_TAR}.index", "{"),
    "the tar is cut in half": lambda folder: cut(folder / FIRST_TAR),
    "the tar is empty": written(FIRST_TAR, b""),
    "the tar is a text": written(FIRST_TAR, "no tar\n"),
    "a shard twice in the list": lambda folder: (folder / "data/dev/shard.list").write_text(
        2 * (folder / "data/dev/shard.list").read_text()
    ),
}
for name, change_rows in INDEXES.items():
    SHARDS[f"index: {name}"] = functools.partial(index_rows, change_rows)
for name, change in SHARDS.items():
    FAULTS.append(
        Fault("shards", name, EXTRACT_SHARDS, SHARD_READS, change, (), same_embeddings)
    )  # fmt: skip


def member_of(kind: str, folder: Path) -> None:
    """Replace the audio of the first utterance by something that is none."""
    tar = folder / FIRST_TAR
    members = members_of(tar)
    place = next(number for number, (member, _) in enumerate(members) if "flac" in member.name)
    member, data = members[place]
    if kind == "a link to another file":
        member.type = tarfile.SYMTYPE
        member.linkname = "/etc/passwd"
        member.size = 0
        data = None
    elif kind == "a hard link":
        member.type = tarfile.LNKTYPE
        member.linkname = next(m.name for m, _ in members if m.name != member.name)
        member.size = 0
        data = None
    elif kind == "an extension that is none":
        member.name = member.name.replace(".flac", ".xyz")
    elif kind == "two extensions":
        member.name = member.name.replace(".flac", ".b.flac")
    members[place] = (member, data)
    write_members(tar, members)
    Path(f"{tar}.index").unlink()


for kind in (
    "a link to another file",
    "a hard link",
    "an extension that is none",
    "two extensions",
):
    change = functools.partial(member_of, kind)
    told = ("LA_D", "shards_000000000")
    FAULTS.append(Fault("shards", f"audio is {kind}", EXTRACT_SHARDS, SHARD_READS, change, told))
special_files("data/dev/shard.list", EXTRACT_SHARDS, SHARD_READS, "shards", "shard.list")
for name, path in (
    ("a folder", "data/dev/shards"),
    ("/dev/zero", "/dev/zero"),
    ("nothing", "x.tar"),
):
    change = written("data/dev/shard.list", f"{path}\n")
    FAULTS.append(
        Fault("shards", f"shard.list names {name}", EXTRACT_SHARDS, SHARD_READS, change, (path,))
    )


def fifo_shard(folder: Path) -> None:
    os.mkfifo(folder / "fifo.tar")
    (folder / "data/dev/shard.list").write_text("fifo.tar\n")


FAULTS.append(
    Fault("shards", "shard.list names a FIFO without a writer", EXTRACT_SHARDS, SHARD_READS,
          fifo_shard, ("fifo.tar",))
)  # fmt: skip


# ---- Checkpoints


def changed_state(path: str, change_state: Callable[[dict], object], folder: Path) -> None:
    """Change the content of a checkpoint."""
    file = folder / path
    state = torch.load(file, weights_only=True)
    result = change_state(state)
    torch.save(state if result is None else result, file)


def flip_weight(folder: Path) -> None:
    """Flip a bit inside the weights of a checkpoint, behind the library's back."""
    file = folder / AVERAGE
    data = bytearray(file.read_bytes())
    for weight in torch.load(file, weights_only=True)["model"].values():
        start = data.find(weight.numpy().tobytes()) if weight.numel() > 64 else -1
        if start >= 0:
            data[start + 3] ^= 0x40
            file.write_bytes(data)
            return
    raise AssertionError("no weight lies in the file as it is in memory")


def fill_weights(value: float, state: dict) -> None:
    for weight in state["model"].values():
        if weight.is_floating_point():
            weight.fill_(value)


MODEL_CHANGES = {
    "a list": lambda state: [1, 2],
    "a tensor": lambda state: torch.zeros(3),
    "weights of NaN": functools.partial(fill_weights, float("nan")),
    "no class_prior": lambda state: state.pop("class_prior") and None,
    "no config_hash": lambda state: state.pop("config_hash") and None,
    "no labels": lambda state: state.pop("labels") and None,
    "no model": lambda state: state.pop("model") and None,
    "the model is a list": lambda state: state.update(model=[1]),
    "a weight is missing": lambda state: state["model"].popitem() and None,
    "labels the other way": lambda state: state.update(labels=state["labels"][::-1]),
    "a prior of NaN": lambda state: state.update(class_prior=[float("nan"), 0.5]),
}
CHECKPOINTS = {
    "a text": written(AVERAGE, "hello\n"),
    "nothing": written(AVERAGE, b""),
    "cut in half": lambda folder: cut(folder / AVERAGE),
    "a flipped bit in a weight": flip_weight,
    "a pickle": written(AVERAGE, pickle.dumps({"model": 1})),
}
for name, change_state in MODEL_CHANGES.items():
    CHECKPOINTS[name] = functools.partial(changed_state, AVERAGE, change_state)
for name, change in CHECKPOINTS.items():
    FAULTS.append(
        Fault("checkpoints", f"avg_model.pt: {name}", extract_words(), EXTRACT_READS, change,
              ("avg_model.pt",))
    )  # fmt: skip

LAST = f"{MODELS}/last.pt"
LAST_CHANGES = {
    "a list": lambda state: [1],
    "an inference model": lambda state: {"model": state["model"], "labels": ["spoof", "bonafide"]},
    "an optimizer of another shape": lambda state: state["optimizer"].update(param_groups=[]),
    "epoch is a text": lambda state: state.update(epoch="three"),
    "the configuration is no YAML": lambda state: state.update(config=": ["),
    "the model is a list": lambda state: state.update(model=[1]),
    "weights of NaN": functools.partial(fill_weights, float("nan")),
}
SAME_TRAINING = train_words("exp")
for name, change_state in LAST_CHANGES.items():
    change = functools.partial(changed_state, LAST, change_state)
    FAULTS.append(
        Fault("checkpoints", f"last.pt: {name}", SAME_TRAINING, (*TRAIN_READS, "exp"), change,
              ("last.pt",))
    )  # fmt: skip
for name, change in (("a text", written(LAST, "x\n")), ("half", lambda folder: cut(folder / LAST))):
    FAULTS.append(
        Fault("checkpoints", f"last.pt: {name}", SAME_TRAINING, (*TRAIN_READS, "exp"), change,
              ("last.pt",))
    )  # fmt: skip


# ---- Bundles


def facts(folder: Path, **values) -> None:
    path = folder / "bundle/bundle.json"
    content = json.loads(path.read_text())
    content.update(values)
    path.write_text(json.dumps(content))


def right_hashes(folder: Path) -> None:
    """Put hashes right, as somebody who means harm does."""
    path = folder / "bundle/bundle.json"
    content = json.loads(path.read_text())
    for name, digest in content["hashes"].items():
        data = (folder / "bundle" / name).read_bytes()
        content["hashes"][name] = hashlib.sha256(data).hexdigest()[: len(digest)]
    path.write_text(json.dumps(content))


def bundle_weights(change_weights: Callable[[dict], None], folder: Path) -> None:
    path = folder / "bundle/model.safetensors"
    weights = safetensors.torch.load_file(path)
    change_weights(weights)
    path.write_bytes(safetensors.torch.save(weights))
    right_hashes(folder)


def fill_all(value: float, weights: dict) -> None:
    fill_weights(value, {"model": weights})


for key, value in (
    ("threshold", float("nan")), ("threshold", "high"), ("scale", float("nan")),
    ("scale", float("inf")), ("scale", "one"), ("scale", -1.0), ("offset", None),
    ("decide_on", "nonsense"), ("hashes", None), ("hashes", {}), ("labels", ["bonafide", "spoof"]),
    ("polarity", "other"), ("class_prior", [1.0, 0.0]), ("unknown_field", 1),
):  # fmt: skip
    change = functools.partial(facts, **{key: value})
    FAULTS.append(
        Fault("bundles", f"{key} is {value}", SCORE_WORDS, BUNDLE_READS, change, ("bundle",))
    )
for name, change_weights in (
    ("weights of NaN", functools.partial(fill_all, float("nan"))),
    ("weights of 1e30", functools.partial(fill_all, 1e30)),
    ("a tensor is missing", lambda weights: weights.pop(sorted(weights)[0])),
    ("a tensor of another shape", lambda weights: weights.update(
        {sorted(weights)[0]: torch.zeros(3, 3, 3)})),
):  # fmt: skip
    change = functools.partial(bundle_weights, change_weights)
    FAULTS.append(
        Fault("bundles", f"{name}, hashes right", SCORE_WORDS, BUNDLE_READS, change, ("bundle",))
    )
for name in ("bundle.json", "model.safetensors", "config.yaml"):
    path = f"bundle/{name}"
    FAULTS.append(
        Fault("bundles", f"{name} is missing", SCORE_WORDS, BUNDLE_READS,
              lambda folder, path=path: (folder / path).unlink(), (name,))
    )  # fmt: skip
    FAULTS.append(
        Fault("bundles", f"a flipped bit in {name}", SCORE_WORDS, BUNDLE_READS,
              lambda folder, path=path: flip(folder / path), ("bundle",))
    )  # fmt: skip
    FAULTS.append(
        Fault("bundles", f"{name} is a text", SCORE_WORDS, BUNDLE_READS,
              written(path, "hello\n"), ("bundle",))
    )  # fmt: skip


# ---- Code


TRAIN_AS_BEFORE = (
    f"{BIN}/train.py --config exp/config.yaml --exp_dir new --data_type raw "
    "--train_data data/train/raw.list --train_label data/train/utt2lab"
)


def hostile_config(path: str, part: str, folder: Path) -> None:
    """Name a command in place of a component."""
    file = folder / path
    content = yaml.safe_load(file.read_text())
    command = {"class_path": "os.system", "init_args": {"command": f"touch {MARK}"}}
    if part == "optimizer":
        content["training"]["optimizer"] = command
    else:
        content["system"]["init_args"][part] = command
    file.write_text(yaml.safe_dump(content))
    if path.startswith("bundle/"):
        right_hashes(folder)


for part in ("head", "model", "frontend", "optimizer"):
    for command, path, words, reads in (
        ("infer", "exp/config.yaml", infer_words(), INFER_READS),
        ("extract", "exp/config.yaml", extract_words(), EXTRACT_READS),
        ("score", "bundle/config.yaml", SCORE_WORDS, BUNDLE_READS),
        ("train", "exp/config.yaml", TRAIN_AS_BEFORE, (*TRAIN_READS, "exp/config.yaml")),
    ):  # fmt: skip
        change = functools.partial(hostile_config, path, part)
        FAULTS.append(
            Fault("code", f"{part} is os.system: {command}", words, reads, change, ("os.system",))
        )


def module_beside(folder: Path) -> None:
    """A component of a module that lies in the working folder."""
    (folder / "evil_module.py").write_text(f"open({MARK!r}, 'w').close()\nclass Thing: pass\n")
    file = folder / "exp/config.yaml"
    content = yaml.safe_load(file.read_text())
    content["system"]["init_args"]["head"] = {"class_path": "evil_module.Thing"}
    file.write_text(yaml.safe_dump(content))


FAULTS.append(
    Fault("code", "a component of a module in the working folder: infer", infer_words(),
          INFER_READS, module_beside, ("evil_module",))
)  # fmt: skip


def hostile_archive(kind: str, path: str, folder: Path) -> None:
    """An archive that runs something when it is read by a library that trusts it."""
    payload = b"cos\nsystem\n(S'touch " + MARK.encode() + b"'\ntR."
    scp = folder / path
    ark = scp.with_suffix(".ark")
    lines = scp.read_text().splitlines()
    key = lines[0].split()[0]
    if kind == "a pickle":
        ark.write_bytes(f"{key} PKL".encode() + payload)
        address = f"{ark.relative_to(folder)}:{len(key) + 1}"
    elif kind == "a command":
        address = f"touch {MARK} |"
        (folder / address).write_text("x")
    else:
        buffer = io.BytesIO()
        np.save(buffer, np.array([{}], dtype=object), allow_pickle=True)
        ark.write_bytes(f"{key} NPY".encode() + buffer.getvalue())
        address = f"{ark.relative_to(folder)}:{len(key) + 1}"
    scp.write_text("".join([f"{key} {address}\n", *(f"{line}\n" for line in lines[1:])]))


for kind in ("a pickle", "a command", "an array of objects"):
    for command, path, words, reads in (
        ("infer", "exp/embeddings/dev/embedding.scp", infer_words(), INFER_READS),
        ("logits_to_llr", "exp/posteriors/dev/logits.scp", llr_words(), LLR_READS),
        ("export_bundle", "exp/posteriors/dev/logits.scp", export_words(), EXPORT_READS),
    ):
        change = functools.partial(hostile_archive, kind, path)
        FAULTS.append(Fault("code", f"{kind} in an archive: {command}", words, reads, change))


def bomb(path: str, folder: Path) -> None:
    """Nine aliases of nine aliases of ..."""
    lines = ["a0: &a0 [x]"]
    for level in range(1, 10):
        lines.append(f"a{level}: &a{level} [{', '.join(9 * [f'*a{level - 1}'])}]")
    file = folder / path
    file.write_text("\n".join(lines) + "\n" + file.read_text() + "\n")


for command, words, reads in (
    ("infer", infer_words(), INFER_READS),
    ("extract", extract_words(), EXTRACT_READS),
):
    FAULTS.append(
        Fault("code", f"a YAML of 9^9 aliases: {command}", words, reads,
              functools.partial(bomb, "exp/config.yaml"), ("config.yaml",))
    )  # fmt: skip


def inside_only(folder: Path, ended) -> None:
    """Nothing outside of the output folder; refused, or written under another name."""
    if ended.status != 0:
        refused(ended)
    outside = [name for name in ("outside.txt", "outside.svg", "../outside.txt")
               if (folder / name).exists()]  # fmt: skip
    assert not outside, f"written outside: {outside}"


def climbing_id(name: str, folder: Path) -> None:
    for path in ("frames/llr.txt", "frames/segments.rttm"):
        file = folder / path
        file.write_text(file.read_text().replace("utt1", name))


for name in ("../../outside", "../outside", "a/../../../outside"):
    FAULTS.append(
        Fault("code", f"an utterance named {name}: segments", SEGMENT_WORDS, ("frames",),
              functools.partial(climbing_id, name), (), inside_only)
    )  # fmt: skip


def kept(kind: str, folder: Path, ended) -> None:
    """An output that is no regular file stays what it is."""
    if ended.status != 0:
        refused(ended)
    path = folder / "exp/results_dev.txt"
    mode = path.lstat().st_mode
    kinds = {"a device": stat.S_ISCHR, "a FIFO": stat.S_ISFIFO, "a link": stat.S_ISLNK}
    assert kinds[kind](mode), "it was replaced by a file"


def special_output(kind: str, folder: Path) -> None:
    path = folder / "exp/results_dev.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "a FIFO":
        os.mkfifo(path)
    elif kind == "a link":
        path.symlink_to("target.txt")
    elif os.geteuid() == 0:
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))


for kind in ("a link", *(("a device",) if os.geteuid() == 0 else ())):
    FAULTS.append(
        Fault("code", f"the output is {kind}", evaluate_words(), SCORED_READS,
              functools.partial(special_output, kind), (), functools.partial(kept, kind))
    )  # fmt: skip


# ---- Outputs


def with_copy(path: str, folder: Path) -> None:
    shutil.copy(folder / path, folder / "original")


def as_before(path: str, folder: Path, ended) -> None:
    """A refusal, after which a file is as it was."""
    refused(ended, "an input of this command")
    same = (folder / path).read_bytes() == (folder / "original").read_bytes()
    assert same, f"{path} was changed"


FUSE_OVER_INPUT = FUSE_WORDS.replace("fused/llr.txt", "exp/posteriors/dev/llr.txt")
EXTRACT_OVER_CONFIG = extract_words().replace("exp/embeddings/dev/embedding.ark", "exp/config.yaml")
for name, words, reads, path in (
    ("fuse: scores", FUSE_OVER_INPUT, SCORED_READS, "exp/posteriors/dev/llr.txt"),
    ("fuse: scores, their sidecar", FUSE_OVER_INPUT, SCORED_READS, "exp/posteriors/dev/llr.json"),
    ("extract: configuration", EXTRACT_OVER_CONFIG, EXTRACT_READS, "exp/config.yaml"),
):
    FAULTS.append(
        Fault("outputs", f"the output is an input: {name}", words, reads,
              functools.partial(with_copy, path), (), functools.partial(as_before, path))
    )  # fmt: skip
for command, words, reads in (
    ("extract", extract_words().replace("exp/embeddings/dev/embedding.ark", "/"), EXTRACT_READS),
    ("logits_to_llr", llr_words(more="--llr_path /"), LLR_READS),
    ("fuse", FUSE_WORDS.replace("fused/llr.txt", "/"), SCORED_READS),
):
    FAULTS.append(
        Fault("outputs", f"the output is /: {command}", words, reads, nothing, ("'/': a folder",))
    )  # fmt: skip


# ---- Numbers

for option in (
    "--training.optimizer.lr .nan", "--training.optimizer.lr -1", "--training.seed -1",
    "--training.clip_norm .nan", "--training.clip_norm -1", "--training.ema_decay 1.5",
    "--training.ema_decay -1", "--training.save_step_interval -1", "--data.crop_seconds .inf",
    "--data.crop_seconds 1e9", "--data.crop_seconds -1", "--data.batch_size 1000000000000",
    "--training.schedule.warmup_epochs -3", "--num_epochs 0", "--num_workers -1",
    "--training.optimizer.lr 1e38 --training.clip_norm 0",
):  # fmt: skip
    FAULTS.append(
        Fault("numbers", f"train {option}", train_words("new", option), TRAIN_READS, nothing)
    )  # fmt: skip

SCORES = "filename\tcm-score\n"
KEYS = "filename\tcm-label\nu0\tbonafide\nu1\tspoof\nu2\tspoof\n"
EVALUATE = f"{BIN}/evaluate.py --m t1 --cm s.txt --cm_key k.txt --json r.json"


def score_table(scores: str, key: str, folder: Path) -> None:
    (folder / "s.txt").write_text(scores)
    (folder / "k.txt").write_text(key)


for name, scores, told in (
    ("1_000", SCORES + "u0\t1_000\nu1\t2\nu2\t3\n", "s.txt:2"),
    ("digits of another script", SCORES + "u0\t\u0661\nu1\t2\nu2\t3\n", "s.txt:2"),
    ("NaN", SCORES + "u0\tnan\nu1\t2\nu2\t3\n", "s.txt:2"),
    ("infinite", SCORES + "u0\t1\nu1\tinf\nu2\t\n", "s.txt"),
    ("a text", SCORES + "u0\tx\nu1\t2\nu2\t3\n", "s.txt:2"),
    ("a trial twice", SCORES + "u0\t1\nu0\t2\nu2\t3\n", "s.txt:3"),
    ("a trial is missing", SCORES + "u0\t1\nu1\t2\n", "u2"),
    ("no line", SCORES, "s.txt"),
    ("a NUL byte", SCORES + "u0\t1\nu1\0\t2\nu2\t3\n", "s.txt"),
    ("escape codes in an id", SCORES + "u0\t1\n\x1b[2J\t2\nu2\t3\n", "s.txt"),
):
    change = functools.partial(score_table, scores, KEYS)
    FAULTS.append(Fault("numbers", f"evaluate: {name}", EVALUATE, (), change, (told,)))
GOOD = SCORES + "u0\t1\nu1\t2\nu2\t0\n"
for option in (
    "--asv_rates [-1,0.5,0.5]", "--asv_rates [.nan,0.5,0.5]", "--asv_rates [2,0.5,0.5]",
    "--bootstrap -1", "--cost c_miss=inf,c_fa=1,p_spoof=0.5", "--cost p_spoof=",
):  # fmt: skip
    change = functools.partial(score_table, GOOD, KEYS)
    FAULTS.append(Fault("numbers", f"evaluate {option}", f"{EVALUATE} {option}", (), change))
for option in ("0", "1", "-0.1", "nan"):
    words = llr_words().replace("--pi_spoof 0.05", f"--pi_spoof {option}")
    FAULTS.append(Fault("numbers", f"logits_to_llr --pi_spoof {option}", words, LLR_READS, nothing))


def changed_sidecar(field: str, value, folder: Path) -> None:
    path = folder / "exp/posteriors/dev/logits.json"
    content = json.loads(path.read_text())
    content[field] = value
    path.write_text(json.dumps(content))


for field, value in (("labels", [1, 2]), ("class_prior", [1.0, 0.0]), ("polarity", 3)):
    change = functools.partial(changed_sidecar, field, value)
    FAULTS.append(
        Fault(
            "numbers", f"sidecar: {field} is {value}", llr_words(), LLR_READS, change, ("logits",)
        )
    )


for words, path in ((SEGMENT_WORDS, "segments"), (LOCALIZATION_WORDS, "evaluate_localization")):
    for name, old, new in (("NaN", "0.02 ", "0.02 nan#"), ("a gap", "utt1 0.10", "utt1 0.90")):
        change = replaced("frames/llr.txt", old, new)
        FAULTS.append(Fault("numbers", f"{path}: {name} in frames", words, ("frames",), change))


# ---- Permissions


for words, reads, change, unreadable in (
    (EXTRACT_SHARDS, SHARD_READS, nothing, FIRST_TAR),
    (EXTRACT_SHARDS, SHARD_READS, nothing, "data/dev/shards"),
    (EXTRACT_SHARDS, SHARD_READS, nothing, "data/dev/shard.list"),
    (extract_words(), MEDIA_READS, write_media, "audio/LA_X_3.flac"),
    (extract_words(), MEDIA_READS, write_media, "audio/LA_X_1.wav"),
    (extract_words(), MEDIA_READS, write_media, "data/dev/raw.list"),
    (extract_words(), EXTRACT_READS, nothing, "exp/config.yaml"),
    (extract_words(), EXTRACT_READS, nothing, AVERAGE),
    (TRAIN_MEDIA, MEDIA_READS, write_media, "audio/LA_X_3.flac"),
    (TRAIN_MEDIA, MEDIA_READS, write_media, "audio"),
    (TRAIN_MEDIA, MEDIA_READS, write_media, "data/dev/utt2lab"),
    (RAW_LIST_WORDS, MEDIA_READS, write_media, "audio/LA_X_3.flac"),
    (RAW_LIST_WORDS, MEDIA_READS, write_media, "data/dev/wav.scp"),
    (pack_words(), MEDIA_READS, write_media, "audio/LA_X_2.ogg"),
    (infer_words(), INFER_READS, nothing, "exp/embeddings/dev/embedding.ark"),
    (llr_words(), LLR_READS, nothing, "exp/posteriors/dev/logits.json"),
    (evaluate_words(), SCORED_READS, nothing, "exp/posteriors/dev/llr.txt"),
    (SEGMENT_WORDS, ("frames",), nothing, "frames/segments.rttm"),
    (SCORE_WORDS, BUNDLE_READS, nothing, "recording.wav"),
    (SCORE_WORDS, BUNDLE_READS, nothing, "bundle/bundle.json"),
    (SCORE_WORDS, BUNDLE_READS, nothing, "bundle/model.safetensors"),
):
    name = f"may not be read: {unreadable}: {Path(words.split()[0]).stem}"
    told = (Path(unreadable).name,)
    FAULTS.append(
        Fault("permissions", name, words, reads, change, told, unreadable=unreadable)
    )  # fmt: skip


@contextlib.contextmanager
def unreadable_to_user(folder: Path, name: str) -> Iterator[dict]:
    """Context in which a file may not be read; options of a command that root would run.

    All else belongs to the user who runs it, who is another where this one is root, because root
    may read what nobody may.
    """
    if not name:
        yield {}
        return
    options = {}
    if os.geteuid() == 0:
        options = {"user": NOBODY}
        open_parents(folder)
        for path in (folder, *folder.rglob("*")):
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    mode = (folder / name).stat().st_mode
    (folder / name).chmod(0)
    yield options
    (folder / name).chmod(stat.S_IMODE(mode))


@pytest.mark.turns
@pytest.mark.parametrize("area", sorted({fault.area for fault in FAULTS}))
def test_inputs(area, world, injected):
    for fault in FAULTS:
        if fault.area != area:
            continue
        folder = world.copy(*fault.reads)
        with injected.fault(area, fault.name):
            check(world, fault, folder)
        shutil.rmtree(folder)


def check(world, fault: Fault, folder: Path) -> None:
    """Run the command on its fault, and look at its end."""
    try:
        fault.change(folder)
    except Exception as error:
        raise AssertionError(f"the fault can't be made: {error!r}") from error
    if fault.area == "shards":
        expected = folder / "expected.json"
        expected.write_text(json.dumps(shard_embeddings(world)))
    before = snapshot(folder)
    with unreadable_to_user(folder, fault.unreadable) as options:
        ended = world.warm.run(fault.words, folder, limit=20, **options)
    assert not (folder / MARK).exists(), f"code ran\n{ended.output[-800:]}"
    if fault.check is not None:
        fault.check(folder, ended)
    else:
        refused(ended, *fault.told)
    after = snapshot(folder)
    hidden = [name for name in after.keys() - before.keys() if Path(name).name.startswith(".")]
    assert not hidden, f"left over: {hidden[:3]}"


@functools.cache
def shard_embeddings(world) -> dict[str, list]:
    """Embeddings of the shards as they are."""
    folder = world.copy(*SHARD_READS)
    accepted(world.warm.run(EXTRACT_SHARDS, folder))
    return embeddings(folder)
