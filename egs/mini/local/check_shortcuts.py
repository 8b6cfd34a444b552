"""How well trivial statistics alone tell spoofs from human speech: they should hardly do so."""

from wedefense_lite import cli

import sys
from pathlib import Path

import numpy as np
import soundfile
from scipy.fft import next_fast_len
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from wedefense_lite.files import NO_VALUE, InputError, read_rows
from wedefense_lite.metrics.detection import SortedScores
from wedefense_lite.progress import progress

LEAST_EER = 0.33  # of a set; 50 % means that the statistics tell nothing
FRAME = 160  # samples, 10 ms at 16 kHz
QUIET_DB = 30  # below the loudest frame, from where on a frame is silence


def check_shortcuts(corpus: str) -> None:
    """Print the EER of a logistic regression on trivial statistics, by set, pooled and by attack.

    The regression is fitted in each set, cross-validated over ten folds. The exit status is 1 if a
    pooled EER is at or below 33 %: a detector learns the recordings of such a corpus, not the
    voices.

    Args:
        corpus: folder that holds ``LA/``.
    """
    weak_sets = []
    for protocol in sorted(Path(corpus).glob("LA/*_cm_protocols/*.txt")):
        name = protocol.name.split(".")[3]
        folder = Path(corpus, f"LA/ASVspoof2019_LA_{name}/flac")
        files = []
        attacks = []
        for _, (_, utterance, _, attack, _) in read_rows(protocol, columns=5):
            files.append(folder / f"{utterance}.flac")
            attacks.append(attack)
        features = np.array([statistics(file) for file in progress(files, len(files), name)])
        attack_N = np.array(attacks)
        is_bonafide = attack_N == NO_VALUE
        scores = trivial_scores(features, is_bonafide)
        pooled = SortedScores(scores[is_bonafide], scores[~is_bonafide]).eer().value
        cells = []
        for attack in sorted({*attacks} - {NO_VALUE}):
            eer = SortedScores(scores[is_bonafide], scores[attack_N == attack]).eer().value
            cells.append(f"{attack} {eer:.1%}")
        print(f"{name:5s} pooled {pooled:6.1%} ", *cells)
        if pooled <= LEAST_EER:
            weak_sets.append(name)
    if weak_sets:
        names = ", ".join(weak_sets)
        print(f"trivial statistics give spoofs away in: {names} (EER at or below {LEAST_EER:.0%})")
        sys.exit(1)


def trivial_scores(features: np.ndarray, is_bonafide: np.ndarray) -> np.ndarray:
    """Score of each utterance, from a model that was fitted without it."""
    model = make_pipeline(
        StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000)
    )
    folds = StratifiedKFold(10, shuffle=True, random_state=0)
    return cross_val_predict(model, features, is_bonafide, cv=folds, method="decision_function")


def statistics(file: Path) -> list[float]:
    """Fifteen numbers that need no listening: duration, levels, silences, bands, exact values.

    Raises:
        InputError: the file can't be read.
    """
    try:
        wave, rate = soundfile.read(file)
    except soundfile.LibsndfileError as error:
        raise InputError(f"{file}: {error}") from error
    peak = np.abs(wave).max()
    rms = np.sqrt((wave**2).mean())
    frames = wave[: len(wave) // FRAME * FRAME].reshape(-1, FRAME)
    level = 10 * np.log10((frames**2).mean(1) + 1e-12)  # dB; 1e-12 stands for digital silence
    loud_frames = np.flatnonzero(level > level.max() - QUIET_DB)
    first_loud = loud_frames[0]
    last_loud = loud_frames[-1]
    size = next_fast_len(len(wave))
    power = np.abs(np.fft.rfft(wave, size)) ** 2
    hertz = np.fft.rfftfreq(size, 1 / rate)
    return [
        len(wave) / rate,
        20 * np.log10(rms),
        wave.mean() / rms,
        20 * np.log10(peak),
        peak / rms,
        first_loud * FRAME / rate,
        (len(level) - 1 - last_loud) * FRAME / rate,
        np.percentile(level, 5),
        (level < level.max() - QUIET_DB).mean(),
        share_db(power, hertz > 4000),
        share_db(power, hertz > 6800),
        share_db(power, hertz < 100),
        (np.abs(wave) > 0.97).mean(),  # clipped, or close to it
        (np.diff(np.signbit(wave)) != 0).mean(),
        (wave == 0).mean(),
    ]


def share_db(power: np.ndarray, band: np.ndarray) -> float:
    """Share of the power that lies in a band, in dB."""
    return 10 * np.log10(power[band].sum() / power.sum() + 1e-12)


if __name__ == "__main__":
    cli.run(check_shortcuts, positional=True)
