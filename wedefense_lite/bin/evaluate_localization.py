"""Frame scores and reference segments to segment EER and range EER."""

from wedefense_lite import cli
from wedefense_lite.files import InputError, write_json
from wedefense_lite.metrics.localization import range_eer, segment_eer
from wedefense_lite.scoring.segments import matched, read_frames, read_rttm


def evaluate_localization(
    frame_scores: str,
    rttm: str,
    resolutions: str = "0.02,0.04,0.08,0.16,0.32,0.64",
    json: str | None = None,
) -> None:
    """Print equal error rates by segments of several lengths, and by duration.

    Args:
        frame_scores: lines ``utt start duration llr``, seconds, higher is more bona fide.
        rttm: reference segments, the label in field 8.
        resolutions: segment lengths in seconds, separated by commas.
        json: file for the results, rates as fractions.
    """
    frames, hop = read_frames(frame_scores)
    utterances = matched(frames, read_rttm(rttm), hop, frame_scores, rttm)
    segment = {
        resolution: cli.checked(segment_eer, utterances, hop, seconds)._asdict()
        for resolution, seconds in _seconds(resolutions).items()
    }
    by_range = cli.checked(range_eer, utterances)
    for resolution, eer in segment.items():
        print(f"segment EER at {resolution:>5} s: {100 * eer['value']:.3f} %")
    print(f"range EER:             {100 * by_range.value:.3f} %")
    if json:
        values = {resolution: eer["value"] for resolution, eer in segment.items()}
        thresholds = {resolution: eer["threshold"] for resolution, eer in segment.items()}
        write_json(
            json,
            {
                "n_utterances": len(utterances),
                "segment_eer": values,
                "segment_eer_threshold": thresholds,
                "range_eer": by_range.value,
                "range_eer_threshold": by_range.threshold,
            },
        )


def _seconds(resolutions: str) -> dict[str, float]:
    try:
        seconds = {text: float(text) for text in resolutions.split(",")}
    except ValueError as error:
        raise InputError(f"--resolutions is {resolutions!r}, expected seconds: {error}") from error
    if not all(0 < value < float("inf") for value in seconds.values()):
        raise InputError(f"--resolutions is {resolutions!r}, expected positive seconds")
    return seconds


if __name__ == "__main__":
    cli.run(evaluate_localization)
