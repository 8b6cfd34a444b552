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
    segment = {}
    for typed in resolutions.split(","):
        try:
            segment[typed] = segment_eer(utterances, hop, float(typed)).value
        except ValueError as error:
            raise InputError(f"{rttm}: at a resolution of {typed} s: {error}") from error
    by_range = range_eer(utterances)
    for typed, eer in segment.items():
        print(f"segment EER at {typed} s: {100 * eer:.3f} %")
    print(f"range EER: {100 * by_range.value:.3f} %")
    results = {
        "segment_eer": segment,
        "range_eer": by_range.value,
        "range_eer_threshold": by_range.threshold,
    }
    if json:
        write_json(json, results | {"n_utterances": len(utterances)})


if __name__ == "__main__":
    cli.run(evaluate_localization)
