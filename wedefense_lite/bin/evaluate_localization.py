"""Frame scores and reference segments to segment EER and range EER."""

import numpy as np

from wedefense_lite import cli
from wedefense_lite.files import InputError, write_json
from wedefense_lite.metrics.bootstrap import Resampler, interval, replicates
from wedefense_lite.metrics.localization import range_eer, segment_eer
from wedefense_lite.scoring.segments import matched, read_frames, read_rttm


def evaluate_localization(
    frame_scores: str,
    rttm: str,
    resolutions: str = "0.02,0.04,0.08,0.16,0.32,0.64",
    bootstrap: int = 0,
    json: str | None = None,
) -> None:
    """Print equal error rates by segments of several lengths, and by duration.

    Args:
        frame_scores: lines ``utt start duration llr``, seconds, higher is more bona fide.
        rttm: reference segments, the label in field 8.
        resolutions: segment lengths in seconds, separated by commas.
        bootstrap: number of bootstrap samples of utterances for 95 % intervals.
        json: file for the results, rates as fractions.
    """
    frames, hop = read_frames(frame_scores)
    utterances = matched(frames, read_rttm(rttm), hop, frame_scores, rttm)
    seconds = cli.checked(lambda: {typed: float(typed) for typed in resolutions.split(",")})

    def metrics(weights: np.ndarray) -> dict[str, float]:
        chosen = [pair for pair, count in zip(utterances, weights) for _ in range(count)]
        by_range = {"range_eer": range_eer(chosen).value}
        return by_range | {typed: segment_eer(chosen, hop, seconds[typed]).value for typed in seconds}

    def by_name(values: dict) -> dict:
        return {"segment_eer": {typed: values[typed] for typed in seconds}, "range_eer": values["range_eer"]}

    kinds = [len(set(segments.label)) + 2 * segments.label[0] for _, segments in utterances]
    try:
        whole = metrics(np.ones(len(utterances), dtype=int))
        samples = replicates(metrics, Resampler(kinds), bootstrap) if bootstrap else {}
    except ValueError as error:
        raise InputError(f"{rttm}: {error}") from error
    for name, eer in whole.items():
        print(f"{f'segment EER at {name} s' if name in seconds else 'range EER'}: {100 * eer:.3f} %")
    results = by_name(whole) | {"n_utterances": len(utterances)}
    if bootstrap:
        results["ci"] = by_name({name: interval(drawn) for name, drawn in samples.items()})
    if json:
        write_json(json, results)


if __name__ == "__main__":
    cli.run(evaluate_localization)
