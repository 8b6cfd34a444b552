"""Front ends against other people's implementations of the same definitions, and as batches."""

import inspect
import math

import numpy as np
import pytest
import scipy.signal
import torch
from refvectors import OTHERS, needs

from wedefense_lite.files import InputError
from wedefense_lite.frontends import LFCC, Fbank, LogSpectrogram, MatlabLFCC, SpecAugment, spectral
from wedefense_lite.frontends.base import valid_mask
from wedefense_lite.frontends.spec_augment import NestedSpecAugment
from wedefense_lite.frontends.spectral import squared_spectrum

RATE = 16000
FRONTENDS = [Fbank, LFCC, LogSpectrogram]
rng = np.random.default_rng(0)
torch.set_num_threads(1)


def harmonic(seconds: float) -> np.ndarray:
    """A voice-like buzz: a moving pitch, a falling spectrum, syllables, and room noise at -60
    dB.
    """
    time = np.arange(round(seconds * RATE)) / RATE
    phase = 2 * np.pi * (120 * time + 5 * np.sin(2 * np.pi * 3 * time))
    buzz = sum(np.sin(number * phase) / number for number in range(1, 60))
    wav = 0.1 * buzz * (0.5 + 0.5 * np.sin(2 * np.pi * 4 * time)) + 1e-4 * rng.standard_normal(
        len(time)
    )
    return wav.astype(np.float32)


NOISE = (rng.standard_normal(RATE) * 0.1).astype(np.float32)
SIGNALS = {"noise": NOISE, "quiet": NOISE * 1e-3, "speech": harmonic(1.0)}


def frames_of(frontend, wav: np.ndarray) -> np.ndarray:
    frames, lengths = frontend(torch.from_numpy(wav)[None], torch.tensor([len(wav)]))
    assert frames.shape == (1, lengths.item(), frontend.dim)
    return frames[0].numpy()


# Measured: 7e-5 on noise, 1.4e-4 on quiet noise, 9e-3 on speech, in bins far under the loudest one,
# where the two Fourier transforms' rounding is what is left.
@pytest.mark.parametrize(("name", "atol"), [("noise", 3e-4), ("quiet", 1e-3), ("speech", 3e-2)])
def test_fbank_is_kaldis(name, atol):
    knf = pytest.importorskip("kaldi_native_fbank")
    options = knf.FbankOptions()
    options.frame_opts.dither = 0
    options.frame_opts.snip_edges = True
    options.mel_opts.num_bins = 80
    kaldi = knf.OnlineFbank(options)
    kaldi.accept_waveform(RATE, (SIGNALS[name] * 32768).tolist())
    kaldi.input_finished()
    expected = np.stack([kaldi.get_frame(number) for number in range(kaldi.num_frames_ready)])
    found = frames_of(Fbank(80, mean_norm=False), SIGNALS[name])
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)
    assert np.abs(found - expected).mean() < 1e-4


@pytest.mark.parametrize("name", SIGNALS)
def test_fbank_is_torchaudios(name):
    try:
        from torchaudio.compliance.kaldi import fbank
    except (ImportError, OSError, RuntimeError) as error:
        pytest.skip(f"torchaudio can't be imported beside this torch: {str(error)[:80]}")
    wav = torch.from_numpy(SIGNALS[name])[None] * 32768
    expected = fbank(wav, num_mel_bins=80, dither=0.0, sample_frequency=RATE).numpy()
    found = frames_of(Fbank(80, mean_norm=False), SIGNALS[name])
    np.testing.assert_allclose(found, expected, rtol=0, atol=3e-2)
    assert np.abs(found - expected).mean() < 1e-4


@needs("aasist/waveforms.npz", "lcnn/nii_lfcc_lcnn_lstm_sig_toy.npz")
def test_lfcc_is_the_nii_baselines():
    wavs = np.load(OTHERS / "aasist/waveforms.npz")["x"]
    reference = np.load(OTHERS / "lcnn/nii_lfcc_lcnn_lstm_sig_toy.npz")
    frames, _ = LFCC()(torch.from_numpy(wavs), torch.full((len(wavs),), wavs.shape[1]))
    assert frames.shape == tuple(reference["lfcc_shape"])
    np.testing.assert_allclose(frames[:, :100].numpy(), reference["lfcc"], rtol=0, atol=1e-3)


@pytest.mark.parametrize("fft_size", [512, 1024])
def test_log_spectrogram_is_scipys(fft_size):
    wav = SIGNALS["speech"].astype(np.float64)
    emphasised = np.append(wav[0], wav[1:] - 0.97 * wav[:-1])
    window, hop = 400, 160
    # Torch centres the window in the transform, scipy's segments are as long as the window.
    padded = np.pad(emphasised, window // 2)
    segments = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop][
        : 1 + len(wav) // hop
    ]
    windowed = segments * scipy.signal.get_window("hamming", window)
    expected = np.log(np.abs(np.fft.rfft(windowed, fft_size)) ** 2 + 1e-10)
    found = frames_of(LogSpectrogram(fft_size=fft_size, mean_norm=False), SIGNALS["speech"])
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-2)
    assert np.abs(found - expected).mean() < 1e-4


@pytest.mark.parametrize("mean_norm", [False, True])
@pytest.mark.parametrize("frontend", FRONTENDS)
def test_padding_changes_nothing(frontend, mean_norm):
    frontend = frontend(mean_norm=mean_norm)
    lengths = [RATE, 7000, 3211, 400]
    wav_BT = torch.zeros(len(lengths), RATE)
    for row, length in zip(wav_BT, lengths):
        row[:length] = torch.from_numpy(harmonic(length / RATE))
    frames, frame_lengths = frontend(wav_BT, torch.tensor(lengths))
    for row, length, frame, frame_length in zip(wav_BT, lengths, frames, frame_lengths):
        alone = frames_of(frontend, row[:length].numpy())
        assert len(alone) == frame_length
        np.testing.assert_allclose(frame[:frame_length].numpy(), alone, rtol=1e-5, atol=2e-3)
        assert (frame[frame_length:] == 0).all()


@pytest.mark.parametrize("is_training", [False, True])
@pytest.mark.parametrize("frontend", [*FRONTENDS, MatlabLFCC])
def test_parts_of_a_batch_have_the_bits_of_the_whole(frontend, is_training, monkeypatch):
    frontend = frontend().train(is_training)
    lengths_B = torch.tensor([3211, RATE, 7000, 900, 5000])
    wav_BT = torch.randn(5, RATE) * valid_mask(lengths_B, RATE)
    whole_BFD, whole_lengths_B = frontend(wav_BT, lengths_B)
    monkeypatch.setattr(spectral, "SAMPLES_OF_PART", 2 * RATE)
    parts_BFD, lengths_of_parts_B = frontend(wav_BT, lengths_B)
    assert torch.equal(parts_BFD, whole_BFD)
    assert torch.equal(lengths_of_parts_B, whole_lengths_B)


@pytest.mark.parametrize("frontend", FRONTENDS)
def test_mean_norm_takes_each_utterances_mean_away(frontend):
    plain = frames_of(frontend(mean_norm=False), SIGNALS["speech"])
    np.testing.assert_allclose(
        frames_of(frontend(mean_norm=True), SIGNALS["speech"]),
        plain - plain.mean(0),
        rtol=0,
        atol=1e-4,
    )


@pytest.mark.parametrize("frontend", FRONTENDS)
def test_hop_is_what_frames_are_apart(frontend):
    one, two = (len(frames_of(frontend(), NOISE[:count])) for count in (8000, 16000))
    assert (two - one) * frontend().hop_seconds == pytest.approx(0.5)


@pytest.mark.parametrize("frontend", FRONTENDS)
def test_too_short_an_utterance_is_refused(frontend):
    window = frontend().window_samples
    frontend()(torch.zeros(2, window), torch.tensor([window, window]))
    with pytest.raises(ValueError, match=f"{window - 1} samples are too short .* {window}"):
        frontend()(torch.zeros(2, window), torch.tensor([window, window - 1]))


@pytest.mark.parametrize("frontend", [LFCC, LogSpectrogram, MatlabLFCC])
def test_windows_longer_than_the_transform_are_refused(frontend):
    expected = f"{frontend.__name__}: windows of 960 samples, expected at most fft_size, 512"
    with pytest.raises(InputError, match=expected):
        frontend(sample_rate=48000, frame_ms=20.0)
    assert frontend(sample_rate=48000, frame_ms=20.0, fft_size=1024).window_samples == 960


@pytest.mark.parametrize("frontend", FRONTENDS)
def test_front_ends_stay_in_float32_under_autocast(frontend):
    wav = torch.from_numpy(SIGNALS["speech"])[None]
    with torch.autocast("cpu", torch.bfloat16):
        frames, _ = frontend()(wav, torch.tensor([RATE]))
    assert frames.dtype == torch.float32
    assert torch.equal(frames, frontend()(wav, torch.tensor([RATE]))[0])


def test_valid_mask():
    assert valid_mask(torch.tensor([1, 3]), 3).tolist() == [[True, False, False], [True] * 3]


def masked(times: int, bins: int, batch: int = 300, **options) -> torch.Tensor:
    """Where SpecAugment changed frames whose every value differs from their mean."""
    frames = (
        torch.arange(batch * times * bins, dtype=torch.float64).reshape(batch, times, bins) + 0.25
    )
    return SpecAugment(p=1.0, **options).train()(frames) != frames


def longest_run(row: torch.Tensor) -> int:
    return max(map(len, "".join("01"[int(value)] for value in row).split("0")))


def test_spec_augment_masks_bands_within_its_limits():
    only_time = masked(50, 21, frequency_masks=0, max_frames=10)
    assert (only_time == only_time[:, :, :1]).all()
    widths = [longest_run(row) for row in only_time[:, :, 0]]
    assert widths == only_time[:, :, 0].sum(1).tolist()
    assert set(widths) == set(range(11))
    only_frequency = masked(50, 21, time_masks=0, max_bins=8)
    assert (only_frequency == only_frequency[:, :1]).all()
    assert {longest_run(row) for row in only_frequency[:, 0]} == set(range(9))
    assert only_time[:, 0].any() and only_time[:, -1].any(), (
        "bands reach the first and the last frame"
    )


def test_spec_augment_masks_each_utterance_otherwise_and_some_not():
    torch.manual_seed(0)
    masks = masked(50, 21).flatten(1)
    assert len(torch.unique(masks, dim=0)) > 250
    frames = torch.rand(4000, 30, 9)
    share = (SpecAugment(p=0.25).train()(frames) != frames).flatten(1).any(1).float().mean()
    assert 0.22 < share < 0.28


def test_spec_augment_puts_the_mean_in_and_only_in_training():
    frames = torch.rand(5, 30, 9)
    augment = SpecAugment(p=1.0, max_frames=30, max_bins=9)
    assert torch.equal(augment.eval()(frames), frames)
    changed = augment.train()(frames)
    mean = frames.mean((1, 2), keepdim=True)
    assert torch.equal(torch.where(changed == frames, mean, changed), mean.expand_as(frames))
    assert (changed != frames).any()


def test_nested_bands_are_as_long_and_as_frequent_as_in_their_code():
    torch.manual_seed(0)
    frames = torch.ones(20000, 100, 30)
    masked = NestedSpecAugment(p=0.25, max_frames=8, max_bins=6).train()(frames) == 0
    in_time = masked.all(2)
    in_frequency = masked.all(1)
    assert torch.equal(masked, in_time[:, :, None] | in_frequency[:, None, :])
    widths = in_time.sum(1)
    assert all(longest_run(row) == row.sum() for row in in_time[:300])
    # Longer bands of 2 to 7 frames, each as often; of one of n, widths 0 to n - 1, each as often.
    expected = [0.0] * 7
    for longer in range(2, 8):
        for width in range(longer):
            expected[width] += 0.25 / 6 / longer
    expected[0] += 0.75
    shares = torch.bincount(widths, minlength=7) / len(widths)
    assert shares.tolist() == pytest.approx(expected, abs=0.01)
    assert in_frequency.sum(1).max() == 4  # longer bands of 2 to 5 features
    both = (in_time.any(1) & in_frequency.any(1)).float().mean()
    assert both == pytest.approx(float(in_time.any(1).float().mean() ** 2), abs=0.02)
    augment = NestedSpecAugment(p=1.0).eval()
    assert torch.equal(augment(frames[:2]), frames[:2])


def test_nested_bands_of_a_short_utterance_are_within_it():
    torch.manual_seed(0)
    masked = NestedSpecAugment(p=1.0).train()(torch.ones(200, 9, 5)) == 0
    assert masked.shape == (200, 9, 5) and masked.any() and not masked.all()


def test_spec_augment_keeps_the_gradient_of_its_input():
    frames = torch.rand(4, 30, 9, requires_grad=True)
    SpecAugment(p=1.0).train()(frames).square().sum().backward()
    assert (frames.grad != 0).float().mean() > 0.9


def test_defaults_are_the_fields_own():
    """25 ms every 10 ms, and the 2019 baseline's LFCC: 20 ms, 20 filters, 512 points, 60 values."""
    assert (Fbank().window_samples, Fbank().hop_samples, Fbank().dim) == (400, 160, 80)
    assert (LFCC().window_samples, LFCC().fft_size, LFCC().dim) == (320, 512, 60)
    assert LogSpectrogram().dim == 257
    assert inspect.signature(SpecAugment).parameters["p"].default < 1


def test_dither_is_noise_of_its_size_in_training_alone():
    frontend = Fbank(dither=2.0, mean_norm=False)
    wav_BT = torch.zeros(1, RATE)
    lengths_B = torch.tensor([RATE])
    silent_BFD, _ = frontend.eval()(wav_BT, lengths_B)
    torch.manual_seed(0)
    dithered_BFD, _ = frontend.train()(wav_BT, lengths_B)
    torch.manual_seed(0)
    again_BFD, _ = frontend(wav_BT, lengths_B)
    torch.testing.assert_close(dithered_BFD, again_BFD, rtol=0, atol=0)
    torch.manual_seed(0)
    twice_BFD, _ = Fbank(dither=4.0, mean_norm=False).train()(wav_BT, lengths_B)
    assert (silent_BFD < -15).all()
    torch.testing.assert_close(twice_BFD - dithered_BFD, torch.full_like(twice_BFD, math.log(4)))


def test_soft_bins_keep_their_digits_beside_loud_ones_in_scoring():
    """A float32 transform rounds each bin by a share of the loudest one."""
    time_W = np.arange(400) / 16000
    window_W = np.hanning(400) * (1e4 * np.sin(2 * np.pi * 200 * time_W) + time_W)
    windows_1FW = torch.from_numpy(window_W.astype(np.float32))[None, None]
    expected_Q = np.abs(np.fft.rfft(windows_1FW[0, 0].double().numpy(), 512)) ** 2
    power_Q = squared_spectrum(windows_1FW, 512, is_training=False)[0, 0]
    assert power_Q.dtype == torch.float32
    assert expected_Q.max() / expected_Q.min() > 1e12
    np.testing.assert_allclose(power_Q, expected_Q, rtol=1e-6)
