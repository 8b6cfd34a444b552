"""Scores of recordings: is what somebody has bona fide speech, and how sure is that?"""

from wedefense_lite import cli

import logging
import math
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal, NamedTuple

from jsonargparse.typing import NonNegativeInt, OpenUnitInterval, PositiveFloat, PositiveInt

from wedefense_lite.audio.live import (
    Block,
    LiveWindow,
    Pcm,
    container_blocks,
    device_blocks,
    live_windows,
    pcm_blocks,
)
from wedefense_lite.files import (
    InputError,
    check_writable,
    note_input,
    parse_json,
    printable,
    read_text,
    refuse_input,
    write_lines,
)
from wedefense_lite.progress import progress
from wedefense_lite.scoring.journal import Journal, journal_path, open_journal
from wedefense_lite.scoring.live import Listener, LiveRow, alarm_threshold, live_rows
from wedefense_lite.scoring.live import header as header_of_stream
from wedefense_lite.scoring.recording_scores import (
    TSV_COLUMNS,
    Format,
    Request,
    Scored,
    Scorer,
    expand,
    find_model,
    header,
    row,
    scoring,
)
from wedefense_lite.scoring.recordings import MIN_SPEECH_SECONDS, merger

LIVE_SECONDS = 4.0  # window of a stream, where the model has no length


def score(
    files: list[str],
    model: str | None = None,
    format: Format = "table",
    prior: OpenUnitInterval = 0.5,
    threshold: str | None = None,
    windows: Literal["first", "all"] = "first",
    merge: str = "mean",
    trim: bool = True,
    channel: NonNegativeInt | None = None,
    output: str | None = None,
    resume: bool = False,
    jobs: PositiveInt = 1,
    device: str = "cpu",
    stream: bool = False,
    pcm: Pcm | None = None,
    rate: PositiveInt | None = None,
    window_seconds: PositiveFloat | None = None,
    hop_seconds: PositiveFloat | None = None,
    false_alarms: PositiveFloat | None = None,
    alarm: PositiveFloat | None = None,
    audio_device: str | None = None,
    separator_config: str | None = None,
    separator_model: str | None = None,
) -> None:
    """Score recordings of any container, rate and length, a row each; higher is more bona fide.

    A file that can't be scored has a row that says why, and ends nothing; the exit status is then
    1.

    Args:
        files: files, folders (all audio in and below them) and patterns such as "calls/*.m4a"; -
            stands for a list on standard input, a path a line, which is also read without any.
        model: bundle, experiment after stage 6, or ONNX file of export-onnx; unless given, the
            bundle in $WEDEFENSE_MODELS.
        format: aligned columns for people; tsv; or json, an object a line.
        prior: probability of spoof before a recording is heard, for the posterior.
        threshold: name of a threshold of the model, such as EER, or a number; scores at or above it
            are bona fide. Unless given, the model's own.
        windows: of recordings longer than data.eval_seconds of the model, the first window, or all.
        merge: one score of several windows: mean, min, or lowest3, the mean of the three lowest.
        trim: score the speech from its first to its last segment, not what lies around it; false
            scores as the stages of a recipe do.
        channel: channel of files with several, from 1 on; 0 mixes all down, as it does unless
            given.
        output: file for the rows, written when all are done; standard output unless given.
        resume: go on where the same command was killed; for tsv and json with an output.
        jobs: processes that score.
        device: where they compute, such as cuda.
        stream: score standard input, or a device, while it comes, a row each window: an audio file
            of a kind that can be read from its beginning on, or samples without a header. An alarm
            says where bona fide speech turns to spoof.
        pcm: samples without a header, mono: s16le or f32le.
        rate: their rate in Hz.
        window_seconds: length of a window of a stream; unless given, data.eval_seconds of the
            model, which is also the longest, or 4 where it has none.
        hop_seconds: seconds from a window to the next; unless given, a quarter of a window.
        false_alarms: false alarms of a stream in an hour of bona fide speech, by LLRs of dev that
            the model has, or by a bound where it has none; 1 unless given.
        alarm: threshold of the alarm in nats, in place of the one of --false_alarms.
        audio_device: microphone or other device that a stream comes from in place of standard
            input, until Ctrl-C: a part of its name, its number, or default (extra live).
        separator_config: exp/X/config.yaml of a separator: a stream has a row for each talker.
        separator_model: checkpoint of that separator.
    """
    options = StreamOptions(
        pcm=pcm,
        rate=rate,
        window_seconds=window_seconds,
        hop_seconds=hop_seconds,
        false_alarms=false_alarms,
        alarm=alarm,
        audio_device=audio_device,
        separator_config=separator_config,
        separator_model=separator_model,
    )
    if stream:
        if files or output is not None or resume or jobs > 1 or windows != "first":
            raise InputError(
                "--stream reads what comes and writes a row each window: expected no files, "
                "--output, --resume, --jobs or --windows all beside it"
            )
        request = Request(find_model(model), prior, threshold, trim=trim, channel=channel)
        score_stream(request, device, format, options)
        return
    if any(options):
        raise InputError(
            "--pcm, --rate, --window_seconds, --hop_seconds, --false_alarms, --alarm, "
            "--audio_device, --separator_config and --separator_model need --stream"
        )
    if resume and (output is None or format == "table"):
        raise InputError("--resume needs --output FILE and --format tsv or json")
    cli.checked_option("--merge", merger, merge)
    paths = expand(listed_words(files))
    if resume and Path(output).exists() and not journal_path(output).exists():
        end_of_complete_output(output, format, paths)
        return
    check_output(output, paths)
    request = Request(find_model(model), prior, threshold, windows, merge, trim, channel)
    score_paths(paths, request, device, format, output, resume, jobs)


def score_paths(
    paths: list[str],
    request: Request,
    device: str,
    output_format: Format,
    output: str | None,
    resume: bool,
    jobs: int,
) -> None:
    """Write a row for each file, list those that have no score, and exit with 1 for any.

    Args:
        paths: the files.
        request: how they are scored.
        device: where to compute.
        output_format: format of the rows.
        output: file for them; None for standard output.
        resume: go on where the same command was killed.
        jobs: processes that score.
    """
    # Conversions are counted below, in place of a line for each file.
    logging.getLogger("wedefense_lite.scoring.detector").setLevel(logging.WARNING)
    scorer = Scorer(request, device)
    facts = asdict(request) | {"model": scorer.model_hashes}
    journal_context = nullcontext()
    if output is not None:
        journal_context = open_journal(journal_path(output), facts, resume)
    with journal_context as journal:
        scored_before = earlier_rows(journal, paths)
        missing = [path for path in paths if path not in scored_before]
        if scored_before:
            logging.info("%d of %d files are scored already", len(scored_before), len(paths))
        rows = dict(scored_before)
        conversions: Counter[str] = Counter()
        if output is None:
            for line in header(output_format):
                print(line, flush=True)
        with scoring(scorer, missing, jobs, device) as results:
            for scored, conversion in shown_progress(results, len(missing), output):
                rows[scored.path] = scored
                conversions[conversion] += 1
                if journal is None:
                    print(row(scored, output_format), flush=True)
                else:
                    journal.add(scored.json())
        if output is not None:
            lines = [row(rows[path], output_format) for path in paths]
            write_lines(output, header(output_format) + lines)
            journal_path(output).unlink()
    for conversion, count in sorted(conversions.items()):
        if conversion:
            logging.info("%d files: %s", count, conversion)
    end_with_broken({path: rows[path].note for path in paths if rows[path].llr is None}, len(paths))


class StreamOptions(NamedTuple):
    """Options of ``score`` that a stream has; None where they are not given."""

    pcm: Pcm | None
    rate: int | None
    window_seconds: float | None
    hop_seconds: float | None
    false_alarms: float | None
    alarm: float | None
    audio_device: str | None
    separator_config: str | None
    separator_model: str | None


def score_stream(
    request: Request, device: str, output_format: Format, options: StreamOptions
) -> None:
    """Print a row for each window of a stream, as soon as its last sample has come.

    Raises:
        InputError: options that contradict each other, or a stream that can't be read or was cut.
    """
    blocks = blocks_of_input(request, options)
    has_talkers = options.separator_config is not None or options.separator_model is not None
    # Windows are mono already. What is scored of a talker is its speech already.
    scorer = Scorer(replace(request, channel=0, trim=request.trim and not has_talkers), device)
    data = scorer.detector.data
    seconds = options.window_seconds or data.eval_seconds or LIVE_SECONDS
    hop_seconds = options.hop_seconds or seconds / 4
    longest = data.eval_seconds or math.inf
    if not MIN_SPEECH_SECONDS <= seconds <= longest:
        raise InputError(
            f"--window_seconds {seconds:g}, expected {MIN_SPEECH_SECONDS:g} to {longest:g}, "
            "data.eval_seconds of the model"
        )
    size = round(seconds * data.sample_rate)
    hop = round(hop_seconds * data.sample_rate)
    if not 1 <= hop <= size:
        raise InputError(
            f"--hop_seconds {hop_seconds:g}, expected more than 0, and at most a window, "
            f"{seconds:g}"
        )
    threshold, reason = threshold_of_alarm(scorer, seconds, options)
    logging.info(
        "windows of %g s every %g s, an alarm at %.3f nats (%s)",
        seconds,
        hop_seconds,
        threshold,
        reason,
    )
    windows = live_windows(blocks, data.sample_rate, size, hop)
    if has_talkers:
        if hop == size:
            raise InputError(
                f"--hop_seconds {hop_seconds:g}, expected less than a window, {seconds:g}: talkers "
                "are followed by what two windows share"
            )
        rows = rows_of_talkers(windows, scorer, device, size, threshold, options)
    else:
        rows = live_rows(windows, scorer, data.sample_rate, size, threshold)
    for line in header_of_stream(output_format, has_talkers):
        print(line, flush=True)
    for live_row in rows:
        print(live_row.text(output_format), flush=True)


def rows_of_talkers(
    windows: Iterator[LiveWindow],
    scorer: Scorer,
    device: str,
    size: int,
    threshold: float,
    options: StreamOptions,
) -> Iterator[LiveRow]:
    """Rows of the talkers of a stream, with the separator of the options.

    Raises:
        InputError: no such separator.
    """
    # PyTorch, which an ONNX file does without.
    from wedefense_lite.mixtures.live import talker_rows
    from wedefense_lite.mixtures.separation import lost_band, trained_separator

    config = cli.needed("--separator_config", options.separator_config)
    model_path = cli.needed("--separator_model", options.separator_model)
    separator = trained_separator(config, model_path).to(device)
    sample_rate = scorer.detector.data.sample_rate
    lost_band(separator, sample_rate)
    listeners = []
    for number in range(1, separator.num_talkers + 1):
        listeners.append(Listener(scorer, sample_rate, size, threshold, talker=number))
    return talker_rows(windows, separator, listeners)


def blocks_of_input(request: Request, options: StreamOptions) -> Iterator[Block]:
    """Samples of standard input or of a device as they come.

    Raises:
        InputError: options that contradict each other, or no input.
    """
    if options.audio_device is not None:
        if options.pcm is not None or options.rate is not None:
            raise InputError("--audio_device: expected no --pcm and --rate, which are the device's")
        return device_blocks(options.audio_device, request.channel or 0)
    if sys.stdin is None:
        raise InputError("--stream: standard input is closed")
    if (options.pcm is None) != (options.rate is None):
        raise InputError("--pcm and --rate: expected both, or none for an audio file")
    channel = request.channel or 0
    if options.pcm is None:
        return container_blocks(sys.stdin.buffer, channel)
    if channel > 1:
        raise InputError(f"--channel {channel}: --pcm has one channel")
    return pcm_blocks(sys.stdin.buffer, options.pcm, options.rate)


def threshold_of_alarm(scorer: Scorer, seconds: float, options: StreamOptions) -> tuple[float, str]:
    """Threshold of the alarm in nats, and where it comes from.

    Raises:
        InputError: a rate of false alarms of scores that are no LLRs.
    """
    if options.alarm is not None:
        return options.alarm, "--alarm"
    facts = scorer.detector.facts
    if not facts.gives_llrs:
        raise InputError(
            f"{scorer.request.model}: its scores are no LLRs, so that false alarms an hour can't "
            "be stated: give a threshold by --alarm"
        )
    false_alarms = options.false_alarms or 1.0
    threshold = alarm_threshold(facts.bonafide_llrs, seconds, false_alarms)
    source = "by the bound of calibrated LLRs: the model has none of dev"
    if facts.bonafide_llrs:
        source = f"by {len(facts.bonafide_llrs)} LLRs of dev"
    return threshold, f"{false_alarms:g} false alarms an hour, {source}"


def check_output(output: str | None, paths: list[str]) -> None:
    """Check before the work that rows can be written, and not over a recording.

    Raises:
        InputError: they can't.
    """
    if output is None:
        return
    for path in paths:
        note_input(path)
    refuse_input(output)
    check_writable(output)


def listed_words(words: list[str]) -> list[str]:
    """Words of the command line, with the lines of standard input in the place of ``-``.

    Raises:
        InputError: nothing is named.
    """
    if not words:
        if sys.stdin.isatty():
            raise InputError("no files, expected files, folders, patterns, or - for a list")
        words = ["-"]
    listed = []
    for word in words:
        if word == "-":
            listed += [line.rstrip("\r\n") for line in sys.stdin if line.strip()]
        else:
            listed.append(word)
    if not listed:
        raise InputError("standard input: no line, expected the path of a file a line")
    return listed


def earlier_rows(journal: Journal | None, paths: list[str]) -> dict[str, Scored]:
    """Rows of an earlier run by their paths, of the files that are asked for.

    Raises:
        InputError: a line that is no row.
    """
    rows = {}
    lines = journal.lines if journal else []
    for line in lines:
        try:
            scored = Scored.of_json(line)
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(f"journal of the output: {error}: remove it") from error
        rows[scored.path] = scored
    return {path: rows[path] for path in paths if path in rows}


def shown_progress(results: Iterator, total: int, output: str | None) -> Iterator:
    """Results with their progress, unless rows on the terminal or a single file show it."""
    if total <= 1 or (output is None and sys.stdout.isatty()):
        return results
    return progress(results, total, "scoring", unit="file")


def end_of_complete_output(output: str, output_format: Format, paths: list[str]) -> None:
    """Say that an output is complete, and end as the run that wrote it did.

    Raises:
        InputError: it is of other files, or of another format.
    """
    notes = {}
    broken = {}
    for line in read_text(output).splitlines():
        try:
            path, llr, note = columns_of(line, output_format)
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{output}: no rows of --format {output_format}: {error}") from error
        notes[path] = note
        if llr is None:
            broken[path] = note
    notes.pop(TSV_COLUMNS[0], None)
    broken.pop(TSV_COLUMNS[0], None)
    missing = [path for path in paths if printable(path) not in notes and path not in notes]
    if missing:
        raise InputError(
            f"{output}: complete, but {missing[0]} is not in it: another --output, or no --resume"
        )
    logging.info("%s is complete: nothing is scored", output)
    end_with_broken(broken, len(paths))


def columns_of(line: str, output_format: Format) -> tuple[str, str | None, str]:
    """Path, LLR and note of a line; the LLR is None where there is none."""
    if output_format == "json":
        fields = parse_json(line)
        return fields["path"], fields["llr"], fields["note"]
    cells = line.split("\t")
    if len(cells) != len(TSV_COLUMNS):
        raise ValueError(f"{len(cells)} columns, expected {len(TSV_COLUMNS)}")
    path, _, llr = cells[:3]
    return path, None if llr == "-" else llr, cells[-1]


def end_with_broken(notes: dict[str, str], total: int) -> None:
    """List files without a score and exit with status 1; without any, return.

    Args:
        notes: why each has none, by path.
        total: number of all files.
    """
    if not notes:
        return
    logging.warning("%d of %d files have no score:", len(notes), total)
    for path, note in notes.items():
        logging.warning("%s: %s", printable(path), printable(note))
    sys.exit(1)


if __name__ == "__main__":
    cli.run(score, from_hub=True, builds_systems=True, several="files")
