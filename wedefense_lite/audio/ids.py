"""Ids of utterances, made of the names that a corpus is published with.

A published name may be a path or hold dots and spaces, which an id can't (``check_keys``). The one
rule, for every preparation:

1. A leading ``./`` and the extension of an audio file (``AUDIO_EXTENSIONS``, in any case) go.
2. What an id can't hold, and ``%``, becomes ``%XX``: the bytes of its UTF-8 in hexadecimal, as in
   URLs.
3. All else stays as it is.

| name | id |
|---|---|
| ``LA_E_1000147`` | ``LA_E_1000147`` |
| ``./fake/en/tts models/LJ001-0001.wav`` | ``fake%2Fen%2Ftts%20models%2FLJ001-0001`` |
| ``a.b/100%.mp3`` | ``a%2Eb%2F100%25`` |

``name_of_id`` undoes rule 2. ``utt2orig`` of a data directory, lines ``utt name``, has the names as
published where they differ from the ids.
"""

from urllib.parse import quote, unquote

from wedefense_lite.audio.index import HEADER_ID

AUDIO_EXTENSIONS = (
    ".wav",
    ".flac",
    ".mp3",
    ".m4a",
    ".ogg",
    ".opus",
    ".aac",
    ".aif",
    ".aiff",
    ".caf",
    ".amr",
    ".webm",
    ".mp4",
    ".mkv",
    ".sph",
    ".wma",
)


def make_id(name: str) -> str:
    """Id of an utterance from its published name, see the rule above.

    Args:
        name: name or relative path of an utterance or its audio file.

    Raises:
        ValueError: nothing is left of the name, or it leads out of the corpus (``/x``, ``../x``).
    """
    stem = without_audio_extension(name.removeprefix("./"))
    if not stem or stem.endswith("/"):
        raise ValueError(f"name {name!r}, expected the name of an audio file")
    if stem.startswith("/") or ".." in stem.split("/"):
        raise ValueError(f"name {name!r}, expected a path below the folder of the audio")
    if stem == HEADER_ID:  # a whole id that begins the header of score files
        return f"%{ord(stem[0]):02X}{stem[1:]}"
    key = ""
    for character in stem:
        if character in "./%" or character.isspace() or not character.isprintable():
            # quote() leaves a dot as it is.
            character = "%2E" if character == "." else quote(character, safe="")
        key += character
    return key


def name_of_id(key: str) -> str:
    """Published name, without its audio extension, of an id of ``make_id``."""
    return unquote(key)


def without_audio_extension(name: str) -> str:
    """A name without the extension of an audio file; other dots are part of a name."""
    stem, dot, extension = name.rpartition(".")
    is_audio = dot and f".{extension.lower()}" in AUDIO_EXTENSIONS
    return stem if is_audio else name
