"""Separation: metric and loss, the separators, long recordings, and a corpus separated once."""

import itertools
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from commands import refused, run
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from wedefense_lite.audio.data_dir import check_data_dir, write_tables
from wedefense_lite.audio.index import read_index
from wedefense_lite.audio.reading import encode_flac, read
from wedefense_lite.audio.shards import pack
from wedefense_lite.bin import separate as command
from wedefense_lite.bin.separate import separate
from wedefense_lite.files import InputError
from wedefense_lite.mixtures import separation as long_audio
from wedefense_lite.mixtures.sisdr import assign_streams, pairwise_si_sdr, pit_si_sdr_loss
from wedefense_lite.mixtures.tasks import Separation
from wedefense_lite.separators import ConvTasNet, Separator
from wedefense_lite.separators.sepformer import SepFormer
from wedefense_lite.systems import checkpoint

RATE, SAMPLES = 16000, 3200
TINY = {"kernel": 8, "features": 8, "bottleneck": 4, "hidden": 8, "layers": 2, "stacks": 1}
SEEDS = st.integers(0, 2**31)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape)).float()


def si_sdr(stream: list[float], stem: list[float]) -> float:
    return pairwise_si_sdr(torch.tensor([[stream]]), torch.tensor([[stem]])).item()


# SI-SDR


def test_si_sdr_is_the_ratio_of_the_stem_in_a_stream_to_what_else_is_in_it():
    stem, other = [1.0, -1, 1, -1], [1.0, 1, -1, -1]
    mixed = [3 * a + b for a, b in zip(stem, other)]
    assert si_sdr(mixed, stem) == pytest.approx(10 * np.log10(9), abs=1e-5)
    assert si_sdr(mixed, other) == pytest.approx(-10 * np.log10(9), abs=1e-5)


def test_si_sdr_is_between_minus_80_and_80_db():
    stem, other, silence = [1.0, -1, 1, -1], [1.0, 1, -1, -1], [0.0] * 4
    assert si_sdr(stem, stem) == pytest.approx(80, abs=1e-4)
    for stream, reference in ((other, stem), (silence, stem), (stem, silence), (silence, silence)):
        assert si_sdr(stream, reference) == pytest.approx(-80, abs=1e-4)


@examples(30)
@given(SEEDS, st.floats(0.01, 100), st.booleans(), st.floats(-10, 10))
def test_si_sdr_knows_no_scale_sign_or_offset(seed, scale, negative, offset):
    streams_BKT, stems_BKT = (
        noise(2, 3, 64, seed=seed).double(),
        noise(2, 3, 64, seed=seed + 1).double(),
    )
    changed_BKT = streams_BKT * (-scale if negative else scale) + offset
    expected = pairwise_si_sdr(streams_BKT, stems_BKT)
    torch.testing.assert_close(pairwise_si_sdr(changed_BKT, stems_BKT), expected, atol=1e-3, rtol=0)
    torch.testing.assert_close(
        pairwise_si_sdr(streams_BKT, changed_BKT).diagonal(0, 1, 2),
        torch.full((2, 3), 80.0),
        atol=1e-3,
        rtol=0,
    )


def test_samples_of_16_bits_are_compared_as_they_are():
    """Their squares do not fit in 16 bits."""
    wavs_BKT = (noise(1, 2, 500) * 9000).clamp(-32768, 32767).to(torch.int16)
    torch.testing.assert_close(
        pairwise_si_sdr(wavs_BKT, wavs_BKT), pairwise_si_sdr(wavs_BKT / 32768, wavs_BKT / 32768)
    )


@examples(30)
@given(SEEDS, st.integers(1, 5))
def test_streams_are_assigned_one_to_one_with_the_highest_sum(seed, talkers):
    score_KS = noise(talkers, talkers, seed=seed)
    best = max(
        itertools.permutations(range(talkers)),
        key=lambda order: score_KS[range(talkers), list(order)].sum(),
    )
    assert assign_streams(score_KS[None]).tolist() == [list(best)]


# The loss


def bounded(share: float) -> float:
    """SI-SDR in dB of a stream of which a stem explains this share, within 30 dB."""
    return 10 * np.log10((share + 1e-3) / (1 - share + 1e-3))


def test_the_loss_is_that_of_the_best_assignment():
    stems_BKT = torch.tensor([[[1.0, -1, 1, -1], [1, 1, -1, -1]]])
    first_BT, second_BT = stems_BKT.unbind(1)
    streams_BKT = torch.stack(
        [first_BT + 2 * second_BT, 3 * first_BT - second_BT], 1
    )  # 80 % and 90 %, swapped
    expected = -(bounded(0.8) + bounded(0.9)) / 2
    loss = pit_si_sdr_loss(streams_BKT, stems_BKT, torch.tensor([4]))
    assert loss.item() == pytest.approx(expected, abs=1e-5)
    assert pit_si_sdr_loss(
        streams_BKT.flip(1), stems_BKT, torch.tensor([4])
    ).item() == pytest.approx(loss.item())


def test_the_loss_is_within_30_db():
    stems_BKT = noise(1, 2, 50)
    assert pit_si_sdr_loss(stems_BKT, stems_BKT, torch.tensor([50])).item() == pytest.approx(
        -30, abs=0.01
    )
    silence_BKT = torch.zeros_like(stems_BKT)
    assert pit_si_sdr_loss(silence_BKT, stems_BKT, torch.tensor([50])).item() == pytest.approx(
        30, abs=0.01
    )


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_the_loss_knows_no_order_of_talkers(order):
    stems_BKT = noise(2, 3, 50)
    loss = pit_si_sdr_loss(stems_BKT[:, order], stems_BKT, torch.tensor([50, 50]))
    assert loss.item() == pytest.approx(-30, abs=0.01)


def test_a_silent_stem_is_left_out_of_the_mean():
    stem_T, other_T = torch.tensor([1.0, -1, 1, -1]), torch.tensor([1.0, 1, -1, -1])
    stems_BKT = torch.stack([torch.zeros(4), stem_T])[None]
    streams_BKT = torch.stack([3 * stem_T + other_T, other_T])[None].requires_grad_()
    loss = pit_si_sdr_loss(streams_BKT, stems_BKT, torch.tensor([4]))
    assert loss.item() == pytest.approx(-bounded(0.9), abs=1e-5)
    loss.backward()
    assert streams_BKT.grad[0, 0].abs().sum() > 0 and streams_BKT.grad[0, 1].abs().sum() == 0


@examples(20)
@given(SEEDS, st.floats(-1, 1), st.floats(-1, 1))
def test_padding_counts_for_nothing(seed, offset, padding):
    streams_BKT, stems_BKT = (
        noise(2, 2, 50, seed=seed) + offset,
        noise(2, 2, 50, seed=seed + 1) + offset,
    )
    lengths_B = torch.tensor([50, 30])
    parts = [
        pit_si_sdr_loss(
            streams_BKT[n : n + 1, :, :length],
            stems_BKT[n : n + 1, :, :length],
            torch.tensor([length]),
        )
        for n, length in enumerate(lengths_B.tolist())
    ]
    streams_BKT[1, :, 30:], stems_BKT[1, :, 30:] = padding, 0
    found = pit_si_sdr_loss(streams_BKT, stems_BKT, lengths_B)
    assert found.item() == pytest.approx(torch.stack(parts).mean().item(), abs=1e-4)


@pytest.mark.parametrize("stream", [0.0, 1e-12, 1.0])
@pytest.mark.parametrize("stem", [0.0, 1.0])
def test_gradients_are_finite_whatever_is_silent(stream, stem):
    stems_BKT = stem * noise(1, 2, 50)
    for streams_BKT in (
        stream * noise(1, 2, 50),
        stream * noise(1, 2, 50, seed=1),
    ):  # right, and wrong
        streams_BKT.requires_grad_()
        loss = pit_si_sdr_loss(streams_BKT, stems_BKT, torch.tensor([50]))
        loss.backward()
        assert loss.isfinite() and streams_BKT.grad.isfinite().all()


def test_a_separator_that_diverged_has_a_loss_that_says_so():
    """The training names the step whose loss is not finite."""
    assert pit_si_sdr_loss(noise(1, 2, 50) * torch.nan, noise(1, 2, 50), torch.tensor([50])).isnan()


# Conv-TasNet

BLOCK = ["conv_layers.0.bias", "conv_layers.0.weight", "conv_layers.1.weight", "conv_layers.2.bias"]
BLOCK += [
    "conv_layers.2.weight",
    "conv_layers.3.bias",
    "conv_layers.3.weight",
    "conv_layers.4.weight",
]
BLOCK += ["conv_layers.5.bias", "conv_layers.5.weight", "skip_out.bias", "skip_out.weight"]
OUTSIDE = ["input_conv.bias", "input_conv.weight", "input_norm.bias", "input_norm.weight"]
OUTSIDE += ["output_conv.bias", "output_conv.weight", "output_prelu.weight"]


def test_conv_tasnet_has_the_published_size_and_the_names_of_torchaudio():
    assert sum(parameter.numel() for parameter in ConvTasNet().parameters()) == 4_984_881  # 4.98 M
    blocks = [f"conv_layers.{number}.{name}" for number in range(2) for name in BLOCK]
    last_has_no_residual = [f"conv_layers.0.res_out.{name}" for name in ("bias", "weight")]
    masks = [f"mask_generator.{name}" for name in OUTSIDE + blocks + last_has_no_residual]
    assert sorted(ConvTasNet(**TINY).state_dict()) == sorted(
        [*masks, "encoder.weight", "decoder.weight"]
    )


@pytest.mark.parametrize("activation", ["sigmoid", "relu"])
@pytest.mark.parametrize(("talkers", "kernel"), [(2, 16), (3, 32)])
def test_conv_tasnet_gives_what_torchaudios_gives(activation, talkers, kernel):
    try:
        from torchaudio.models import ConvTasNet as Theirs
    except (ImportError, OSError, RuntimeError) as error:
        pytest.skip(f"torchaudio can't be imported: {error}")
    sizes = {
        "enc_num_feats": 32,
        "msk_num_feats": 16,
        "msk_num_hidden_feats": 32,
        "msk_num_layers": 3,
    }
    theirs = Theirs(talkers, kernel, **sizes, msk_num_stacks=2, msk_activate=activation).eval()
    ours = ConvTasNet(talkers, 8000, kernel, 32, 16, 32, 3, 2, activation).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    for samples in (800, 801, 815):
        wav_BT = noise(2, samples)
        torch.testing.assert_close(ours(wav_BT), theirs(wav_BT[:, None]), atol=1e-5, rtol=0)


@examples(15)
@given(st.integers(1, 100), st.integers(2, 5))
def test_conv_tasnet_gives_streams_of_any_length(samples, talkers):
    assert ConvTasNet(talkers, **TINY)(noise(2, samples)).shape == (2, talkers, samples)


@pytest.mark.parametrize("kernel", [2, 8])
def test_streams_of_conv_tasnet_are_those_of_its_transposed_convolution(kernel):
    separator = ConvTasNet(3, **(TINY | {"kernel": kernel}))
    masked_BKDF = noise(2, 3, TINY["features"], 21)
    expected = separator.decoder(masked_BKDF.flatten(0, 1)).unflatten(0, (2, 3))[:, :, 0]
    torch.testing.assert_close(separator._decode(masked_BKDF), expected, atol=1e-5, rtol=0)


def test_conv_tasnet_needs_windows_that_have_halves():
    with pytest.raises(InputError, match="windows of 9 samples, expected an even number"):
        ConvTasNet(kernel=9)


# Long recordings


class Restless(Separator):
    """Low and high samples apart, in another order from call to call."""

    def __init__(self, sample_rate: int = 100):
        super().__init__()
        self.sample_rate, self.num_talkers, self.calls = sample_rate, 2, []
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, wav_BT):
        self.calls.append(wav_BT.shape[1])
        streams_BKT = torch.stack([wav_BT.clamp(max=0), wav_BT.clamp(min=0)], 1) * self.weight
        return streams_BKT.flip(1) if len(self.calls) % 2 else streams_BKT


@examples(30)
@given(st.integers(1, 900), SEEDS)
def test_talkers_stay_in_their_streams_from_chunk_to_chunk(samples, seed):
    wav_T, separator = noise(samples, seed=seed).numpy(), Restless()
    found_KT = long_audio.separate(separator, wav_T, 100, chunk_seconds=2, overlap_seconds=0.5)
    order = slice(None, None, -1)  # of the first chunk
    np.testing.assert_allclose(
        found_KT, np.stack([wav_T.clip(max=0), wav_T.clip(min=0)])[order], atol=1e-6
    )
    assert max(separator.calls) <= 200 and len(separator.calls) == max(
        1, 1 + -(-(samples - 200) // 150)
    )


def test_three_talkers_stay_in_their_streams():
    """Two are their own inverse: with three, an order that is read the wrong way round shows."""
    wavs_KT, separator = noise(3, 950), Restless()
    separator.num_talkers, started = 3, itertools.count(0, 150)

    def turned(wav_BT):
        first = next(started)
        return wavs_KT[:, first : first + wav_BT.shape[1]].roll(first // 150, 0)[None]

    separator.forward = turned
    found_KT = long_audio.separate(
        separator, wavs_KT.sum(0).numpy(), 100, chunk_seconds=2, overlap_seconds=0.5
    )
    np.testing.assert_allclose(found_KT, wavs_KT, atol=1e-6)


def test_chunks_fade_into_each_other():
    """Each call has another gain: in their overlap two chunks change places without a step."""
    separator, wav_T = Restless(), 2 + np.sin(np.arange(350, dtype=np.float32))
    gains = iter([1.0, 2.0])
    separator.forward = lambda wav_BT: next(gains) * torch.stack([wav_BT, -wav_BT.square()], 1)
    gain_T = (
        long_audio.separate(separator, wav_T, 100, chunk_seconds=2, overlap_seconds=0.5)[0] / wav_T
    )
    np.testing.assert_allclose(gain_T[:150], 1, atol=1e-5)
    np.testing.assert_allclose(gain_T[150:200], np.linspace(1, 2, 50), atol=1e-5)
    np.testing.assert_allclose(gain_T[200:], 2, atol=1e-5)


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
@pytest.mark.parametrize("samples", [1, 4410, 4411])
def test_streams_have_the_rate_and_the_length_of_the_recording(rate, samples):
    found_KT = long_audio.separate(Restless(8000), noise(samples).numpy() + 0.1, rate, 0.2, 0.05)
    assert (
        found_KT.shape == (2, samples)
        and found_KT.dtype == np.float32
        and np.isfinite(found_KT).all()
    )


def test_a_tone_that_the_separator_can_hear_survives_its_rate():
    wav_T = np.sin(2 * np.pi * 500 / RATE * np.arange(RATE)).astype(np.float32)
    separator = Restless(8000)
    separator.forward = lambda wav_BT: torch.stack([wav_BT, 0 * wav_BT], 1)
    found_KT = long_audio.separate(separator, wav_T, RATE)
    np.testing.assert_allclose(found_KT[0, 100:-100], wav_T[100:-100], atol=5e-3)


def test_silence_gives_silence():
    found_KT = long_audio.separate(ConvTasNet(3, **TINY), np.zeros(100, np.float32), RATE)
    assert found_KT.shape == (3, 100) and not found_KT.any()


@pytest.mark.parametrize("overlap", [0, 2, 3, 1e-4])
def test_chunks_have_to_overlap_and_to_move_on(overlap):
    with pytest.raises(InputError, match=f"chunks of 2 s can't overlap by {overlap:g} s"):
        long_audio.separate(Restless(), noise(10).numpy(), 100, 2, overlap)


# A corpus, once


class Swapped(Separator):
    """Stream 1 is the second half of a mixture, stream 2 the first."""

    gain, sample_rate, num_talkers = 1.0, RATE, 2

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, wav_BT):
        late_T = torch.arange(wav_BT.shape[1]) >= wav_BT.shape[1] // 2
        return self.gain * torch.stack([wav_BT * late_T, wav_BT * ~late_T], 1)


LABELS_OF = {
    "mixa": ("spoof", "bonafide"),
    "mixb": ("bonafide", "bonafide"),
    "mixc": ("spoof", "spoof"),
}


def write_mixtures(folder: Path, level: int = 8000) -> Path:
    """Two talkers of equal level, one in each half of a mixture; mixb is silent."""
    rows, stems, tables = [], [], {name: {} for name in ("utt2lab", "utt2spk", "utt2attack")}
    for number, (mixture, labels) in enumerate(LABELS_OF.items()):
        half = level * (-1) ** np.arange(SAMPLES // 2) * (mixture != "mixb")
        wavs = [
            np.pad(half, pad).astype(np.int16) for pad in ((0, SAMPLES // 2), (SAMPLES // 2, 0))
        ]
        rows.append(
            encode_flac(mixture, sum(wavs), RATE, min(labels, key=["spoof", "bonafide"].index))
        )
        for k, (label, wav) in enumerate(zip(labels, wavs), 1):
            stems.append(encode_flac(stem := f"{mixture}-{k}", wav, RATE, label))
            attack = f"A0{k}" if label == "spoof" else "-"
            for table, value in zip(tables.values(), (label, f"s{2 * number + k}", attack)):
                table[stem] = value
    for where, utterances in ((folder, rows), (folder / "stems", stems)):
        pack(utterances, where / "shards", where / "shard.list", num_utts_per_shard=4)
    write_tables(folder, {"utt2lab": {row.key: row.label for row in rows}})
    write_tables(folder / "stems", tables)
    return folder


@pytest.fixture
def mixtures(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "_load_separator", lambda *options: Swapped())
    return write_mixtures(tmp_path / "mixtures")


def trained(folder: Path, **sizes) -> list[str]:
    """Options of a separator with random weights, as a training leaves it."""
    folder.mkdir(exist_ok=True)
    separator = {"class_path": "ConvTasNet", "init_args": TINY | sizes}
    system = {"class_path": "Separation", "init_args": {"separator": separator}}
    optimizer = {"class_path": "Adam", "init_args": {"lr": 0.001}}
    config = {"system": system, "training": {"optimizer": optimizer}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    torch.manual_seed(1)
    weights = Separation(ConvTasNet(**(TINY | sizes))).state_dict()
    state = {"model": weights, "labels": ["spoof", "bonafide"], "class_prior": [0.5, 0.5]}
    checkpoint.save(folder / "model.pt", state | {"epoch": 1, "config_hash": "of no training"})
    return ["--config", str(folder / "config.yaml"), "--model_path", str(folder / "model.pt")]


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_streams_have_the_label_speaker_and_attack_of_the_talker_they_are_of(
    mixtures, monkeypatch, caplog
):
    caplog.set_level("INFO")
    run(
        monkeypatch,
        separate,
        "--mixtures_dir",
        mixtures,
        "--out_dir",
        "out",
        "--mixtures_per_shard",
        2,
    )
    tables = check_data_dir("out")
    # Talker 2 first; of silence, in the order that is there.
    assert list(tables["utt2spk"].items()) == [
        ("mixa-1", "s2"),
        ("mixa-2", "s1"),
        ("mixb-1", "s3"),
        ("mixb-2", "s4"),
        ("mixc-1", "s6"),
        ("mixc-2", "s5"),
    ]
    assert list(tables["utt2lab"].values()) == [
        "bonafide",
        "spoof",
        "bonafide",
        "bonafide",
        "spoof",
        "spoof",
    ]
    assert list(tables["utt2attack"].values()) == ["-", "A01", "-", "-", "A02", "A01"]
    streams, stems = (
        read_index(f"{where}/shard.list", "shard") for where in ("out", "mixtures/stems")
    )
    heard, meant = ({row.key: read(row, RATE) for row in rows} for rows in (streams, stems))
    for stream, stem in (
        ("mixa-1", "mixa-2"),
        ("mixa-2", "mixa-1"),
        ("mixb-1", "mixb-1"),
        ("mixc-1", "mixc-2"),
    ):
        np.testing.assert_array_equal(heard[stream], meant[stem])
    assert {row.key: row.label for row in streams} == tables["utt2lab"]
    assert len(Path("out/shard.list").read_text().splitlines()) == 2
    assert (
        "out: 3 mixtures, mean SI-SDR improvement 53.33 dB" in caplog.text
    )  # 80, 0 of silence, and 80


def test_si_sdr_of_streams_and_mixtures_is_written_down(mixtures, monkeypatch):
    """Stems have half of the energy: 0 dB. Right streams are at the ceiling, others at the
    floor.
    """
    run(monkeypatch, separate, "--mixtures_dir", mixtures, "--out_dir", "out")
    rows = [line.split("\t") for line in Path("out/separation.tsv").read_text().splitlines()]
    assert (
        rows[0] == "mixture stream source sisdr_1 sisdr_2 sisdr_mixture_1 sisdr_mixture_2".split()
    )
    assert rows[1:] == [
        ["mixa", "1", "2", "-80.0000", "80.0000", "0.0000", "0.0000"],
        ["mixa", "2", "1", "80.0000", "-80.0000", "0.0000", "0.0000"],
        ["mixb", "1", "1", *["-80.0000"] * 4],
        ["mixb", "2", "2", *["-80.0000"] * 4],
        ["mixc", "1", "2", "-80.0000", "80.0000", "0.0000", "0.0000"],
        ["mixc", "2", "1", "80.0000", "-80.0000", "0.0000", "0.0000"],
    ]


def test_streams_of_three_talkers_are_given_to_theirs(tmp_path, monkeypatch):
    """Streams are of talkers 2, 3 and 1: an order that is its own inverse would not tell."""
    monkeypatch.chdir(tmp_path)
    third = 8000 * (-1) ** np.arange(SAMPLES // 3)
    wavs_KT = np.stack(
        [np.pad(third, (k * len(third), (2 - k) * len(third))) for k in range(3)]
    ).astype(np.int16)
    labels = {"mix-1": "bonafide", "mix-2": "spoof", "mix-3": "bonafide"}
    stems = [
        encode_flac(key, wav, RATE, label) for (key, label), wav in zip(labels.items(), wavs_KT)
    ]
    mixture = encode_flac("mix", wavs_KT.sum(0, dtype=np.int16), RATE, "spoof")
    for where, rows in (("mix", [mixture]), ("mix/stems", stems)):
        pack(rows, Path(where, "shards"), Path(where, "shard.list"))
    write_tables(
        Path("mix/stems"),
        {"utt2lab": labels, "utt2spk": {"mix-1": "s1", "mix-2": "s2", "mix-3": "s3"}},
    )
    separator = Swapped()
    separator.num_talkers = 3
    separator.forward = lambda wav_BT: torch.from_numpy(
        np.roll(wavs_KT, -1, 0) / np.float32(32768)
    )[None]
    monkeypatch.setattr(command, "_load_separator", lambda *options: separator)
    run(monkeypatch, separate, "--mixtures_dir", "mix", "--out_dir", "out")
    tables = check_data_dir("out")
    assert tables["utt2spk"] == {"mix-1": "s2", "mix-2": "s3", "mix-3": "s1"}
    assert tables["utt2lab"] == {"mix-1": "spoof", "mix-2": "bonafide", "mix-3": "bonafide"}
    rows = [line.split("\t") for line in Path("out/separation.tsv").read_text().splitlines()[1:]]
    assert [row[2] for row in rows] == ["2", "3", "1"] and all(
        row[2 + int(row[2])] == "80.0000" for row in rows
    )


@pytest.mark.parametrize(("gain", "peak"), [(3.0, 8000 * 3), (6.0, 0.9 * 32767)])
def test_streams_are_made_softer_only_where_they_would_clip(mixtures, monkeypatch, gain, peak):
    monkeypatch.setattr(Swapped, "gain", gain)
    run(monkeypatch, separate, "--mixtures_dir", mixtures, "--out_dir", "out")
    row = read_index("out/shard.list", "shard")[0]
    assert np.abs(read(row, RATE).astype(int)).max() == pytest.approx(peak, abs=1)


def test_two_processes_write_what_one_writes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_mixtures(tmp_path / "mixtures")
    words = ["--mixtures_dir", "mixtures", "--mixtures_per_shard", "1", *trained(tmp_path / "exp")]
    run(monkeypatch, separate, "--out_dir", "alone/out", *words)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    both = {
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
    }
    both = os.environ | both | {"OMP_NUM_THREADS": "1"}
    typed = [sys.executable, command.__file__, "--out_dir", "both/out", *words]
    ranks = [
        subprocess.Popen(typed, env=both | {"RANK": rank, "LOCAL_RANK": rank}) for rank in "01"
    ]
    try:
        assert [rank.wait(timeout=240) for rank in ranks] == [0, 0]
    finally:
        for rank in ranks:
            rank.kill()
    alone, both = contents(tmp_path / "alone/out"), contents(tmp_path / "both/out")
    for found in (alone, both):
        lines = found.pop("shard.list").decode().splitlines()
        assert [Path(line).name for line in lines] == [
            f"shards_{number:09d}.tar" for number in range(3)
        ]
    assert both == alone and {"utt2lab", "separation.tsv", "shards/shards_000000002.tar"} <= set(
        alone
    )


def test_mixtures_without_stems_are_separated_too(mixtures, monkeypatch):
    run(
        monkeypatch,
        separate,
        "--mixtures_dir",
        mixtures,
        "--out_dir",
        "known",
        "--mixtures_per_shard",
        2,
    )
    shutil.rmtree("mixtures/stems")
    run(
        monkeypatch,
        separate,
        "--mixtures_dir",
        mixtures,
        "--out_dir",
        "out",
        "--mixtures_per_shard",
        2,
        "--stems",
        "false",
    )
    known, found = (read_index(f"{where}/shard.list", "shard") for where in ("known", "out"))
    assert [row.label for row in found] == [None] * 6
    assert sorted(path.name for path in Path("out").iterdir()) == ["shard.list", "shards"]
    for one, other in zip(known, found):
        np.testing.assert_array_equal(read(one, RATE), read(other, RATE))


def test_labels_of_earlier_streams_are_removed_where_the_new_ones_have_none(mixtures, monkeypatch):
    words = ["--mixtures_dir", mixtures, "--out_dir", "out"]
    run(monkeypatch, separate, *words)
    assert (mixtures.parent / "out/utt2lab").exists()
    run(monkeypatch, separate, *words, "--stems", "false")
    assert sorted(path.name for path in Path("out").iterdir()) == ["shard.list", "shards"]


def test_the_published_weights_at_8_khz_are_taken_and_the_lost_band_is_told(
    tmp_path, monkeypatch, caplog
):
    """Weights are small here, but of the published options: 8 kHz and masks by ReLU."""
    monkeypatch.chdir(tmp_path)
    write_mixtures(tmp_path / "mixtures")
    made = []
    monkeypatch.setattr(
        command, "ConvTasNet", lambda **kind: made.append(kind) or ConvTasNet(**kind, **TINY)
    )
    checkpoint.save("weights.pt", ConvTasNet(**TINY).state_dict())
    run(
        monkeypatch,
        separate,
        "--mixtures_dir",
        "mixtures",
        "--out_dir",
        "out",
        "--libri2mix",
        "weights.pt",
    )
    assert (
        "a separator at 8000 Hz: streams lack 4000 to 8000 Hz, which detectors use" in caplog.text
    )
    assert made == [{"sample_rate": 8000, "activation": "relu"}]
    assert all(row.samples == SAMPLES for row in read_index("out/shard.list", "shard"))


def test_what_can_not_be_separated_is_named_and_what_was_there_stays(mixtures, monkeypatch, capsys):
    run(monkeypatch, separate, "--mixtures_dir", mixtures, "--out_dir", "out")
    before = contents(Path("out"))

    def said(folder: Path | str, *more: str) -> str:
        return refused(
            monkeypatch, capsys, separate, "--mixtures_dir", folder, "--out_dir", "out", *more
        )

    with monkeypatch.context() as patch:
        patch.setattr(Swapped, "num_talkers", 3)
        assert "mixtures: mixa has 2 talkers, the separator makes 3 streams" in said(mixtures)
    with monkeypatch.context() as patch:
        patch.setattr(Swapped, "gain", float("nan"))
        assert "mixa: the separator gives samples that are not finite" in said(mixtures)
    assert "chunks of 1 s can't overlap by 1 s" in said(
        mixtures, "--chunk_seconds", "1", "--overlap_seconds", "1"
    )
    stems = [row for row in read_index("mixtures/stems/shard.list", "shard") if row.key != "mixc-2"]
    pack(stems, mixtures / "stems/shards", mixtures / "stems/shard.list")
    assert "1 utterances are not in both lists: mixc-2" in said(mixtures)
    assert contents(Path("out")) == before


def test_mixtures_and_their_stems_are_not_written_over(mixtures, monkeypatch, capsys):
    before = contents(mixtures)
    for out in ("mixtures", "mixtures/stems", "mixtures/../mixtures"):
        said = refused(monkeypatch, capsys, separate, "--mixtures_dir", mixtures, "--out_dir", out)
        assert f"--out_dir {out}: holds the mixtures or their stems, which stay as they are" in said
    assert contents(mixtures) == before


@pytest.mark.parametrize("count", [0, -1])
def test_a_shard_has_a_mixture_or_more(mixtures, monkeypatch, capsys, count):
    words = ("--mixtures_dir", mixtures, "--out_dir", "out")
    run(monkeypatch, separate, *words)
    before = contents(Path("out"))
    assert "mixtures_per_shard" in refused(
        monkeypatch, capsys, separate, *words, f"--mixtures_per_shard={count}"
    )
    assert contents(Path("out")) == before


def test_one_separator_is_needed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words, exp = (
        ("--mixtures_dir", write_mixtures(tmp_path / "mixtures"), "--out_dir", "out"),
        trained(tmp_path),
    )
    for options in (
        [],
        exp[:2],
        exp[2:],
        [*exp, "--sepformer", "x"],
        ["--libri2mix", "x", "--model_path", "y"],
    ):
        assert "one separator is needed: " in refused(
            monkeypatch, capsys, separate, *words, *options
        )
    missing = refused(monkeypatch, capsys, separate, *words, "--libri2mix", "none.pt")
    assert "none.pt: not there; " in missing and "conv_tasnet_base_libri2mix.pt" in missing
    other = refused(monkeypatch, capsys, separate, *words, "--libri2mix", "model.pt")
    assert "model.pt: weights of another model" in other
    detector = Path(__file__).parents[2] / "conf/resnet18_small.yaml"
    wrong = refused(
        monkeypatch, capsys, separate, *words, "--config", detector, "--model_path", "model.pt"
    )
    assert "its system is a Detection without a separator" in wrong
    assert not Path("out").exists()


# SepFormer

TRANSFORMER = "{num_layers: 1, d_model: 8, nhead: 2, d_ffn: 8, norm_before: true}"
HYPERPARAMS = f"""
sample_rate: 8000
num_spks: 2
encoder: &encoder !new:speechbrain.lobes.models.dual_path.Encoder {{kernel_size: 16, out_channels: 8}}
masknet: &masknet !new:speechbrain.lobes.models.dual_path.Dual_Path_Model
  in_channels: 8
  out_channels: 8
  num_layers: 1
  K: 20
  intra_model: !new:speechbrain.lobes.models.dual_path.SBTransformerBlock {TRANSFORMER}
  inter_model: !new:speechbrain.lobes.models.dual_path.SBTransformerBlock {TRANSFORMER}
decoder: &decoder !new:speechbrain.lobes.models.dual_path.Decoder
  {{in_channels: 8, out_channels: 1, kernel_size: 16, stride: 8, bias: false}}
modules: {{encoder: !ref <encoder>, masknet: !ref <masknet>, decoder: !ref <decoder>}}
pretrainer: !new:speechbrain.utils.parameter_transfer.Pretrainer
  loadables: {{encoder: !ref <encoder>, masknet: !ref <masknet>, decoder: !ref <decoder>}}
"""


@pytest.fixture(scope="module", autouse=True)
def no_lazy_modules_are_left():
    """Some of SpeechBrain's raise when they are only looked at, as hypothesis does."""
    yield
    for name in [name for name in sys.modules if name.startswith("speechbrain")]:
        del sys.modules[name]


@pytest.fixture
def sepformer_folder(tmp_path):
    """A model in SpeechBrain's own format, and its modules."""
    try:
        import speechbrain.inference.separation  # noqa: F401
    except (ImportError, OSError, RuntimeError) as error:
        pytest.skip(f"SpeechBrain can't be imported: {error}")
    from hyperpyyaml import load_hyperpyyaml

    (tmp_path / "hyperparams.yaml").write_text(HYPERPARAMS)
    modules = load_hyperpyyaml(HYPERPARAMS)["modules"]
    for name, module in modules.items():
        torch.save(module.eval().state_dict(), tmp_path / f"{name}.ckpt")
    return tmp_path, modules


@torch.no_grad()
def test_a_sepformer_is_read_from_its_folder(sepformer_folder):
    folder, modules = sepformer_folder
    separator, wav_BT = SepFormer(str(folder)).eval(), noise(2, 1600)
    features_BNF = modules["encoder"](wav_BT)
    expected = [
        modules["decoder"](mask * features_BNF) for mask in modules["masknet"](features_BNF)
    ]
    torch.testing.assert_close(separator(wav_BT), torch.stack(expected, 1))
    assert (separator.sample_rate, separator.num_talkers) == (8000, 2) and separator(
        noise(1, 1603)
    ).shape == (1, 2, 1603)
    assert separator.to("meta")(torch.zeros(1, 160, device="meta")).device.type == "meta"


def test_a_folder_without_a_sepformer_is_named(sepformer_folder):
    folder, _ = sepformer_folder
    (folder / "masknet.ckpt").unlink()
    with pytest.raises(InputError, match=f"{folder}: no SepFormer of SpeechBrain: .*masknet.ckpt"):
        SepFormer(str(folder))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("num_spks: 2", "", "no attribute 'num_spks'"),
        (
            "dual_path.Encoder",
            "dual_path.Nothing",
            "no such class as speechbrain.lobes.models.dual_path.Nothing",
        ),
        ("kernel_size: 16, out", "kernel: 16, out", "Invalid argument to class"),
        ("modules: {", "modules: {{", "while parsing"),
    ],
)
def test_hyperparameters_that_are_no_sepformers_are_refused(sepformer_folder, old, new, said):
    folder, _ = sepformer_folder
    (folder / "hyperparams.yaml").write_text(HYPERPARAMS.replace(old, new, 1))
    with pytest.raises(InputError, match=f"{folder}: no SepFormer of SpeechBrain: .*{said}"):
        SepFormer(str(folder))


@pytest.mark.parametrize(
    "error", [ModuleNotFoundError("no torchaudio"), OSError("symbol"), RuntimeError("CUDA 13.0")]
)
def test_where_speechbrain_can_not_be_imported_it_is_said_how_to_get_it(monkeypatch, error):
    class Broken:
        def find_spec(self, name, path=None, target=None):
            if name.startswith("speechbrain"):
                raise error

    for name in [name for name in sys.modules if name.startswith("speechbrain")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    with pytest.raises(
        InputError, match=rf"pip install 'wedefense_lite\[separation\]', .*: {error}"
    ):
        SepFormer("folder")
