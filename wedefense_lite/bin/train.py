"""Stage 3: train a system. Run it under ``torchrun``, or alone for one process."""

import inspect
import logging
import re
import sys
from pathlib import Path
from typing import Literal

from wedefense_lite import cli
from wedefense_lite.audio.index import read_index
from wedefense_lite.audio.tracks import with_segments
from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.augment.base import prepare
from wedefense_lite.files import InputError, read_labels, write_json, write_text
from wedefense_lite.mixtures.stems import with_talkers
from wedefense_lite.provenance import environment
from wedefense_lite.runtime import Process, barrier, end_process, start_process
from wedefense_lite.scoring.loader import EvalLoader
from wedefense_lite.systems.checkpoint import load_part, load_weights
from wedefense_lite.systems.experiment import Experiment, add_sections, build
from wedefense_lite.systems.tasks import Task
from wedefense_lite.training.exp_dir import continues, data_hashes, remove_training
from wedefense_lite.training.loader import TrainLoader
from wedefense_lite.training.trainer import Trainer

# Short names that users of this field's tutorials type.
TRAINING = "num_epochs num_avg save_epoch_interval early_stop_patience validate_interval precision seed".split()
SHORT_NAMES = {name: f"training.{name}" for name in TRAINING} | {
    name: f"data.{name}" for name in ("batch_size", "num_workers")
}


def train(
    experiment: Experiment,
    exp_dir: Path,
    train_data: str,
    train_label: str,
    val_data: str | None = None,
    val_label: str | None = None,
    train_segments: str | None = None,
    val_segments: str | None = None,
    train_stems: str | None = None,
    val_stems: str | None = None,
    data_type: Literal["shard", "raw"] = "shard",
    gpus: str | None = None,
    checkpoint: str | None = None,
    separator: str | None = None,
    noise_data: str | None = None,
    reverb_data: str | None = None,
    overwrite: bool = False,
) -> None:
    """Train a system on one or more processes; continue where ``exp_dir`` left off.

    Args:
        experiment: what a configuration built.
        exp_dir: receives config.yaml, env.json, metrics.csv, train.log, tensorboard/ and models/; one that holds the
            models of another training is refused.
        train_data: list made in stage 2.
        train_label: utt2lab of the training set.
        val_data: list of the dev set, which selects the best model.
        val_label: utt2lab of the dev set.
        train_segments: RTTM of the training set, which localization needs.
        val_segments: RTTM of the dev set, which localization needs to validate.
        train_stems: list of the stems of the training mixtures, which tasks on mixtures need.
        val_stems: list of the stems of the dev mixtures, which these need to validate.
        data_type: kind of both lists.
        gpus: devices, as ``0,1`` or ``[0,1]``; accepted and unused without a GPU.
        checkpoint: start from the weights of this model; ``last.pt`` goes before it.
        separator: start from the separator of this model, which was trained by the task Separation.
        noise_data: wav.scp of noise, music and speech, for augmentation with AdditiveNoise.
        reverb_data: wav.scp of room impulse responses, for augmentation with Reverberation.
        overwrite: remove what another training wrote to ``exp_dir`` first: models, metrics, log, curves. A training
            that ``last.pt`` continues is continued.
    """
    if (val_data is None) != (val_label is None) or (val_segments or val_stems) and not val_data:
        raise InputError("--val_data, --val_label and --val_segments or --val_stems go together")
    prepare(experiment.data.augment, noise_data=noise_data, reverb_data=reverb_data)
    _check_what_is_kept(experiment, val_data)
    process, data = start_process(gpus), experiment.data
    train_index = _labelled(
        experiment, train_data, data_type, train_label, train_segments, train_stems
    )
    train_loader = TrainLoader(
        train_index, data, experiment.training.seed, process.rank, process.world
    )
    dev_loader = None
    if val_data is not None:
        dev_index = _labelled(experiment, val_data, data_type, val_label, val_segments, val_stems)
        dev_loader = EvalLoader(
            dev_index, data, process.rank, process.world, num_workers=data.num_workers
        )
    resume = continues(
        exp_dir, experiment, data_hashes(train_loader.index, data.augment), process, overwrite
    )
    removes = overwrite and not resume
    if removes:
        _keep_apart(exp_dir, checkpoint=checkpoint, separator=separator)
    _begin_with(experiment.system, resume, checkpoint, separator)
    trainer = Trainer(experiment, process, exp_dir, train_loader, dev_loader, resume)
    if removes:  # not before all that may refuse has been built
        if process.is_main:
            remove_training(exp_dir)
        barrier(process)
    _fit(experiment, process, exp_dir, trainer)
    del trainer  # it holds what leave() must be the last to see
    end_process()


def _keep_apart(exp_dir: Path, **options: str | None) -> None:
    """Refuse to remove the weights that a training is to start from, which a second start would look for."""
    for option, path in options.items():
        if path is not None and (exp_dir / "models").resolve() in Path(path).resolve().parents:
            raise InputError(
                f"--{option} {path} is in the --exp_dir that --overwrite clears: take another --exp_dir"
            )


def _check_what_is_kept(experiment: Experiment, val_data: str | None) -> None:
    """Refuse a training that would leave no model but ``last.pt``, which later stages don't take."""
    training = experiment.training
    if val_data is None and training.num_avg <= 0 and training.save_epoch_interval == 0:
        kept = f"--num_avg {training.num_avg} keeps the best model alone"
        raise InputError(f"{kept}, which takes a dev set: give --val_data, or --num_avg 1")


def _fit(experiment: Experiment, process: Process, exp_dir: Path, trainer: Trainer) -> None:
    todo = not trainer.finished
    if not process.is_main:
        trainer.fit()
        return
    _log_to(exp_dir)
    if todo:
        write_text(exp_dir / "config.yaml", experiment.text)
        seed, config_hash = experiment.training.seed, experiment.config_hash
        env = environment(seed, config_hash, trainer.class_prior, process.gpu_name, process.world)
        write_json(exp_dir / "env.json", env)
    trainer.fit(_tensorboard(exp_dir))


def _begin_with(system: Task, resume: bool, checkpoint: str | None, separator: str | None) -> None:
    if checkpoint is not None:
        load_weights(checkpoint, system)
    elif not resume:
        system.load_pretrained()
    if separator is not None:
        load_part(separator, system, "separator")
    elif checkpoint is None and not getattr(system, "joint", True):
        raise InputError(
            "the separator is frozen, and has no weights: --separator or --checkpoint is needed"
        )


def _labelled(
    experiment: Experiment,
    listed: str,
    data_type: str,
    utt2lab: str,
    rttm: str | None,
    stems: str | None,
) -> list[Utterance]:
    """The index of a list with what the task needs to know of its utterances."""
    task = experiment.system
    for what, given, taken, by in (
        ("segments", rttm, task.frame_samples is not None, "localization"),
        ("stems", stems, task.num_talkers > 0, "a task on mixtures"),
    ):
        if (given is not None) != taken:
            found = f"{what} of {listed} are {given or 'not given'} (--train_{what}, --val_{what})"
            raise InputError(f"{found}: {by} needs them, nothing else takes them")
    index = read_index(listed, data_type, read_labels(utt2lab))
    if stems:
        return with_talkers(index, read_index(stems, data_type), stems, task.takes_stems)
    return with_segments(index, rttm, experiment.data.sample_rate) if rttm else index


def _log_to(exp_dir: Path) -> None:
    exp_dir.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(exp_dir / "train.log")
    handler.setFormatter(logging.Formatter(cli.LOG_FORMAT))
    logging.getLogger().addHandler(handler)
    logging.info("command: %s", " ".join(sys.argv))


def _tensorboard(exp_dir: Path):
    """A function that logs a row of ``metrics.csv`` and adds it to TensorBoard's curves."""
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(exp_dir / "tensorboard")

    def on_epoch(row: dict) -> None:
        logging.info("%s", ", ".join(f"{name} {value:.6g}" for name, value in row.items()))
        for name, value in row.items():
            writer.add_scalar(name, value, row["epoch"])
        writer.flush()

    return on_epoch


def _parser() -> cli.Parser:
    names = "\n".join(f"  --{short} for --{full}" for short, full in SHORT_NAMES.items())
    parser = cli.Parser(description=f"{__doc__}\n\nShort names:\n{names}")
    parser.add_argument("--config", action="config", help="YAML of a system, as in conf/")
    add_sections(parser)
    parser.add_function_arguments(train, skip={"experiment"}, as_positional=False)
    cli.add_offline(parser)
    return parser


def _full_names(words: list[str]) -> list[str]:
    """Options with short names replaced by the keys of the configuration."""
    short = re.compile(rf"--({'|'.join(SHORT_NAMES)})(?==|$)")
    return [short.sub(lambda match: f"--{SHORT_NAMES[match[1]]}", word) for word in words]


def main() -> None:
    """Read the command line and train."""
    parser = _parser()
    with cli.one_line_errors(parser.prog):
        arguments = parser.parse_args(_full_names(sys.argv[1:]))
        options = set(inspect.signature(train).parameters) - {"experiment"}
        train(build(arguments), **{name: arguments[name] for name in options})


if __name__ == "__main__":
    main()
