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
_TABLES = yaml.safe_load(read_text(Path(__file__).with_name("speech.yaml")))
LANGUAGES = _TABLES["languages"]  # of each set
ASTERISK = _TABLES["asterisk"]  # by language: folder, speaker, licence
SENTENCES = _TABLES["sentences"]  # for engines, where a user's speech has no text
PACKAGES = ["klettres-data", "ktuberling-data"]
for _language in ASTERISK:
    # The package without an ending has the transcripts.
    PACKAGES += [f"asterisk-core-sounds-{_language}", f"asterisk-core-sounds-{_language}-g722"]
SENTENCE_SECONDS = 1.2  # a prompt this long is a sentence
G722_BYTES = 8000  # a second
PROMPTS_JOINED = 2  # to one utterance
PHRASE_WORDS = 5  # short words joined to one utterance
WORD_LEVEL_DB = -24.0  # of the speech in each file, before files are joined
GAP = (RATE // 16, RATE // 8)  # samples between joined files
# Of a user's folder, each set gets a speaker; the sets of the others, in turn, are these.
LATER_SPEAKERS = ("dev", "train", "train", "eval")
AUDIO = {".wav", ".flac", ".ogg", ".opus", ".oga", ".mp3", ".g722"}


@dataclass(frozen=True)
class Source:
    """One human utterance: a prompt or two, or a phrase of some short words of one voice.

    Attributes:
        name: unique.
        set: train, dev or eval.
        speaker: whose voice it is.
        language: code, as in ``speech.yaml``.
        text: what is spoken; None if unknown.
        package: Debian package, or ``own``.
        licence: of the recording.
        files: audio files, which are joined.
    """

    name: str
    set: str
    speaker: str
    language: str
    text: str | None
    package: str
    licence: str
    files: tuple[Path, ...]


def rng_for(*key) -> np.random.Generator:
    """A random stream that depends on its key alone, not on draws from other streams."""
    return np.random.default_rng(_checksum(key))


def seed_of(*key) -> int:
    """A seed that depends on its key alone."""
    return _checksum(key) % 2**31


def _checksum(key: tuple) -> int:
    # Not hash(), which differs from process to process.
    return zlib.crc32("|".join(map(str, key)).encode())


def set_of(language: str) -> str | None:
    """The set that a language belongs to; None if to none."""
    for name, languages in LANGUAGES.items():
        if language in languages:
            return name
    return None


def asterisk(language: str, prompts: Path, transcript: Path, seed: int) -> Iterator[Source]:
    """Telephone prompts: sentences with their text, joined in pairs.

    Args:
        language: key of ASTERISK.
        prompts: folder of the audio files.
        transcript: lines ``prompt: text``, perhaps compressed with gzip.
        seed: of the choice of pairs.
    """
    _, speaker, licence = ASTERISK[language]
    open_text = gzip.open if transcript.suffix == ".gz" else open
    with open_text(transcript, "rt", encoding="utf-8", errors="replace") as lines:
        texts = dict(re.findall(r"^([\w/.-]+):\s*(.+?)\s*$", lines.read(), re.MULTILINE))
    package = f"asterisk-core-sounds-{language}-g722"
    sentences = [key for key in sorted(texts) if _is_sentence(texts[key], prompts / f"{key}.g722")]
    for keys in _random_groups(sentences, PROMPTS_JOINED, rng_for(seed, package)):
        # A full stop where there is none, so that engines pause there too.
        text = " ".join(re.sub(r"[^.?!]$", r"\g<0>.", texts[key]) for key in keys)
        files = tuple(prompts / f"{key}.g722" for key in keys)
        name = f"{package}/{'+'.join(keys)}"
        yield Source(name, set_of(language), speaker, language, text, package, licence, files)


def _is_sentence(text: str, file: Path) -> bool:
    is_sound_effect = re.search(r"[\[\]()<>]", text)
    if is_sound_effect or not file.exists():
        return False
    return file.stat().st_size > SENTENCE_SECONDS * G722_BYTES


def _random_groups(items: list, size: int, rng: np.random.Generator) -> Iterator[tuple]:
    """Random groups of ``size`` items; a last group that would be smaller is dropped."""
    shuffled = [items[index] for index in rng.permutation(len(items))]
    for start in range(0, len(shuffled) - size + 1, size):
        yield tuple(shuffled[start : start + size])


def words(root: Path, package: str, folder: str, seed: int) -> Iterator[Source]:
    """Short words of many voices; some words of one voice are joined to a phrase.

    Args:
        root: unpacked Debian packages.
        package: klettres-data or ktuberling-data.
        folder: below ``root``, with a folder a voice whose name begins with the language.
        seed: of the choice of words.
    """
    for home in sorted((root / folder).iterdir()):
        language = home.name.split("_")[0]
        if not home.is_dir() or set_of(language) is None:
            continue
        files = sorted(
            path for path in home.rglob("*") if path.suffix in AUDIO and _is_wideband(path)
        )
        texts = _klettres_texts(home) if package == "klettres-data" else {}
        speaker = f"{package.removesuffix('-data')}_{home.name}"
        phrases = _random_groups(files, PHRASE_WORDS, rng_for(seed, package, home.name))
        for number, phrase in enumerate(phrases):
            spoken = [texts.get(str(path.relative_to(home.parent))) for path in phrase]
            text = ", ".join(spoken) if all(spoken) else None
            name = f"{package}/{home.name}/{number}"
            yield Source(name, set_of(language), speaker, language, text, package, "GPL-2+", phrase)


def _klettres_texts(home: Path) -> dict[str, str]:
    """Spoken text by file, from the voice's ``sounds.xml``."""
    sounds = re.findall(r'<sound name="([^"]+)"\s+file="([^"]+)"', read_text(home / "sounds.xml"))
    return {file: text.lower() for text, file in sounds}


def _is_wideband(path: Path) -> bool:
    # Telephone band and spoofs of a wider band could be told apart without listening.
    try:
        return soundfile.info(path).samplerate >= RATE
    except soundfile.LibsndfileError:
        return False


def own_folder(folder: Path, seed: int) -> Iterator[Source]:
    """Speech of the user: a folder a speaker; ``X.txt`` beside ``X.wav`` has its text.

    Where there is no text, engines say one of ``SENTENCES``.

    Args:
        folder: holds a folder a speaker.
        seed: of the choice of speakers for each set.

    Raises:
        InputError: fewer than three speakers, so that three sets can't be disjoint.
    """
    speakers = []
    if folder.is_dir():
        speakers = sorted(path.name for path in folder.iterdir() if path.is_dir())
    if len(speakers) < 3:
        raise InputError(
            f"{folder}: {len(speakers)} folders, expected one a speaker and at least 3 speakers"
        )
    sentences = itertools.cycle(SENTENCES)
    set_names = itertools.chain(SETS, itertools.cycle(LATER_SPEAKERS))
    order = rng_for(seed, "speakers").permutation(len(speakers))
    for index, set_name in zip(order, set_names):
        speaker = speakers[index]
        home = folder / speaker
        for file in sorted(path for path in home.rglob("*") if path.suffix in AUDIO):
            text_file = file.with_suffix(".txt")
            text = read_text(text_file).strip() if text_file.exists() else next(sentences)
            name = f"{speaker}/{file.relative_to(home)}"
            yield Source(name, set_name, speaker, "en", text, "own", "of its owner", (file,))


@lru_cache(maxsize=256)
def load(source: Source) -> np.ndarray:
    """Waveform of a source at 16 kHz, no longer than needed, after exactly one G.722 pass.

    The telephone prompts are published in G.722, and need no further pass.
    """
    rng = rng_for("gaps", source.name)
    pieces = []
    for file in source.files:
        speech = at_level(trim(read_audio(file)), WORD_LEVEL_DB)
        pieces += [speech, np.zeros(rng.integers(*GAP))]
    wave = np.concatenate(pieces[:-1])  # no gap after the last file
    longest = SECONDS[1]
    wave = crop(wave, rng, (longest, longest))
    if source.files[0].suffix == ".g722":
        return wave
    return pass_g722(wave)
