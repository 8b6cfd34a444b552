"""A trained system as one folder, to be handed on: weights, configuration, thresholds and a card."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jinja2 import StrictUndefined, Template
from jsonargparse.typing import OpenUnitInterval
from torch import Tensor

from wedefense_lite import cli, report
from wedefense_lite.files import (
    InputError,
    atomic_path,
    read_json,
    read_labels,
    read_text,
    write_json,
    write_text,
)
from wedefense_lite.labels import LABELS
from wedefense_lite.metrics.detection import SortedScores
from wedefense_lite.provenance import file_hash
from wedefense_lite.scoring.archives import read_archive
from wedefense_lite.scoring.bundle import CONFIG, FACTS, WEIGHTS, BundleFacts, packed, weights_hash
from wedefense_lite.scoring.scores import align, by_class
from wedefense_lite.scoring.sidecar import Sidecar, check_sidecar, read_sidecar
from wedefense_lite.systems import checkpoint
from wedefense_lite.systems.experiment import load_experiment
from wedefense_lite.systems.tasks import Detection, Task

CARD = Path(report.__file__).with_name("card.md")


def export_bundle(
    exp_dir: str,
    out_dir: str,
    dev_label: str,
    licence: str,
    training_data: str,
    dev_set: str = "dev",
    model_path: str | None = None,
    calibration: str | None = None,
    far: OpenUnitInterval | None = None,
    decide_on: Literal["llr", "bonafide_logit"] = "llr",
    reference_encoder: bool = False,
) -> None:
    """Write config.yaml, model.safetensors, bundle.json and a card, README.md, for ``wedefense_lite.load``.

    Args:
        exp_dir: experiment after stage 7.
        out_dir: folder to write to.
        dev_label: ``utt2lab`` of the dev set, whose logits of stage 5 give the thresholds.
        licence: of the weights, for the card, such as apache-2.0.
        training_data: what the system was trained on, for the card.
        dev_set: name of the dev set in the experiment.
        model_path: checkpoint that was scored; unless given, models/avg_model.pt.
        calibration: calibration.json of stage 6 that scores are to have, such as that of
            posteriors/eval_calibrated; unless given, that of the dev set, which recipes leave as it is.
        far: target false-acceptance rate on the dev set; its threshold is then the default, not that of the EER.
        decide_on: what thresholds are on; some published ones are on the logit of bona fide alone.
        reference_encoder: leave out what the front end has by its name, bit for bit: a frozen encoder.
    """
    exp, out, model = Path(exp_dir), Path(out_dir), model_path or f"{exp_dir}/models/avg_model.pt"
    experiment = load_experiment(exp / CONFIG)
    if type(experiment.system) is not Detection:
        name = type(experiment.system).__name__
        raise InputError(
            f"{exp / CONFIG}: its task is {name}, expected Detection, which decides for whole utterances"
        )
    weights, encoder = _weights(experiment.system, model, reference_encoder)
    logits, same = (
        exp / f"posteriors/{dev_set}/logits.scp",
        (file_hash(model), experiment.config_hash),
    )
    facts = _facts(
        logits, Path(calibration or logits.with_name("calibration.json")), same, decide_on
    )
    thresholds, sets = _thresholds(facts, logits, dev_label, far), {}
    for path in sorted(exp.glob("results_*.json")):
        name = path.stem.removeprefix("results_")
        _checked(exp / f"posteriors/{name}/llr.txt", same)
        sets[name] = read_json(path)
    with atomic_path(out / WEIGHTS) as path:
        path.write_bytes(packed(weights))
    write_text(out / CONFIG, experiment.text)
    values = {name: row[0] for name, row in thresholds.items()}
    hashes = {name: file_hash(out / name) for name in (CONFIG, WEIGHTS)}
    default, referenced = [*values.values()][-1], weights_hash(encoder) if encoder else ""
    facts = replace(
        facts, thresholds=values, threshold=default, hashes=hashes, referenced=referenced
    )
    card = Template(
        read_text(CARD), undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    about = {
        "name": out.resolve().name,
        "licence": licence,
        "training_data": training_data,
        "dev_set": dev_set,
    }
    about |= {"experiment": experiment, "facts": facts, "sets": sets, "thresholds": thresholds}
    write_text(out / "README.md", card.render(about))
    write_json(out / FACTS, asdict(facts))


def _weights(
    task: Task, model: str, reference: bool
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weights for the bundle, and those that are left out because the front end has them by its name."""
    if reference:
        task.frontend.load_pretrained()
    named = {
        name: value.clone()
        for name, value in task.frontend.state_dict(prefix="frontend.").items()
        if reference
    }
    checkpoint.load_weights(model, task)
    weights = task.state_dict()
    encoder = {
        name: weights.pop(name)
        for name, value in named.items()
        if torch.equal(value, weights[name])
    }
    sizes = [sum(value.numel() for value in part.values()) for part in (encoder, named)]
    if reference and 2 * sizes[0] <= sizes[1]:
        found = f"{sizes[0]} of {sizes[1]} numbers of its front end are those that come by name"
        raise InputError(f"{model}: {found}, expected more than half of them")
    return weights, encoder


def _checked(scores: Path, same: tuple[str, str]) -> Sidecar:
    """The sidecar of scores, if they are of the model and the configuration with these hashes."""
    sidecar = read_sidecar(scores)
    check_sidecar(scores, sidecar, model_hash=same[0], config_hash=same[1])
    return sidecar


def _facts(logits: Path, calibrated: Path, same: tuple[str, str], decide_on: str) -> BundleFacts:
    """How stage 6 made LLRs of logits."""
    _checked(calibrated.with_name("llr.txt"), same)
    stage_6, known = read_json(calibrated), asdict(_checked(logits, same))
    known |= {"model": Path(known["model"]).name, "class_prior": stage_6["training_prior"]}
    return BundleFacts(
        **known, scale=stage_6["scale"][0], offset=stage_6["offset"], decide_on=decide_on
    )


def _thresholds(
    facts: BundleFacts, logits: Path, dev_label: str, far: float | None
) -> dict[str, list[float]]:
    """Thresholds by name, the default last, each with the rates of misses and false acceptances on the set."""
    labels = read_labels(dev_label)
    scores = facts.evidence(np.stack(align(dict(read_archive(logits)), logits, labels, dev_label)))
    trials = by_class(np.array(list(labels.values())), scores, LABELS, dev_label)
    ordered = SortedScores(**trials)
    found = {"EER": ordered.eer().threshold}
    if far is not None:
        found[f"FAR {far:g}"] = float(
            ordered.curve.threshold[np.argmax(ordered.curve.false_alarm <= far)]
        )
    return {
        name: [x, (trials["bonafide"] <= x).mean(), (trials["spoof"] > x).mean()]
        for name, x in found.items()
    }


if __name__ == "__main__":
    cli.run(export_bundle, from_hub=True)
