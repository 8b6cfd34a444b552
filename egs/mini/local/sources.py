"""Real human speech: who speaks, in which set, from which package, under which licence."""

import gzip
import itertools
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile
import yaml
from neutralise import RATE, SECONDS, at_level, crop, pass_g722, read_audio, trim

from wedefense_lite.files import InputError, read_text

SETS = ("train", "dev", "eval")
SPEECH = yaml.safe_load(read_text(Path(__file__).with_name("speech.yaml")))
LANGUAGES, ASTERISK, SENTENCES = SPEECH["languages"], SPEECH["asterisk"], SPEECH["sentences"]
PACKAGES = [
    f"asterisk-core-sounds-{language}{part}" for language in ASTERISK for part in ("", "-g722")
]
PACKAGES += ["klettres-data", "ktuberling-data"]
SENTENCE_SECONDS = 1.2
PHRASE_WORDS = 5
AUDIO = {".wav", ".flac", ".ogg", ".opus", ".oga", ".mp3", ".g722"}


@dataclass(frozen=True)
class Source:
    """One human utterance: a prompt of one file, or a phrase of some short words of one voice."""

    name: str
    set: str
    speaker: str
    language: str
    text: str | None
    package: str
    licence: str
    files: tuple[Path, ...]


def rng_for(*key) -> np.random.Generator:
    """A random stream that depends on its key alone, not on what was drawn elsewhere."""
    return np.random.default_rng(zlib.crc32("|".join(map(str, key)).encode()))


def seed_of(*key) -> int:
    """A seed that depends on its key alone."""
    return zlib.crc32("|".join(map(str, key)).encode()) % 2**31


def set_of(language: str) -> str | None:
    """The set a language belongs to."""
    return next((name for name, languages in LANGUAGES.items() if language in languages), None)


def asterisk(language: str, prompts: Path, transcript: Path, seed: int) -> Iterator[Source]:
    """Telephone prompts: sentences with their text, two at a time."""
    _, speaker, licence = ASTERISK[language]
    opened = gzip.open if transcript.suffix == ".gz" else open
    with opened(transcript, "rt", encoding="utf-8", errors="replace") as lines:
        texts = dict(re.findall(r"^([\w/.-]+):\s*(.+?)\s*$", lines.read(), re.MULTILINE))
    package = f"asterisk-core-sounds-{language}-g722"
    spoken = [key for key in sorted(texts) if _is_sentence(texts[key], prompts / f"{key}.g722")]
    for keys in _grouped(spoken, 2, rng_for(seed, package)):
        text = " ".join(re.sub(r"[^.?!]$", r"\g<0>.", texts[key]) for key in keys)
        files = tuple(prompts / f"{key}.g722" for key in keys)
        name, share = f"{package}/{'+'.join(keys)}", set_of(language)
        yield Source(name, share, speaker, language, text, package, licence, files)


def _is_sentence(text: str, file: Path) -> bool:
    is_sound_effect = re.search(r"[\[\]()<>]", text)
    return not is_sound_effect and file.exists() and file.stat().st_size > SENTENCE_SECONDS * 8000


def _grouped(items: list, size: int, rng: np.random.Generator) -> Iterator[tuple]:
    """Random groups of ``size``; what is left over is dropped."""
    mixed = [items[index] for index in rng.permutation(len(items))]
    yield from zip(*[iter(mixed)] * size)


def words(root: Path, package: str, folder: str, seed: int) -> Iterator[Source]:
    """Short words of many voices, some of one voice joined to a phrase."""
    for home in sorted((root / folder).iterdir()):
        language = home.name.split("_")[0]
        if not home.is_dir() or set_of(language) is None:
            continue
        files = sorted(
            path for path in home.rglob("*") if path.suffix in AUDIO and _is_wideband(path)
        )
        texts = _klettres_texts(home) if package == "klettres-data" else {}
        speaker = f"{package.removesuffix('-data')}_{home.name}"
        for number, chosen in enumerate(
            _grouped(files, PHRASE_WORDS, rng_for(seed, package, home.name))
        ):
            spoken = [texts.get(str(path.relative_to(home.parent))) for path in chosen]
            text = ", ".join(spoken) if all(spoken) else None
            name = f"{package}/{home.name}/{number}"
            yield Source(name, set_of(language), speaker, language, text, package, "GPL-2+", chosen)


def _klettres_texts(home: Path) -> dict[str, str]:
    found = re.findall(r'<sound name="([^"]+)"\s+file="([^"]+)"', read_text(home / "sounds.xml"))
    return {file: text.lower() for text, file in found}


def _is_wideband(path: Path) -> bool:
    try:
        return soundfile.info(path).samplerate >= RATE
    except soundfile.LibsndfileError:
        return False


def own_folder(folder: Path, seed: int) -> Iterator[Source]:
    """Speech of the user: a folder a speaker, ``X.txt`` beside ``X.wav`` holds what is said.

    Where there is no text, engines say one of :data:`SENTENCES`.

    Raises:
        InputError: fewer than three speakers, so that three sets can't be disjoint.
    """
    speakers = (
        sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    )
    if len(speakers) < 3:
        raise InputError(
            f"{folder}: {len(speakers)} folders, expected one a speaker and at least 3 speakers"
        )
    order, number = rng_for(seed, "speakers").permutation(len(speakers)), itertools.count()
    for place, index in enumerate(order):
        share = SETS[place] if place < 3 else ("train", "train", "eval", "dev")[place % 4]
        for file in sorted(
            path for path in (folder / speakers[index]).rglob("*") if path.suffix in AUDIO
        ):
            text = file.with_suffix(".txt")
            text = (
                read_text(text).strip()
                if text.exists()
                else SENTENCES[next(number) % len(SENTENCES)]
            )
            name = f"{speakers[index]}/{file.relative_to(folder / speakers[index])}"
            yield Source(name, share, speakers[index], "en", text, "own", "of its owner", (file,))


@lru_cache(maxsize=256)
def load(source: Source) -> np.ndarray:
    """Waveform of a source at 16 kHz, no longer than needed, after exactly one G.722 pass.

    The telephone prompts come with theirs.
    """
    rng = rng_for("gaps", source.name)
    pieces = []
    for file in source.files:
        pieces += [
            at_level(trim(read_audio(file)), -24.0),
            np.zeros(rng.integers(RATE // 16, RATE // 8)),
        ]
    wave = crop(np.concatenate(pieces[:-1]), rng, SECONDS[1:] * 2)
    return wave if source.files[0].suffix == ".g722" else pass_g722(wave)
