"""A trained system as one folder, to be handed on: weights, configuration, thresholds and a
card.
"""

from wedefense_lite import cli, report

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from jinja2 import StrictUndefined, Template
from jsonargparse.typing import OpenUnitInterval
from torch import Tensor

from wedefense_lite.audio.index import read_index
from wedefense_lite.audio.reading import as_float, read
from wedefense_lite.audio.stream import Stream
from wedefense_lite.files import (
    InputError,
    atomic_path,
    check_writable,
    read_json,
    read_labels,
    read_text,
    write_json,
    write_text,
)
from wedefense_lite.labels import LABELS
from wedefense_lite.metrics.detection import SortedScores
from wedefense_lite.metrics.doubt import doubtful_range
from wedefense_lite.progress import progress
from wedefense_lite.provenance import file_hash
from wedefense_lite.scoring.bundle import (
    CONFIG,
    FACTS,
    WEIGHTS,
    check_is_detection,
    packed,
    weights_hash,
)
from wedefense_lite.scoring.experiment_facts import Origin, facts_of_stage_6, read_sidecar_of
from wedefense_lite.scoring.live import kept_llrs
from wedefense_lite.scoring.llr import read_logits
from wedefense_lite.scoring.scores import align, by_class
from wedefense_lite.scoring.traits import dev_ranges, measure_traits
from wedefense_lite.systems import checkpoint
from wedefense_lite.systems.config import DataConfig
from wedefense_lite.systems.experiment import load_experiment
from wedefense_lite.systems.tasks import Task

CARD = Path(report.__file__).with_name("card.md")
# Results of a set that the card shows.
CARD_RESULTS = ("n_bonafide", "n_spoof", "eer", "min_dcf", "act_dcf", "cllr")


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
    doubt_share: OpenUnitInterval = 0.25,
    dev_list: str | None = None,
    data_type: Literal["shard", "raw"] = "shard",
) -> None:
    """Write config.yaml, model.safetensors, bundle.json and a card, README.md, for
    ``wedefense_lite.load``.

    Args:
        exp_dir: experiment after stage 7.
        out_dir: folder to write to.
        dev_label: ``utt2lab`` of the dev set, whose logits of stage 5 give the thresholds.
        licence: of the weights, for the card, such as apache-2.0.
        training_data: what the system was trained on, for the card.
        dev_set: name of the dev set in the experiment.
        model_path: checkpoint that was scored; unless given, models/avg_model.pt.
        calibration: calibration.json of stage 6 that scores are to have, such as that of
            posteriors/eval_calibrated; unless given, that of the dev set, which recipes leave as it
            is.
        far: target false-acceptance rate on the dev set; its threshold is then the default, not
            that of the EER.
        decide_on: what thresholds are on; some published ones are on the logit of bona fide alone.
        reference_encoder: leave out what the front end has by its name, bit for bit: a frozen
            encoder.
        doubt_share: scores at which more than this share of decisions on the dev set would be
            wrong, both classes counted half, are no decisions but "don't know".
        dev_list: list of the dev set of stage 2, whose levels, bandwidths and lengths the bundle
            keeps, to say how a recording is unlike them; unless given, it can't say.
        data_type: kind of the list.
    """
    exp = Path(exp_dir)
    out = Path(out_dir)
    model = model_path or f"{exp_dir}/models/avg_model.pt"
    check_writable(out / CONFIG, out / WEIGHTS, out / "README.md", out / FACTS)
    experiment = load_experiment(exp / CONFIG)
    check_is_detection(experiment, exp / CONFIG)
    if reference_encoder and experiment.system.frontend.has_adapters:
        raise InputError(f"{exp / CONFIG}: adapters change the encoder that its name stands for")
    weights, encoder = _weights(experiment.system, model, reference_encoder)
    # Adapters become a part of the weights that they stand beside.
    merged = experiment.system.frontend.merge_adapters()
    bundled = experiment
    if merged:
        weights = experiment.system.state_dict()
        changes = {f"frontend.init_args.{name}": value for name, value in merged.items()}
        bundled = load_experiment(exp / CONFIG, changes)

    # From logits to LLRs and decisions, as stage 6 and the dev set have it.
    origin = Origin(file_hash(model), experiment.config_hash)
    logits = exp / f"posteriors/{dev_set}/logits.scp"
    calibration_path = Path(calibration or logits.with_name("calibration.json"))
    facts = facts_of_stage_6(logits, calibration_path, origin, decide_on)
    trials = _dev_trials(facts.evidence, logits, dev_label)
    llrs = _dev_trials(facts.llr, logits, dev_label)
    thresholds = _thresholds(trials, far)
    doubt = {}
    for name, row in thresholds.items():
        interval = doubtful_range(trials["bonafide"], trials["spoof"], row.value, doubt_share)
        if interval is not None:
            doubt[name] = interval
    ranges = {}
    if dev_list is not None:
        ranges = _ranges_of_list(dev_list, data_type, dev_label, experiment.data)

    # Results for the card, if they are of this model.
    results = {}
    for path in sorted(exp.glob("results_*.json")):
        name = path.stem.removeprefix("results_")
        read_sidecar_of(exp / f"posteriors/{name}/llr.txt", origin)
        results[name] = _read_results(path)

    with atomic_path(out / WEIGHTS) as path:
        path.write_bytes(packed(weights))
    write_text(out / CONFIG, bundled.text)
    values = {name: row.value for name, row in thresholds.items()}
    facts = replace(
        facts,
        thresholds=values,
        threshold=list(values.values())[-1],
        hashes={name: file_hash(out / name) for name in (CONFIG, WEIGHTS)},
        referenced=weights_hash(encoder) if encoder else "",
        doubt_share=doubt_share,
        doubt=doubt,
        dev_ranges=ranges,
        bonafide_llrs=kept_llrs(llrs["bonafide"]),
    )
    card = Template(
        read_text(CARD), undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    text = card.render(
        name=out.resolve().name,
        licence=licence,
        training_data=training_data,
        dev_set=dev_set,
        experiment=experiment,
        facts=facts,
        sets=results,
        thresholds=thresholds,
    )
    write_text(out / "README.md", text)
    # Last, because a folder without it is no bundle.
    write_json(out / FACTS, asdict(facts))


class Threshold(NamedTuple):
    """A threshold, and the error rates of dev trials at it."""

    value: float
    miss: float
    false_acceptance: float


def _weights(
    task: Task, model: str, reference: bool
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weights for the bundle, and weights that are left to the encoder, because they are equal.

    Raises:
        InputError: most weights of the encoder were changed, so that its name stands for little.
    """
    named = {}
    if reference:
        task.frontend.load_pretrained()
        for name, value in task.frontend.state_dict(prefix="frontend.").items():
            named[name] = value.clone()
    checkpoint.load_weights(model, task)
    weights = task.state_dict()
    encoder = {}
    for name, value in named.items():
        if torch.equal(value, weights[name]):
            encoder[name] = weights.pop(name)
    encoder_size = sum(value.numel() for value in encoder.values())
    named_size = sum(value.numel() for value in named.values())
    if reference and 2 * encoder_size <= named_size:
        raise InputError(
            f"{model}: {encoder_size} of {named_size} numbers of its front end are those that come "
            "by name, expected more than half of them"
        )
    return weights, encoder


def _read_results(path: Path) -> dict:
    """Results of stage 7, with all that the card shows of them."""
    results = read_json(path)
    for name in CARD_RESULTS:
        value = results.get(name) if isinstance(results, dict) else None
        if not isinstance(value, int | float):
            raise InputError(f"{path}: {name} is {value!r}, expected a number: run stage 7 again")
    return results


def _dev_trials(
    measure: Callable[[np.ndarray], np.ndarray], logits: Path, dev_label: str
) -> dict[str, np.ndarray]:
    """Scores of the trials of the dev set, by class; ``measure`` makes them of logits."""
    labels = read_labels(dev_label)
    rows = align(read_logits(logits, by_frame=False), logits, labels, dev_label)
    scores = measure(np.concatenate(rows))
    return by_class(np.array(list(labels.values())), scores, LABELS, dev_label)


def _ranges_of_list(
    dev_list: str, data_type: str, dev_label: str, data: DataConfig
) -> dict[str, tuple[float, float]]:
    """Ranges of the traits of the utterances of a list."""
    index = read_index(dev_list, data_type, read_labels(dev_label))
    if isinstance(index, Stream):
        raise InputError(f"{dev_list}: shards that are streamed, expected files")
    rows = []
    for utterance in progress(index, len(index), "levels, bandwidths and lengths"):
        wav_T = as_float(read(utterance, data.sample_rate, channel=data.channel))
        rows.append(measure_traits(wav_T, data.sample_rate))
    return dev_ranges(rows)


def _thresholds(trials: dict[str, np.ndarray], far: float | None) -> dict[str, Threshold]:
    """Thresholds by name, the default last.

    Args:
        trials: evidence by class.
        far: target false-acceptance rate.
    """
    detection = SortedScores(**trials)
    values = {"EER": detection.eer().threshold}
    if far is not None:
        # The first threshold from below at which no more than this share is accepted.
        is_low_enough = detection.curve.false_alarm <= far
        values[f"FAR {far:g}"] = float(detection.curve.threshold[np.argmax(is_low_enough)])
    thresholds = {}
    for name, value in values.items():
        miss, false_acceptance = detection.errors_at(value)
        thresholds[name] = Threshold(value, miss, false_acceptance)
    return thresholds


if __name__ == "__main__":
    cli.run(export_bundle, from_hub=True, builds_systems=True)
