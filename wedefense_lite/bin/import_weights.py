"""An experiment folder around weights that were trained with the official code of a system."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypedDict, Unpack

import torch
from jsonargparse.typing import PositiveFloat

from wedefense_lite import cli
from wedefense_lite.bin.train import environment
from wedefense_lite.dataset.audio import few
from wedefense_lite.files import InputError, write_json, write_text
from wedefense_lite.labels import LABELS
from wedefense_lite.models.official import renamed
from wedefense_lite.provenance import file_hash
from wedefense_lite.training import checkpoint
from wedefense_lite.training.config import load_experiment
from wedefense_lite.training.distributed import Place

# So named because no parameter can be called "from".
Source = TypedDict("Source", {"from": Literal["aasist", "rawnet2"]})
# ASVspoof 2019 LA train, 22,800 spoofed and 2,580 bona fide utterances, under the weights 0.1 and 0.9.
LA_2019 = (22800 * 0.1, 2580 * 0.9)


def import_weights(
    weights: str,
    config: str,
    exp_dir: str,
    seen: tuple[PositiveFloat, PositiveFloat] = LA_2019,
    **source: Unpack[Source],
) -> None:
    """Make an experiment folder of official weights, which stages 4 to 8 take as if trained here.

    Writes config.yaml, env.json and models/best_model.pt, so stage 4 averages with ``--num_avg 0``.

    Args:
        weights: state dict as the official code saved it.
        config: YAML of the system, such as conf/aasist.yaml.
        exp_dir: folder to write to.
        seen: utterances ``[spoof, bona fide]`` of the training, each times its weight in the loss, in
            any unit; by default those of ASVspoof 2019 LA with the weights of both official recipes.
        from: aasist for AASIST and AASIST-L (clovaai/aasist), rawnet2 for the baseline of
            ASVspoof 2021.
    """
    out, experiment = Path(exp_dir), load_experiment(config)
    if (out / "models/last.pt").exists():
        raise InputError(f"{exp_dir}: a training is there, expected a new folder")
    official = checkpoint.load(weights)
    if not (isinstance(official, Mapping) and all(isinstance(value, torch.Tensor) for value in official.values())):
        raise InputError(f"{weights}: not a state dict, expected names and tensors")
    found, expected = renamed(source["from"], official), experiment.system.state_dict()
    shapes = [{name: list(value.shape) for name, value in state.items()} for state in (found, expected)]
    if differ := [
        f"{name} is {shapes[0].get(name, 'missing')}, expected {shapes[1].get(name, 'none')}"
        for name in sorted(found.keys() | expected.keys())
        if shapes[0].get(name) != shapes[1].get(name)
    ]:
        raise InputError(f"{weights}: {len(differ)} names do not fit {config}: {few(differ)}")
    class_prior = [count / sum(seen) for count in seen]
    state = {"model": found, "labels": list(LABELS), "class_prior": class_prior}
    state |= {"epoch": 0, "config_hash": experiment.config_hash}
    env = environment(experiment, Place(torch.device("cpu"), rank=0, world=1), class_prior)
    write_text(out / "config.yaml", experiment.text)
    write_json(out / "env.json", env | {"weights": weights, "weights_hash": file_hash(weights)})
    checkpoint.save(out / "models/best_model.pt", state)


if __name__ == "__main__":
    cli.run(import_weights)
