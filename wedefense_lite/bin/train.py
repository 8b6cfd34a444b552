"""Stage 3: train a system, under ``torchrun`` or as a single process."""

from wedefense_lite import cli, interruption

import contextlib
import inspect
import logging
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from wedefense_lite.audio.corpora import with_corpora
from wedefense_lite.audio.index import read_index
from wedefense_lite.audio.tracks import with_segments
from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.augment.base import prepare
from wedefense_lite.files import (
    InputError,
    check_writable,
    folder_lock,
    read_labels,
    write_json,
    write_text,
)
from wedefense_lite.mixtures.stems import with_talkers
from wedefense_lite.provenance import environment
from wedefense_lite.runtime import (
    TRAINING_TIMEOUT,
    Parallel,
    Process,
    barrier,
    end_process,
    start_process,
)
from wedefense_lite.scoring.loader import EvalLoader
from wedefense_lite.systems.checkpoint import load_part, load_weights
from wedefense_lite.systems.experiment import Experiment, add_sections, build, checked_words
from wedefense_lite.systems.tasks import Task
from wedefense_lite.tracing.sources import with_sources
from wedefense_lite.training.exp_dir import continues, data_hashes, remove_training
from wedefense_lite.training.loader import TrainLoader
from wedefense_lite.training.trainer import Trainer
from wedefense_lite.training.validation import check_classes

# Short names that users of this field's tutorials type.
TRAINING_NAMES = (
    "num_epochs",
    "num_avg",
    "save_epoch_interval",
    "early_stop_patience",
    "validate_interval",
    "precision",
    "deterministic",
    "compile",
    "seed",
)
DATA_NAMES = ("batch_size", "num_workers")
SHORT_NAMES = {
    **{name: f"training.{name}" for name in TRAINING_NAMES},
    **{name: f"data.{name}" for name in DATA_NAMES},
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
    train_corpora: str | None = None,
    val_corpora: str | None = None,
    train_sources: str | None = None,
    val_sources: str | None = None,
    source_column: str = "attack",
    data_type: Literal["shard", "raw"] = "shard",
    gpus: str | None = None,
    checkpoint: str | None = None,
    separator: str | None = None,
    noise_data: str | None = None,
    reverb_data: str | None = None,
    overwrite: bool = False,
    parallel: Parallel = "ddp",
) -> None:
    """Train a system on one or more processes; continue the training of ``exp_dir``, if there is
    one.

    Args:
        experiment: system, data and training of a configuration.
        exp_dir: folder for config.yaml, env.json, metrics.csv, train.log, tensorboard/ and models/.
            A folder with the models of another training is refused, and one that another process
            trains in.
        train_data: list of stage 2.
        train_label: utt2lab of the training set.
        val_data: list of the dev set, which selects the best model.
        val_label: utt2lab of the dev set.
        train_segments: RTTM of the training set, for localization.
        val_segments: RTTM of the dev set, for localization.
        train_stems: list of the stems of the training mixtures, for tasks on mixtures.
        val_stems: list of the stems of the dev mixtures, for tasks on mixtures.
        train_corpora: utt2corpus of the training set, where it is of several corpora: for
            balance_corpora, corpus_weights and DomainAdversarial.
        val_corpora: utt2corpus of the dev set. The dev EER is then the mean of those of the
            corpora.
        train_sources: utt2attack or meta.tsv of the training set, for source tracing.
        val_sources: the same of the dev set.
        source_column: column of these tables that has the classes.
        data_type: kind of the lists.
        gpus: devices, as ``0,1`` or ``[0,1]``; without effect where there is no GPU.
        checkpoint: model whose weights the training starts from; a ``last.pt`` in exp_dir takes
            precedence.
        separator: model whose separator the training starts from, trained by the task Separation.
        noise_data: wav.scp of noise, music and speech, for the augmentation AdditiveNoise.
        reverb_data: wav.scp of room impulse responses, for the augmentation Reverberation.
        overwrite: remove the files of another training in exp_dir first: models, metrics, log,
            curves. A training that ``last.pt`` continues is continued.
        parallel: of several processes, ddp: each holds the whole system; fsdp: each holds a part of
            every weight, for systems that don't fit one GPU. Files are the same.
    """
    val_signals = val_segments or val_stems or val_corpora or val_sources
    if (val_data is None) != (val_label is None) or val_signals and not val_data:
        raise InputError(
            "--val_data, --val_label and --val_segments, --val_stems, --val_corpora or "
            "--val_sources go together"
        )
    data = experiment.data
    prepare(data.augment, noise_data=noise_data, reverb_data=reverb_data)
    _check_kept_models(experiment, val_data)
    check_writable(exp_dir / "config.yaml", exp_dir / "models/last.pt")
    process = start_process(gpus, TRAINING_TIMEOUT)

    # Lists, with what the task needs to know of each utterance.
    train_index = _read_index(
        experiment, train_data, data_type, train_label, train_segments, train_stems, train_corpora
    )
    _check_corpora(experiment.system, train_index, train_corpora)
    train_index = _with_sources(experiment.system, train_index, train_sources, source_column)
    train_loader = TrainLoader(
        train_index, data, experiment.training.seed, process.rank, process.world
    )
    # The loader has it in arrays; as objects it takes six times as much.
    del train_index
    dev_loader = None
    if val_data is not None:
        dev_index = _read_index(
            experiment, val_data, data_type, val_label, val_segments, val_stems, val_corpora
        )
        dev_index = _with_sources(
            experiment.system, dev_index, val_sources, source_column, trains=False
        )
        if experiment.system.head is not None and not experiment.system.classes:
            check_classes(dev_index)
        dev_loader = EvalLoader(
            dev_index, data, process.rank, process.world, num_workers=data.num_workers
        )

    # One run a folder.
    held = folder_lock(exp_dir, "training") if process.is_main else contextlib.nullcontext()
    with held:
        # The training of before in the folder: continued, refused or removed.
        hashes = data_hashes(train_loader.index, data.augment)
        resume = continues(exp_dir, experiment, hashes, process, overwrite)
        removes = overwrite and not resume
        if removes:
            _check_outside(exp_dir, checkpoint=checkpoint, separator=separator)

        # Initial weights.
        _load_initial_weights(experiment.system, resume, checkpoint, separator)
        trainer = Trainer(experiment, process, exp_dir, train_loader, dev_loader, resume, parallel)

        # Removed only now: all that may refuse has been built.
        if removes:
            if process.is_main:
                remove_training(exp_dir)
            barrier(process)

        _fit(experiment, process, exp_dir, trainer)
    # The wrapped model in it must not outlive the process group.
    del trainer
    end_process()


def _check_outside(exp_dir: Path, **options: str | None) -> None:
    """Refuse initial weights in the folder that ``--overwrite`` clears: a second start would miss
    them.
    """
    for option, path in options.items():
        if path is not None and (exp_dir / "models").resolve() in Path(path).resolve().parents:
            raise InputError(
                f"--{option} {path} is in the --exp_dir that --overwrite clears: "
                "take another --exp_dir"
            )


def _check_kept_models(experiment: Experiment, val_data: str | None) -> None:
    """Refuse a training that would leave no model but ``last.pt``, which later stages don't
    take.
    """
    training = experiment.training
    if val_data is None and training.num_avg <= 0 and training.save_epoch_interval == 0:
        raise InputError(
            f"--num_avg {training.num_avg} keeps the best model alone, which takes a dev set: "
            "give --val_data, or --num_avg 1"
        )


def _fit(experiment: Experiment, process: Process, exp_dir: Path, trainer: Trainer) -> None:
    """Train to the end; rank 0 writes configuration, environment, log and curves."""
    # All ranks ask together: rank 0 decides for them.
    was_finished = trainer.finished
    if not process.is_main:
        trainer.fit()
        return
    _log_to(exp_dir)
    if _is_due(exp_dir / "config.yaml", was_finished):
        write_text(exp_dir / "config.yaml", experiment.text)
    if _is_due(exp_dir / "env.json", was_finished):
        seed = experiment.training.seed
        config_hash = experiment.config_hash
        env = environment(seed, config_hash, trainer.class_prior, process.gpu_name, process.world)
        env["precision"] = trainer.precision
        env["deterministic"] = experiment.training.deterministic or process.gpu_name is None
        env["compiled"] = experiment.training.compile
        write_json(exp_dir / "env.json", env)
    trainer.fit(_epoch_logger(exp_dir))
    for name in ("config.yaml", "env.json", "metrics.csv"):
        if not (exp_dir / name).exists():
            raise InputError(f"{exp_dir / name} was removed while the training ran: train again")


def _is_due(path: Path, was_finished: bool) -> bool:
    """Whether a file that describes the training is to be written: by every command that trains,
    and where a finished training has lost it.
    """
    if not was_finished:
        return True
    if path.exists():
        return False
    logging.warning("%s was missing: made again", path)
    return True


def _load_initial_weights(
    system: Task, resume: bool, checkpoint: str | None, separator: str | None
) -> None:
    """Load the weights that a training starts from; a resumed one has them in ``last.pt``."""
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


def _read_index(
    experiment: Experiment,
    data_list: str,
    data_type: str,
    utt2lab: str,
    rttm: str | None,
    stem_list: str | None,
    utt2corpus: str | None,
) -> list[Utterance]:
    """Index of a list, with the segments or stems that the task needs, and with its corpora.

    Raises:
        InputError: segments or stems that the task needs are not given, or it doesn't take them.
    """
    task = experiment.system
    is_on_frames = task.frame_samples is not None
    is_on_mixtures = task.num_talkers > 0
    _check_signal("segments", data_list, rttm, is_on_frames, "localization")
    _check_signal("stems", data_list, stem_list, is_on_mixtures, "a task on mixtures")
    index = read_index(data_list, data_type, read_labels(utt2lab))
    if utt2corpus:
        index = with_corpora(index, utt2corpus)
    if stem_list:
        stems = read_index(stem_list, data_type)
        return with_talkers(index, stems, stem_list, task.takes_stems)
    if rttm:
        return with_segments(index, rttm, experiment.data.sample_rate)
    return index


def _check_corpora(task: Task, index: list[Utterance], utt2corpus: str | None) -> None:
    """Refuse a training list of other corpora than the task tells apart."""
    if not task.num_corpora:
        return
    count = 0
    if utt2corpus:
        count = len({row.corpus.number for row in index})
    if count != task.num_corpora:
        raise InputError(
            f"the system tells {task.num_corpora} corpora apart, the training list has {count} "
            "(--train_corpora): --system.init_args.num_corpora is their number"
        )


def _with_sources(
    task: Task, index: list[Utterance], path: str | None, column: str, trains: bool = True
) -> list[Utterance]:
    """Index with the classes of the sources, for source tracing."""
    if (path is not None) != bool(task.classes):
        raise InputError(
            f"--train_sources and --val_sources are {path or 'not given'}: source tracing needs "
            "them, nothing else takes them"
        )
    return with_sources(index, path, column, task.classes, trains) if path else index


def _check_signal(
    name: str, data_list: str, path: str | None, is_needed: bool, task_name: str
) -> None:
    if (path is not None) != is_needed:
        raise InputError(
            f"{name} of {data_list} are {path or 'not given'} (--train_{name}, --val_{name}): "
            f"{task_name} needs them, nothing else takes them"
        )


class LogFile(logging.FileHandler):
    """Log whose disk, when it is full, ends the training; others print a traceback and go on."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Raise the error that a record has met."""
        error = sys.exc_info()[1]
        raise InputError(f"{self.baseFilename}: can't be written: {error}") from error


def _log_to(exp_dir: Path) -> None:
    handler = LogFile(exp_dir / "train.log")
    handler.setFormatter(cli.PrintableFormatter())
    logging.getLogger().addHandler(handler)
    logging.info("command: %s", " ".join(sys.argv))


def _epoch_logger(exp_dir: Path) -> Callable[[dict], None]:
    """Function that logs a row of ``metrics.csv`` and adds it to the curves of TensorBoard."""
    # Slow to import, and of no use to other ranks.
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(exp_dir / "tensorboard")

    def log_epoch(row: dict) -> None:
        logging.info("%s", ", ".join(f"{name} {value:.6g}" for name, value in row.items()))
        for name, value in row.items():
            writer.add_scalar(name, value, row["epoch"])
        writer.flush()

    return log_epoch


def _parser() -> cli.Parser:
    names = "\n".join(f"  --{short} for --{full}" for short, full in SHORT_NAMES.items())
    parser = cli.Parser(description=f"{__doc__}\n\nShort names:\n{names}")
    parser.add_argument("--config", action="config", help="YAML of a system, as in conf/")
    add_sections(parser)
    parser.add_function_arguments(train, skip={"experiment"}, as_positional=False)
    cli.add_offline(parser)
    cli.add_components(parser)
    return parser


def _full_names(words: list[str]) -> list[str]:
    """Command line with keys of the configuration in place of short names."""
    # --seed 1 and --seed=1, but not --seeds.
    short_option = re.compile(rf"--({'|'.join(SHORT_NAMES)})(?==|$)")
    full = []
    for word in words:
        match = short_option.match(word)
        if match:
            word = f"--{SHORT_NAMES[match[1]]}{word[match.end() :]}"
        full.append(word)
    return full


def main() -> None:
    """Read the command line and train."""
    options = ("batch_size", "data.crop_seconds", "num_workers")
    with cli.one_line_errors(interruption.program_name(), options):
        parser = _parser()
        words = checked_words(_full_names(sys.argv[1:]))
        arguments = parser.parse_args(words, env=False)
        options = set(inspect.signature(train).parameters) - {"experiment"}
        values = {name: arguments[name] for name in options}
        train(build(arguments), **values)


if __name__ == "__main__":
    main()
