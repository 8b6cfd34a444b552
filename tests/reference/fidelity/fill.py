"""Weights and inputs that a set's JSON lists, drawn anew from its seed.

python tests/reference/fidelity/fill.py NAME.json OUT.npz writes both. README.md beside this file
has the rules in words. B signals, T samples.
"""

import json
import sys
import zlib
from pathlib import Path

import numpy as np

SAMPLE_RATE = 16000
HARMONICS = 30


def draw_waves(rng: np.random.Generator, signals: int, samples: int) -> np.ndarray:
    """Speech-like signals ``wav_BT``: a harmonic tone in noise that swells twice a second, in
    16-bit steps.
    """
    pitch = rng.uniform(100, 250, (signals, 1, 1))
    phase = rng.uniform(0, 2 * np.pi, (signals, HARMONICS, 1))
    order = np.arange(1, HARMONICS + 1)[:, None]
    seconds = np.arange(samples) / SAMPLE_RATE
    tone_BT = (np.sin(2 * np.pi * pitch * order * seconds + phase) / order).sum(1)
    noise_BT = rng.standard_normal((signals, samples))
    swell_T = 0.5 - 0.5 * np.cos(4 * np.pi * seconds)
    return np.round(32768 * swell_T * (0.05 * tone_BT + 0.02 * noise_BT)) / 32768


def draw(seed: int, entry: dict) -> np.ndarray:
    """Values of one entry of a set.

    Args:
        seed: of the set.
        entry: its ``name``, ``shape`` and ``rule``; ``scale``, ``centre`` and ``drawn_as`` where
            the rule takes them.

    Raises:
        ValueError: unknown rule.
    """
    rule = entry["rule"]
    shape = entry["shape"]
    scale = entry.get("scale")
    centre = entry.get("centre", 0.0)
    # A tensor with two names is drawn by the first one.
    name = entry.get("drawn_as") or entry["name"]
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    if rule == "count":
        return np.ones(shape, np.int64)
    if rule == "wave":
        return draw_waves(rng, *shape).astype(np.float32)
    normal = rng.standard_normal(shape)
    if rule == "matrix":
        fan_in = int(np.prod(shape[1:]))
        values = normal * (scale or fan_in**-0.5)
    elif rule == "vector":
        values = centre + normal * (scale or 0.1)
    elif rule == "gain":
        values = 1 + 0.1 * normal
    elif rule == "variance":
        values = (1 + 0.1 * np.abs(normal)) * (scale or 1)
    elif rule == "normal":
        values = centre + normal * (scale or 1)
    elif rule == "frames":
        # Each signal has a mean of its own for each feature.
        means = rng.standard_normal((shape[0], 1, shape[2]))
        values = centre + (normal + means) * (scale or 1)
    else:
        raise ValueError(f"{entry['name']}: unknown rule {rule!r}")
    return np.asarray(values, np.float32)


def fill(path: str | Path, part: str = "state") -> dict[str, np.ndarray]:
    """Arrays of a set by name.

    Args:
        path: JSON of the set.
        part: ``state``, the weights under their official names, or ``inputs``.
    """
    listing = json.loads(Path(path).read_text(encoding="utf-8"))
    arrays = {}
    for entry in listing[part]:
        # The official code makes these itself: filters, positions, DCT.
        if entry["rule"] != "computed":
            arrays[entry["name"]] = draw(listing["seed"], entry)
    return arrays


if __name__ == "__main__":
    arrays = fill(sys.argv[1])
    for name, values in fill(sys.argv[1], "inputs").items():
        arrays[f"input/{name}"] = values
    np.savez(sys.argv[2], **arrays)
