"""Every component of the package, found by walking it, in a size that a test can afford."""

import functools
import importlib
import inspect
import pkgutil
import tempfile
from pathlib import Path

import numpy as np
import soundfile as sf
import tiny
import torch

import wedefense_lite
from wedefense_lite.augment.base import Augment, Prepared
from wedefense_lite.frontends import Frontend
from wedefense_lite.heads import Head
from wedefense_lite.models import Backbone, FrameBackbone

torch.set_num_threads(1)
SMALL = {
    "channels": 4,
    "embed_dim": 8,
    "scale": 2,
    "width": 16,
    "coarser": 2,
    "num_layers": 2,
    "max_frames": 520,
    "heads": 2,
}
SMALL |= {"model": "tiny", "architecture": tiny.ENCODER, "sizes": tiny.WHISPER}
SMALL |= {"window_seconds": 1.0}
RATE = 16000
FOLDER = tempfile.TemporaryDirectory()


@functools.cache
def audio_list() -> str:
    """The ``wav.scp`` of a few noises, for the augmentations that need one."""
    folder = Path(FOLDER.name)
    for seed, kind in enumerate(("noise", "music", "speech")):
        sf.write(
            folder / f"{kind}.wav", np.random.default_rng(seed).standard_normal(2 * RATE) / 10, RATE
        )
    (folder / "wav.scp").write_text(
        "".join(f"{path.stem} {path}\n" for path in sorted(folder.glob("*.wav")))
    )
    return str(folder / "wav.scp")


def modules() -> list:
    names = pkgutil.walk_packages(wedefense_lite.__path__, "wedefense_lite.")
    return [importlib.import_module(module.name) for module in names if ".bin" not in module.name]


def subclasses(base: type) -> list[type]:
    """Concrete subclasses of ``base`` anywhere in the package, by name."""
    found = {
        value
        for module in modules()
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, base) and value is not base
    }
    return sorted(
        (value for value in found if not inspect.isabstract(value)), key=lambda cls: cls.__name__
    )


def small(cls: type, arguments: int) -> dict:
    """The sizes of ``SMALL`` that a constructor knows, behind so many arguments of its own."""
    return {
        name: SMALL[name]
        for name in list(inspect.signature(cls).parameters)[arguments:]
        if name in SMALL
    }


def build(cls: type, *arguments, seed: int = 0):
    """An instance with the sizes of ``SMALL`` where its constructor knows them, in eval mode."""
    torch.manual_seed(seed)
    made = cls(*arguments, **small(cls, len(arguments)))
    if isinstance(made, Prepared):
        made.prepare(audio_list())
    return made.eval() if isinstance(made, torch.nn.Module) else made


FRONTENDS, BACKBONES, HEADS, AUGMENTS = map(subclasses, (Frontend, Backbone, Head, Augment))
FRAME_BACKBONES = subclasses(FrameBackbone)
