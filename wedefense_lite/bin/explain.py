"""Explanations: which parts of a recording made a detector say spoof."""

from wedefense_lite import cli

import json
from pathlib import Path

from jsonargparse.typing import NonNegativeInt, PositiveFloat

from wedefense_lite.audio.index import read_wavs
from wedefense_lite.explain.attribution import METHODS, captum_attr
from wedefense_lite.explain.explainer import Explainer, Measures, Pair
from wedefense_lite.explain.mask import Difference
from wedefense_lite.explain.measures import mean_with_interval, ratio_with_interval
from wedefense_lite.explain.pictures import draw_explanations
from wedefense_lite.files import (
    InputError,
    check_writable,
    printable,
    read_table,
    write_json,
    write_lines,
)
from wedefense_lite.progress import progress
from wedefense_lite.report.tables import table
from wedefense_lite.scoring.bundle import Detector

MEASURES = "iou precision mass rank pointing deletion insertion iou_over_random".split()


def explain(
    model: str,
    out_dir: str,
    fake: str | None = None,
    real: str | None = None,
    pairs: str | None = None,
    wav_scp: str | None = None,
    methods: str = "input_x_gradient,integrated_gradients,smooth_grad,grad_cam,occlusion",
    layer: str | None = None,
    difference: Difference = "absolute",
    curves: bool = True,
    max_seconds: PositiveFloat = 10.0,
    pictures: NonNegativeInt = 8,
    device: str = "cpu",
) -> None:
    """Explain a recording, or a set of vocoded recordings with the real ones that they are of.

    Writes explanations.json, explanations.tsv and pictures. With real recordings, explanations are
    measured against the cells of the spectrogram that the vocoder changed, beside two controls:
    random attributions, and the same methods on a model with randomised weights.

    Args:
        model: bundle, or experiment after stage 6.
        out_dir: folder to write to.
        fake: one recording.
        real: the real recording that it is of, the same words at the same time.
        pairs: table of pairs, a line "fake real" of ids of wav_scp, in place of fake and real.
        wav_scp: wav.scp of a data directory, with the files of the pairs.
        methods: separated by commas; input_x_gradient, integrated_gradients, smooth_grad, grad_cam,
            occlusion.
        layer: layer of the model for grad_cam; unless given, the last one with a time-frequency
            map. A name that is none lists them.
        difference: of real and vocoded spectrograms, absolute or relative to the real one.
        curves: measure deletion and insertion curves too.
        max_seconds: longest part of a recording that is explained, from its begin on.
        pictures: recordings that are drawn, the first of the table.
        device: where to compute.
    """
    captum_attr()
    names = methods.split(",")
    for name in names:
        if name not in METHODS or name == "random":
            expected = ", ".join(method for method in METHODS if method != "random")
            raise InputError(f"--methods {name!r}, expected {expected}, separated by commas")
    recordings = pairs_of_options(fake, real, pairs, wav_scp)
    out = Path(out_dir)
    check_writable(out / "explanations.json", out / "explanations.tsv")
    detector = Detector(model, device, trim=False)
    explainer = Explainer(detector, names, layer, difference, curves, max_seconds)
    results = {}
    for number, pair in enumerate(progress(recordings, len(recordings), "explaining")):
        explanation = explainer.explain(pair, seed=number)
        results[pair.name] = explanation.measures
        if number < pictures:
            draw_explanations(
                out / f"{number + 1:03d}.png",
                pair.name,
                explanation.spectra,
                explanation.mask_QF,
                explanation.attributions,
                detector.data.sample_rate,
            )
    summary = summarise(results)
    content = {"recordings": results, "summary": summary, "layer": explainer.layer}
    write_json(out / "explanations.json", content)
    write_lines(out / "explanations.tsv", tsv_lines(results))
    print("\n".join(summary_lines(summary)))


def pairs_of_options(
    fake: str | None, real: str | None, pairs: str | None, wav_scp: str | None
) -> list[Pair]:
    """Recordings that options name.

    Raises:
        InputError: neither one recording nor a table, both, or an id that is not in wav_scp.
    """
    if (fake is None) == (pairs is None):
        raise InputError("expected either --fake FILE, or --pairs TABLE with --wav_scp")
    if pairs is None:
        return [Pair(Path(fake).name, fake, real)]
    if real is not None:
        raise InputError("--real goes with --fake, not with --pairs")
    wavs = read_wavs(cli.needed("--wav_scp", wav_scp))
    recordings = []
    for fake_id, real_id in read_table(pairs).items():
        for utterance in (fake_id, real_id):
            if utterance not in wavs:
                raise InputError(f"{pairs}: {utterance} is not in {wav_scp}")
        recordings.append(Pair(fake_id, wavs[fake_id], wavs[real_id]))
    return recordings


def summarise(results: dict[str, Measures]) -> dict[str, dict]:
    """Means over pairs with intervals, and the IoU over that of random attributions."""
    summary: dict[str, dict] = {}
    first = next(iter(results.values()))
    for method, measures in first.items():
        summary[method] = {}
        for name in measures:
            values = [measured[method][name] for measured in results.values()]
            summary[method][name] = mean_with_interval(values)
        if "iou" in measures and method != "random":
            values = [measured[method]["iou"] for measured in results.values()]
            control = [measured["random"]["iou"] for measured in results.values()]
            summary[method]["iou_over_random"] = ratio_with_interval(values, control)
    return summary


def summary_lines(summary: dict[str, dict]) -> list[str]:
    """Lines of a table, a row a method."""
    names = [name for name in MEASURES if any(name in row for row in summary.values())]
    rows = [["method", *names]]
    for method, measures in summary.items():
        cells = [method]
        for name in names:
            value = measures.get(name)
            text = "-"
            if value is not None:
                text = f"{value['mean']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"
            cells.append(text)
        rows.append(cells)
    return table(rows)


def tsv_lines(results: dict[str, Measures]) -> list[str]:
    """Lines of a table of all numbers, a row a recording, a method and a measure."""
    lines = ["recording\tmethod\tmeasure\tvalue"]
    for recording, measured in results.items():
        for method, measures in measured.items():
            for name, value in measures.items():
                lines.append(f"{printable(recording)}\t{method}\t{name}\t{json.dumps(value)}")
    return lines


if __name__ == "__main__":
    cli.run(explain, from_hub=True, builds_systems=True)
