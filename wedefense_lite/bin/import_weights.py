"""Experiment folders of weights that were trained with the official code of a system."""

from wedefense_lite import cli

import logging
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypedDict, Unpack

from jsonargparse.typing import PositiveFloat
from torch import Tensor, nn

from wedefense_lite.files import InputError, abbreviate, check_writable, write_json, write_text
from wedefense_lite.interop.official import (
    check_rawnet2,
    form_of,
    importers,
    official_names,
    ready_classifier,
    rename_weights,
    without_classifier,
)
from wedefense_lite.interop.reading import read_checkpoint
from wedefense_lite.labels import LABELS
from wedefense_lite.provenance import environment
from wedefense_lite.scoring.bundle import weights_hash
from wedefense_lite.systems import checkpoint
from wedefense_lite.systems.experiment import load_experiment
from wedefense_lite.training.exp_dir import epoch_models
from wedefense_lite.weights import check_kinds

# A parameter can't have the name "from", which is a keyword of Python; a key can.
Origin = Literal[*importers()]
Source = TypedDict("Source", {"from": Origin})


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
    exp/X/models/best_model.pt``. Every weight is used, or named as unused in the log and in
    env.json.

    Args:
        weights: checkpoint as the official code saved it, ``.safetensors`` too; for transformers, a
            folder or a name on the hub. Only weights are loaded; a whole pickled module is refused.
        config: YAML of the system, such as conf/aasist.yaml. For a classifier of transformers,
            conf/wavlm_classifier.yaml fits all; its architecture, normalization and layers replace
            those of the YAML.
        exp_dir: folder to write to, without a training in it.
        seen: utterances ``[spoof, bona fide]`` of the training, each times its weight in the loss,
            in any unit. Where the official training is ASVspoof 2019 LA, that is the default. A
            head without a posterior needs none.
        bonafide_label: bona fide label of a classifier of transformers, if its name is not one like
            real or genuine.
        from: system whose names the weights have; the README has a table. rawnet2 is the baseline
            of ASVspoof 2021, rawnet2_asvspoof5 that of ASVspoof 5, whose weights have the same
            names and shapes, rawnet2_2019 eurecom-asp/rawnet2-antispoofing, transformers an audio
            classifier of wav2vec 2.0, HuBERT or WavLM. Models of wespeaker for speakers are
            starting points: their head begins anew.
    """
    out = Path(exp_dir)
    origin = source["from"]
    if seen is not None and not all(map(math.isfinite, seen)):
        raise InputError(f"--seen is {list(seen)}, expected two finite numbers")
    if bonafide_label is not None and origin != "transformers":
        raise InputError("--bonafide_label goes with --from transformers")
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
        names = dict(zip(official, official))
        unused = []
    else:
        state_dict = read_checkpoint(weights)
        origin = form_of(origin, state_dict)
        if origin.startswith("rawnet2"):
            check_rawnet2(origin, state_dict, weights)
        experiment = load_experiment(config)
        used = without_classifier(origin, state_dict)
        names = cli.checked_option(weights, official_names, origin, used)
        official = cli.checked_option(weights, rename_weights, origin, used)
        for name in _superfluous(origin, experiment.system, official):
            del official[name], names[name]
        unused = sorted(state_dict.keys() - set(names.values()))
        official |= _training_weights(origin, experiment.system, official)
        if seen is None:
            seen = _default_counts(origin, experiment.system.head.has_posterior)
        if len(used) < len(state_dict):
            official |= _initial_head(experiment.system)
            logging.warning(
                "%s: its classifier is left out, and the head begins anew: train it before use",
                weights,
            )
    _check_shapes(official, names, experiment.system.state_dict(), weights, config)
    if unused:
        logging.info("%s: %d unused weights: %s", weights, len(unused), ", ".join(unused))
    class_prior = [count / sum(seen) for count in seen]
    state = {
        "model": official,
        "labels": list(LABELS),
        "class_prior": class_prior,
        "epoch": 0,
        "config_hash": experiment.config_hash,
    }
    env = environment(experiment.training.seed, experiment.config_hash, class_prior)
    env |= {"weights": weights, "weights_hash": weights_hash(official), "unused_weights": unused}
    write_text(out / "config.yaml", experiment.text)
    write_json(out / "env.json", env)
    checkpoint.save(out / "models/best_model.pt", state)


def _default_counts(origin: str, has_posterior: bool) -> tuple[float, float]:
    """What the loss of an official training saw, ``[spoof, bonafide]``.

    Raises:
        InputError: it isn't known, and the head has a posterior.
    """
    trained_on = importers()[origin].trained_on
    if trained_on is None and not has_posterior:
        # Nothing is divided out of scores that are no posteriors.
        return (1, 1)
    return cli.needed("--seen", trained_on)


def _superfluous(origin: str, system: nn.Module, official: Mapping[str, Tensor]) -> list[str]:
    """Names of optional weights that a system has none for."""
    pattern = importers()[origin].optional
    if pattern is None:
        return []
    names = system.state_dict().keys()
    return [name for name in official if name not in names and re.search(pattern, name)]


def _training_weights(
    origin: str, system: nn.Module, official: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Initial weights of parts that only training uses and that ``official`` lacks."""
    pattern = importers()[origin].training_only
    weights = {}
    for name, value in system.state_dict().items():
        if pattern is not None and name not in official and re.search(pattern, name):
            weights[name] = value
    if weights:
        logging.info("begin anew, for training alone: %s", ", ".join(weights))
    return weights


def _initial_head(system: nn.Module) -> dict[str, Tensor]:
    """Initial weights of the head, under their names in the system."""
    return {name: value for name, value in system.state_dict().items() if name.startswith("head.")}


def _check_shapes(
    official: Mapping[str, Tensor],
    official_names: Mapping[str, str],
    expected: Mapping[str, Tensor],
    weights: str,
    config: str,
) -> None:
    """Refuse weights with other names or shapes than the system of the configuration has.

    Weights that are not finite, or of another type, are refused too.

    Args:
        official: weights by the names that they have here.
        official_names: names that they have in the file, by those here.
        expected: state dict of the system.
        weights: file of the weights, for messages.
        config: file of the system, for messages.
    """
    check_kinds(weights, official, expected)
    differences = []
    for name in sorted(official.keys() | expected.keys()):
        shape = list(official[name].shape) if name in official else "missing"
        expected_shape = list(expected[name].shape) if name in expected else "none"
        if shape != expected_shape:
            difference = f"{name} is {shape}, expected {expected_shape}"
            official_name = official_names.get(name, name)
            if official_name != name:
                difference += f" ({official_name} in the file)"
            differences.append(difference)
        elif not official[name].isfinite().all():
            differences.append(f"{name} has values that are not finite")
    if differences:
        raise InputError(
            f"{weights}: {len(differences)} names do not fit {config}: {abbreviate(differences)}"
        )


if __name__ == "__main__":
    cli.run(import_weights, from_hub=True, builds_systems=True)
