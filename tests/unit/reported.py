"""A small experiment after stage 7 whose numbers can be counted by hand, for tests of its page."""

from pathlib import Path

import numpy as np
import soundfile as sf

from wedefense_lite.bin.evaluate import evaluate
from wedefense_lite.files import write_json, write_lines, write_table, write_text
from wedefense_lite.scoring.archives import write_archive
from wedefense_lite.scoring.scores import write_scores
from wedefense_lite.scoring.sidecar import Sidecar, write_sidecar

RATE = 16000
# An id, which may be anything that has no white space, that would run as a script.
HOSTILE = "</script><img/src=x/onerror=alert(1)>&%_#"
# LLRs of a set. At the EER threshold of dev, just above 0, dev has one error of each kind.
LLRS = {
    "dev": {"bonafide": (3.0, 2.0, 1.0, -1.0), "spoof": (-3.0, -2.0, -2.5, 0.0, 0.5)},
    "eval": {"bonafide": (4.0, 0.25, -0.5, -1.5), "spoof": (-3.0, -2.0, 1.5, 2.5, -1.0, 0.75)},
}
CONFIG = """\
system:
  class_path: wedefense_lite.systems.tasks.Detection
data: {sample_rate: 16000}
"""


def keys_of(name: str) -> list[str]:
    """Ids of a set: bona fide trials, then spoofs; one of eval is hostile."""
    count = sum(len(scores) for scores in LLRS[name].values())
    keys = [f"{name}_{number}" for number in range(count)]
    if name == "eval":
        keys[7] = HOSTILE
    return keys


def write_experiment(root: Path) -> tuple[Path, Path]:
    """Folder of an experiment, and that of its data."""
    exp = root / "exp_1"
    data = root / "data"
    for number, (name, llrs) in enumerate(LLRS.items()):
        _write_set(exp, data, name, llrs, seed=number)
    rows = ["epoch,step,lr,train_loss,dev_loss,dev_eer"]
    rows += ["1,10,0.01,0.7,0.6,0.4", "2,20,0.001,0.5,0.5,0.2", "3,30,0.0001,0.4,0.55,0.3"]
    write_lines(exp / "metrics.csv", rows)
    write_text(exp / "config.yaml", CONFIG)
    write_json(exp / "env.json", {"seed": 1})
    return exp, data


def _write_set(exp: Path, data: Path, name: str, llrs: dict, seed: int) -> None:
    folder = data / name
    folder.mkdir(parents=True)
    keys = keys_of(name)
    num_bonafide = len(llrs["bonafide"])
    labels = ["bonafide"] * num_bonafide + ["spoof"] * len(llrs["spoof"])
    scores = [*llrs["bonafide"], *llrs["spoof"]]
    score_file = exp / "posteriors" / name / "llr.txt"
    write_scores(score_file, keys, scores)
    write_sidecar(score_file, Sidecar())
    rows = [f"{key}\t{label}" for key, label in zip(keys, labels)]
    write_lines(folder / "cm_key_file.txt", ["filename\tcm-label", *rows])
    speakers = {}
    attacks = {}
    languages = ["filename\tlanguage\tcodec"]
    wavs = {}
    time_T = np.arange(RATE // 2) / RATE
    for number, (key, label) in enumerate(zip(keys, labels)):
        speakers[key] = f"spk{number % 2}"
        attacks[key] = "-" if label == "bonafide" else f"A{1 + number % 2}"
        # The last spoof is of a language without bona fide speech.
        language = "xx" if number == len(keys) - 1 else ("de", "en")[number % 2]
        languages.append(f"{key}\t{language}\tnone")
        path = folder / f"{number}.wav"
        sf.write(path, 0.3 * np.sin(2 * np.pi * (500 + 250 * number) * time_T), RATE)
        wavs[key] = str(path)
    write_table(folder / "utt2spk", speakers)
    write_table(folder / "utt2attack", attacks)
    write_table(folder / "utt2dur", dict.fromkeys(keys, "0.5"))
    write_table(folder / "wav.scp", wavs)
    write_table(folder / "spk2gender", {"spk0": "f", "spk1": "m"})
    write_lines(folder / "meta.tsv", languages)
    rng = np.random.default_rng(seed)
    embeddings = 0.1 * rng.standard_normal((len(keys), 4)).astype(np.float32)
    embeddings[:, 1] += np.array(scores, dtype=np.float32)
    ark = exp / "embeddings" / name / "embedding.ark"
    write_archive(ark, zip(keys, embeddings))
    write_sidecar(ark, Sidecar())
    evaluate(
        cm=str(score_file),
        cm_key=str(folder / "cm_key_file.txt"),
        meta=str(folder / "utt2attack"),
        by="attack",
        bootstrap=20,
        json=str(exp / f"results_{name}.json"),
    )
