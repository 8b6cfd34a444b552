"""Experiment folders of weights that were trained with the official code of a system."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypedDict, Unpack

import torch
from jsonargparse.typing import PositiveFloat

from wedefense_lite import cli
from wedefense_lite.files import InputError, abbreviate, check_writable, write_json, write_text
from wedefense_lite.interop.official import check_rawnet2, ready_classifier, rename_weights
from wedefense_lite.labels import LABELS
from wedefense_lite.provenance import environment
from wedefense_lite.scoring.bundle import weights_hash
from wedefense_lite.systems import checkpoint
from wedefense_lite.systems.experiment import load_experiment
from wedefense_lite.training.exp_dir import epoch_models

# A parameter can't have the name "from", which is a keyword of Python; a key can.
Origin = Literal["aasist", "rawnet2", "rawnet2_asvspoof5", "rawnet2_2019", "transformers"]
Source = TypedDict("Source", {"from": Origin})
# ASVspoof 2019 LA train, 22,800 spoofed and 2,580 bona fide utterances, under the weights 0.1 and
# 0.9.
LA_2019 = (22800 * 0.1, 2580 * 0.9)
TRAINED_ON_LA_2019 = ("aasist", "rawnet2", "rawnet2_2019")


def import_weights(
    weights: str,
    config: str,
    exp_dir: str,
    seen: tuple[PositiveFloat, PositiveFloat] | None = None,
    bonafide_label: str | None = None,
    **source: Unpack[Source],
) -> None:
    """Make an experiment folder of published weights, which stages 4 to 8 take as if trained here.

    Writes config.yaml, env.json and models/best_model.pt, so stage 4 takes ``--num_avg 0``. To
    train further in a new folder: ``train.py --config exp/X/config.yaml --checkpoint
    exp/X/models/best_model.pt``.

    Args:
        weights: state dict as the official code saved it; for transformers, a folder or a name on
            the hub.
        config: YAML of the system, such as conf/aasist.yaml. For a classifier of transformers,
            conf/wavlm_classifier.yaml fits all; its architecture, normalization and layers replace
            those of the YAML.
        exp_dir: folder to write to, without a training in it.
        seen: utterances ``[spoof, bona fide]`` of the training, each times its weight in the loss,
            in any unit. The default, not for transformers and rawnet2_asvspoof5, is ASVspoof 2019
            LA with the weights of the official recipes.
        bonafide_label: bona fide label of a classifier of transformers, if its name is not one like
            real or genuine.
        from: aasist for AASIST and AASIST-L (clovaai/aasist), rawnet2 for the baseline of
            ASVspoof 2021, rawnet2_asvspoof5 for that of ASVspoof 5, whose weights have the same
            names and shapes, rawnet2_2019 for eurecom-asp/rawnet2-antispoofing, transformers for an
            audio classifier of wav2vec 2.0, HuBERT or WavLM.
    """
    out = Path(exp_dir)
    origin = source["from"]
    check_writable(out / "config.yaml", out / "env.json", out / "models/best_model.pt")
    if (out / "models/last.pt").exists() or epoch_models(out / "models"):
        raise InputError(f"{exp_dir}: a training is there, expected a new folder")
    if origin == "transformers":
        seen = cli.needed("--seen", seen)
        classifier = ready_classifier(weights, bonafide_label)
        official = classifier.state
        experiment = load_experiment(config, classifier.options)
        if classifier.sample_rate != experiment.data.sample_rate:
            raise InputError(
                f"{weights}: made for {classifier.sample_rate} Hz, "
                f"but {config} has {experiment.data.sample_rate} Hz"
            )
    else:
        if origin in TRAINED_ON_LA_2019:
            seen = seen or LA_2019
        seen = cli.needed("--seen", seen)
        state_dict = _read_state(weights)
        if origin.startswith("rawnet2"):
            check_rawnet2(origin, state_dict, weights)
        official = rename_weights(origin, state_dict)
        experiment = load_experiment(config)
    _check_shapes(official, experiment.system.state_dict(), weights, config)
    class_prior = [count / sum(seen) for count in seen]
    state = {
        "model": official,
        "labels": list(LABELS),
        "class_prior": class_prior,
        "epoch": 0,
        "config_hash": experiment.config_hash,
    }
    env = environment(experiment.training.seed, experiment.config_hash, class_prior)
    env |= {"weights": weights, "weights_hash": weights_hash(official)}
    write_text(out / "config.yaml", experiment.text)
    write_json(out / "env.json", env)
    checkpoint.save(out / "models/best_model.pt", state)


def _read_state(path: str) -> Mapping[str, torch.Tensor]:
    state = checkpoint.load(path)
    is_state = isinstance(state, Mapping)
    if not is_state or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise InputError(f"{path}: not a state dict, expected names and tensors")
    return state


def _check_shapes(
    official: Mapping[str, torch.Tensor],
    expected: Mapping[str, torch.Tensor],
    weights: str,
    config: str,
) -> None:
    """Refuse weights with other names or shapes than the system of the configuration has.

    Weights that are not finite are refused too.
    """
    differences = []
    for name in sorted(official.keys() | expected.keys()):
        shape = list(official[name].shape) if name in official else "missing"
        expected_shape = list(expected[name].shape) if name in expected else "none"
        if shape != expected_shape:
            differences.append(f"{name} is {shape}, expected {expected_shape}")
        elif not official[name].isfinite().all():
            differences.append(f"{name} has values that are not finite")
    if differences:
        raise InputError(
            f"{weights}: {len(differences)} names do not fit {config}: {abbreviate(differences)}"
        )


if __name__ == "__main__":
    cli.run(import_weights, from_hub=True, builds_systems=True)
