"""Labels of samples: made from segments, moved with the samples, read at any resolution."""

import io

import numpy as np
import pytest
import soundfile as sf
import torch
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from wedefense_lite.audio.segments import Segments
from wedefense_lite.audio.tracks import by_overlap, make_track, with_segments
from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.augment.signal import Speed
from wedefense_lite.files import InputError
from wedefense_lite.systems.config import DataConfig
from wedefense_lite.systems.samples import read_training_batch
from wedefense_lite.training.loader import TrainLoader

RATE, FRAME = 16000, 320


def segments(*rows) -> Segments:
    return Segments(*map(np.array, zip(*rows)))


def spoken(parts: list[tuple[int, int]], key: str = "utt") -> Utterance:
    """An utterance whose samples show their class: 0.5 where bona fide, -0.5 where spoofed."""
    ends = np.cumsum([length for length, _ in parts])
    wav = np.concatenate([np.full(length, label - 0.5) for length, label in parts])
    sf.write(file := io.BytesIO(), wav, RATE, format="WAV")
    rows = [((end - length) / RATE, end / RATE, label) for end, (length, label) in zip(ends, parts)]
    return Utterance(
        key,
        "memory",
        samples=len(wav),
        label="spoof",
        data=file.getvalue(),
        segments=segments(*rows),
    )


PARTS = st.lists(st.tuples(st.integers(300, 6000), st.integers(0, 1)), min_size=1, max_size=6)


@examples(150)
@given(
    st.lists(PARTS, min_size=1, max_size=2),
    st.sampled_from([0.0, 0.05, 0.3, 0.61]),
    st.sampled_from(["repeat", "zero"]),
    st.sampled_from([None, (0.9, 1.1), (0.5, 2.0)]),
    st.tuples(st.sampled_from(["random", "first"]), st.booleans()),
    st.integers(1, 1000),
)
def test_labels_are_within_a_frame_of_their_samples(
    utterances, crop_seconds, pad, factor, crop, seed
):
    """Through crop, pad, repeat, speed and framing."""
    place, augment_whole = crop
    config = DataConfig(
        crop_seconds=crop_seconds,
        crop=place,
        pad=pad,
        augment=[Speed(0.8, factor)] if factor else [],
        augment_whole=augment_whole,
    )
    batch = read_training_batch(
        [(spoken(parts), (seed, 1, place)) for place, parts in enumerate(utterances, 1)], config
    )
    assert batch.track_BT.shape == batch.wav_BT.shape
    wav_BT = batch.to("cpu").wav_BT
    for label_G, wav_T, length in zip(by_overlap(batch.track_BT, FRAME), wav_BT, batch.lengths_B):
        assert len(label_G) == -(-len(wav_T) // FRAME)
        for place, label in enumerate(label_G.tolist()):
            frame = wav_T[place * FRAME : (place + 1) * FRAME]
            around = wav_T[max(0, (place - 1) * FRAME) : (place + 2) * FRAME]
            assert (label == -1) == (place * FRAME >= length)
            if label == 0:
                assert (around < -0.2).any(), (
                    f"frame {place} is labelled spoof, and no spoof is near"
                )
            if label == 1:
                assert (frame[: length - place * FRAME] > -0.2).any(), (
                    f"frame {place} is all spoof, labelled bona fide"
                )
                assert (around > 0.2).any()


def test_repeated_audio_repeats_its_labels():
    config = DataConfig(crop_seconds=0.1)
    batch = read_training_batch([(spoken([(400, 1), (200, 0)]), (1, 1, 1))], config)
    expected = np.resize(np.repeat([1, 0], [400, 200]), 1600)
    np.testing.assert_array_equal(batch.track_BT[0], expected)
    np.testing.assert_array_equal(batch.wav_BT[0] > 0, expected)


def test_a_frame_is_spoof_if_any_of_it_is_and_nothing_without_audio():
    track = torch.tensor([[1, 1, 1, 0, 1, -1, -1, -1, 1], [0] * 9], dtype=torch.int8)
    assert by_overlap(track, 2).tolist() == [[1, 0, 1, -1, 1], [0] * 5]
    assert by_overlap(track, 4).tolist() == [[0, 1, 1], [0] * 3]
    assert by_overlap(by_overlap(track, 2), 2).tolist() == by_overlap(track, 4).tolist()


def test_the_track_of_a_part_begins_where_the_part_does():
    parts = segments((0, 0.001, 1), (0.001, 0.002, 0))
    np.testing.assert_array_equal(make_track(parts, 10, 26, RATE), [1] * 6 + [0] * 16 + [-1] * 4)
    nothing = Segments(np.zeros(0), np.zeros(0), np.zeros(0, dtype=int))
    np.testing.assert_array_equal(make_track(nothing, 0, 2, RATE), [-1, -1])


LINE = "SPEAKER {} 1 0 {} <NA> <NA> spoof <NA> <NA>\n"


@pytest.mark.parametrize(
    ("rttm", "message"),
    [
        (LINE.format("other", 1), "the segments of utt end at 0 s, its audio at 1 s"),
        (LINE.format("utt", 0.94), "the segments of utt end at 0.94 s, its audio at 1 s"),
        (LINE.format("utt", 1.06), "the segments of utt end at 1.06 s, its audio at 1 s"),
    ],
)
def test_segments_that_are_not_the_audios_are_refused_by_name(tmp_path, rttm, message):
    (tmp_path / "a.rttm").write_text(rttm)
    with pytest.raises(InputError, match=message):
        with_segments([Utterance("utt", "utt.wav", samples=RATE)], tmp_path / "a.rttm", RATE)
    with pytest.raises(InputError, match="the length of utt is not known"):
        with_segments([Utterance("utt", "utt.wav")], tmp_path / "a.rttm", RATE)


def test_the_prior_is_of_the_time_that_sampling_delivers():
    index = [spoken([(3000, 1), (1000, 0)]), spoken([(500, 0)]), spoken([(1500, 1)])]
    prior = [
        TrainLoader(index, DataConfig(crop_seconds=seconds), seed=1).class_prior[0]
        for seconds in (1.0, 0.0)
    ]
    assert prior == pytest.approx([(0.25 + 1 + 0) / 3, 1500 / 6000])
    with pytest.raises(InputError, match="all bonafide"):
        TrainLoader(index[2:], DataConfig(), seed=1)
