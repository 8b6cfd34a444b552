"""An experiment folder around weights that were trained with the official code of a system."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypedDict, Unpack

import torch
from jsonargparse.typing import PositiveFloat

from wedefense_lite import cli
from wedefense_lite.files import InputError, abbreviate, write_json, write_text
from wedefense_lite.interop.official import ready_classifier, renamed
from wedefense_lite.labels import LABELS
from wedefense_lite.provenance import environment
from wedefense_lite.scoring.bundle import weights_hash
from wedefense_lite.systems import checkpoint
from wedefense_lite.systems.experiment import load_experiment
from wedefense_lite.training.exp_dir import epoch_models

# So named because no parameter can be called "from".
Source = TypedDict("Source", {"from": Literal["aasist", "rawnet2", "transformers"]})
# ASVspoof 2019 LA train, 22,800 spoofed and 2,580 bona fide utterances, under the weights 0.1 and 0.9.
LA_2019 = (22800 * 0.1, 2580 * 0.9)


def import_weights(
    weights: str,
    config: str,
    exp_dir: str,
    seen: tuple[PositiveFloat, PositiveFloat] | None = None,
    bonafide_label: str | None = None,
    **source: Unpack[Source],
) -> None:
    """Make an experiment folder of weights from elsewhere, which stages 4 to 8 take as if trained here.

    Writes config.yaml, env.json and models/best_model.pt, so stage 4 averages with ``--num_avg 0``. From both,
    ``train.py --config exp/X/config.yaml --checkpoint exp/X/models/best_model.pt`` trains on in a new folder.

    Args:
        weights: state dict as the official code saved it; of transformers, a folder or a name on the hub.
        config: YAML of the system, such as conf/aasist.yaml. The architecture, normalization and layers of a
            classifier of transformers go before what it says: conf/wavlm_classifier.yaml suits all.
        exp_dir: folder to write to, in which no training may have been.
        seen: utterances ``[spoof, bona fide]`` of the training, each times its weight in the loss, in
            any unit; by default, not for transformers, those of ASVspoof 2019 LA with the weights of both
            official recipes.
        bonafide_label: of transformers, the label that is bona fide, where names like real and fake don't tell.
        from: aasist for AASIST and AASIST-L (clovaai/aasist), rawnet2 for the baseline of
            ASVspoof 2021, transformers for an audio classifier of wav2vec 2.0, HuBERT or WavLM.
    """
    out, kind, options = Path(exp_dir), source["from"], {}
    if (out / "models/last.pt").exists() or epoch_models(out / "models"):
        raise InputError(f"{exp_dir}: a training is there, expected a new folder")
    if kind == "transformers":
        seen = cli.needed("--seen", seen)
        found, options, rate = ready_classifier(weights, bonafide_label)
    else:
        found, seen = renamed(kind, _state(weights)), seen or LA_2019
    experiment = load_experiment(config, options)
    if kind == "transformers" and rate != experiment.data.sample_rate:
        raise InputError(
            f"{weights}: made for {rate} Hz, but {config} has {experiment.data.sample_rate} Hz"
        )
    expected = experiment.system.state_dict()
    shapes = [
        {name: list(value.shape) for name, value in state.items()} for state in (found, expected)
    ]
    if differ := [
        f"{name} is {shapes[0].get(name, 'missing')}, expected {shapes[1].get(name, 'none')}"
        for name in sorted(found.keys() | expected.keys())
        if shapes[0].get(name) != shapes[1].get(name)
    ]:
        raise InputError(
            f"{weights}: {len(differ)} names do not fit {config}: {abbreviate(differ)}"
        )
    class_prior = [count / sum(seen) for count in seen]
    state = {"model": found, "labels": list(LABELS), "class_prior": class_prior}
    state |= {"epoch": 0, "config_hash": experiment.config_hash}
    env = environment(experiment.training.seed, experiment.config_hash, class_prior)
    write_text(out / "config.yaml", experiment.text)
    write_json(out / "env.json", env | {"weights": weights, "weights_hash": weights_hash(found)})
    checkpoint.save(out / "models/best_model.pt", state)


def _state(path: str) -> Mapping[str, torch.Tensor]:
    state = checkpoint.load(path)
    if not (
        isinstance(state, Mapping)
        and all(isinstance(value, torch.Tensor) for value in state.values())
    ):
        raise InputError(f"{path}: not a state dict, expected names and tensors")
    return state


if __name__ == "__main__":
    cli.run(import_weights, from_hub=True)
