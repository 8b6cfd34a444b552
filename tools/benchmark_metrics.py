"""Time our metrics on ASVspoof 5 track-1 sized sets, beside scikit-learn and a plain loop, in one run.

    python tools/benchmark_metrics.py [--trials 680774] [--bootstrap 1000]

Prints CPU time (of all threads), the best of several runs, except for the bootstrap, whose time is what
one waits. Scores are logistic, with the size and the share of bona fide trials of that set.
"""

import time
from collections.abc import Callable

import numpy as np
from sklearn.metrics import det_curve

from wedefense_lite import cli
from wedefense_lite.metrics.bootstrap import Resampler, interval, replicates
from wedefense_lite.metrics.costs import DEFAULT, PRESETS
from wedefense_lite.metrics.detection import SortedScores
from wedefense_lite.metrics.summary import Options, detection_metrics
from wedefense_lite.metrics.tandem import ASVSPOOF5_ASV, concurrent_teer, min_adcf

LOOP_STEPS = 20_000  # the plain loop is timed on so many thresholds, and scaled


def logistic(count: int, mean: float, scale: float) -> np.ndarray:
    return np.random.default_rng(count).logistic(mean, scale, count)


def show(name: str, seconds: float, against: float | None = None) -> None:
    ratio = f"  {against / seconds:8.1f} x faster" if against else ""
    print(f"{name:<48} {seconds:9.4f} s{ratio}", flush=True)


def timed(name: str, function: Callable, runs: int = 5, against: float | None = None) -> float:
    """Least CPU seconds of ``runs``, printed, with the ratio to other seconds."""
    spent = []
    for _ in range(runs):
        start = time.process_time()
        function()
        spent.append(time.process_time() - start)
    show(name, min(spent), against)
    return min(spent)


def loop_seconds(bonafide: np.ndarray, spoof: np.ndarray) -> float:
    """CPU seconds of a loop over sorted scores that counts errors one by one, scaled to all of them."""
    scores = np.concatenate([bonafide, spoof])
    order = np.argsort(scores, kind="stable")
    labels = (order < bonafide.size)[:LOOP_STEPS].tolist()
    start = time.process_time()
    miss, false_alarm, best = 0, spoof.size, (2.0, 0.0)
    for label in labels:
        miss, false_alarm = miss + label, false_alarm - (not label)
        rates = miss / bonafide.size, false_alarm / spoof.size
        cost = DEFAULT.miss_weight * rates[0] + DEFAULT.fa_weight * rates[1]
        best = min(best[0], abs(rates[0] - rates[1])), min(best[1], cost)
    spent = (time.process_time() - start) * scores.size / len(labels)
    show("plain loop (EER and minDCF), scaled from a part", spent)
    return spent


def benchmark_metrics(trials: int = 680_774, bootstrap: int = 1000) -> None:
    """Print times and ratios.

    Args:
        trials: size of the set, of which 20.4 % are bona fide.
        bootstrap: number of bootstrap samples.
    """
    bonafide = logistic(round(trials * 138_688 / 680_774), 3.0, 1.2)
    spoof = logistic(trials - bonafide.size, -2.0, 1.5)
    scores, labels = np.concatenate([bonafide, spoof]), np.repeat([1, 0], [bonafide.size, spoof.size])
    print(f"{bonafide.size} bona fide and {spoof.size} spoofed trials")
    library = timed("scikit-learn det_curve (EER)", lambda: det_curve(labels, scores), runs=3)
    loop = loop_seconds(bonafide, spoof)
    timed("EER, against scikit-learn", lambda: SortedScores(bonafide, spoof).eer(), against=library)
    timed("track 1, with actDCF and Cllr", lambda: track_1(bonafide, spoof), against=loop)
    every = Options(asv=ASVSPOOF5_ASV)
    timed("all metrics and t-DCFs", lambda: detection_metrics(SortedScores(bonafide, spoof), every))

    given, size = SortedScores(bonafide, spoof), bonafide.size
    start = time.perf_counter()
    samples = replicates(
        lambda weights: {"eer": given.weighted(weights[:size], weights[size:]).eer().value},
        Resampler(labels),
        bootstrap,
    )
    spent = time.perf_counter() - start
    show(f"{bootstrap} bootstrap EERs, in time of waiting", spent, bootstrap * library)
    print("95 % interval of the EER: {:.5f} to {:.5f}".format(*interval(samples["eer"])))

    target, nontarget = (logistic(trials * 47 // 200, mean, 1.0) for mean in (4.0, -2.0))
    others = logistic(round(2.35 * trials) - 2 * target.size, 0.0, 1.5)
    three, every = (target, nontarget, others), np.concatenate([target, nontarget]) + 1
    count = sum(map(len, three))
    timed(f"a-DCF of {count} trials", lambda: min_adcf(*three, PRESETS["asvspoof5_track2"]))
    timed(f"t-EER of {count} trials", lambda: concurrent_teer(every, others - 4, *three), runs=1)


def track_1(bonafide: np.ndarray, spoof: np.ndarray) -> tuple:
    given = SortedScores(bonafide, spoof)
    return given.eer(), given.min_dcf(), given.act_dcf(), given.cllr()


if __name__ == "__main__":
    cli.run(benchmark_metrics)
