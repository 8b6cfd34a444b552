"""Frame scores and reference segments to segment EER and range EER."""

import numpy as np

from wedefense_lite import cli
from wedefense_lite.dataset.segments import read_rttm
from wedefense_lite.files import InputError
from wedefense_lite.metrics.bootstrap import Resampler, intervals
from wedefense_lite.metrics.localization import range_eer, segment_eer
from wedefense_lite.scoring.results import publish
from wedefense_lite.scoring.segments import matched, read_frames


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
    # Utterances with the same classes in them are drawn among themselves, so that no sample lacks one.
    kinds = [len(set(segments.label)) + 2 * segments.label[0] for _, segments in utterances]
    order, sizes = np.argsort(kinds, kind="stable"), np.unique(kinds, return_counts=True)[1]
    seconds = cli.checked(lambda: {typed: float(typed) for typed in resolutions.split(",")})

    def metrics(*counts: np.ndarray) -> dict[str, float]:
        chosen = [utterances[index] for index in np.repeat(order, np.concatenate(counts) if counts else 1)]
        by_range = {"range_eer": range_eer(chosen).value}
        return by_range | {typed: segment_eer(chosen, hop, length).value for typed, length in seconds.items()}

    def by_name(values: dict) -> dict:
        return {"segment_eer": {typed: values[typed] for typed in seconds}, "range_eer": values["range_eer"]}

    try:
        eers = metrics()
        ends = intervals(metrics, Resampler(sizes), bootstrap) if bootstrap else {}
    except ValueError as error:
        raise InputError(f"{rttm}: {error}") from error
    results = by_name(eers) | {"n_utterances": len(utterances)} | ({"ci": by_name(ends)} if ends else {})
    titles = ["range EER", *(f"segment EER at {typed} s" for typed in seconds)]
    publish([f"{title}: {100 * eer:.3f} %" for title, eer in zip(titles, eers.values())], results, json)


if __name__ == "__main__":
    cli.run(evaluate_localization)
