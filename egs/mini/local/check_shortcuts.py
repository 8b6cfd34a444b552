"""How well trivial statistics alone tell spoofs from human speech: they should hardly do."""

import sys
from pathlib import Path

import numpy as np
import soundfile
from scipy.fft import next_fast_len
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from wedefense_lite import cli
from wedefense_lite.files import InputError, read_rows
from wedefense_lite.metrics.detection import SortedScores
from wedefense_lite.progress import progress

FLOOR = 0.33
FRAME = 160


def check_shortcuts(corpus: str) -> None:
    """Print the EER of a logistic regression on trivial statistics, by set, pooled and per attack.

    It is fitted in each set, cross-validated over ten folds. Exits with 1 where a pooled EER is at or
    below 33 %: such a corpus teaches recordings, not voices.

    Args:
        corpus: folder that holds ``LA/``.
    """
    weak = []
    for protocol in sorted(Path(corpus).glob("LA/*_cm_protocols/*.txt")):
        rows = [fields for _, fields in read_rows(protocol, columns=5)]
        name = protocol.name.split(".")[3]
        files = [Path(corpus, f"LA/ASVspoof2019_LA_{name}/flac/{row[1]}.flac") for row in rows]
        features = np.array([statistics(file) for file in progress(files, len(files), name)])
        attacks = np.array([row[3] for row in rows])
        scores = trivial_scores(features, attacks == "-")
        human = scores[attacks == "-"]
        pooled = SortedScores(human, scores[attacks != "-"]).eer().value
        parts = {
            a: SortedScores(human, scores[attacks == a]).eer().value
            for a in sorted({*attacks} - {"-"})
        }
        print(
            f"{name:5s} pooled {pooled:6.1%} ",
            *(f"{attack} {eer:.1%}" for attack, eer in parts.items()),
        )
        weak += [name] if pooled <= FLOOR else []
    if weak:
        print(
            f"trivial statistics give spoofs away in: {', '.join(weak)} (EER at or below {FLOOR:.0%})"
        )
        sys.exit(1)


def trivial_scores(features: np.ndarray, is_bonafide: np.ndarray) -> np.ndarray:
    """Score of each utterance from a model that has not seen it."""
    model = make_pipeline(
        StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000)
    )
    folds = StratifiedKFold(10, shuffle=True, random_state=0)
    return cross_val_predict(model, features, is_bonafide, cv=folds, method="decision_function")


def statistics(file: Path) -> list[float]:
    """What needs no listening: duration, levels, silences, bands, zero crossings, exact values.

    Raises:
        InputError: the file can't be read.
    """
    try:
        wave, rate = soundfile.read(file)
    except soundfile.LibsndfileError as error:
        raise InputError(f"{file}: {error}") from error
    peak, rms = np.abs(wave).max(), np.sqrt((wave**2).mean())
    frames = wave[: len(wave) // FRAME * FRAME].reshape(-1, FRAME)
    level = 10 * np.log10((frames**2).mean(1) + 1e-12)
    loud = np.flatnonzero(level > level.max() - 30)
    size = next_fast_len(len(wave))
    power = np.abs(np.fft.rfft(wave, size)) ** 2
    hertz = np.fft.rfftfreq(size, 1 / rate)

    def share(band) -> float:
        return 10 * np.log10(power[band].sum() / power.sum() + 1e-12)

    return [
        len(wave) / rate,
        20 * np.log10(rms),
        wave.mean() / rms,
        20 * np.log10(peak),
        peak / rms,
        loud[0] * FRAME / rate,
        (len(level) - 1 - loud[-1]) * FRAME / rate,
        np.percentile(level, 5),
        (level < level.max() - 30).mean(),
        share(hertz > 4000),
        share(hertz > 6800),
        share(hertz < 100),
        (np.abs(wave) > 0.97).mean(),
        (np.diff(np.signbit(wave)) != 0).mean(),
        (wave == 0).mean(),
    ]


if __name__ == "__main__":
    cli.run(check_shortcuts, positional=True)
