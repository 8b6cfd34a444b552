"""Mixtures as data: what a plan holds, and that its audio is what the plan says."""

import re
from dataclasses import replace

import numpy as np
import pytest
import soundfile as sf
from commands import refused, run
from corpora import RATE, tone
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from wedefense_lite.audio.data_dir import Trial, check_data_dirs, write_data_dirs
from wedefense_lite.audio.index import read_index
from wedefense_lite.audio.reading import read
from wedefense_lite.audio.utterance import Utterance
from wedefense_lite.bin.simulate_mixtures import simulate_mixtures
from wedefense_lite.files import InputError, read_table, write_table
from wedefense_lite.mixtures.plan import Mixture, Talker, read_plan, write_plan
from wedefense_lite.mixtures.planner import (
    MIN_AUDIBLE_SECONDS,
    PRESETS,
    Planner,
    Recipe,
    Source,
    overlap_share,
    place_talkers,
)
from wedefense_lite.mixtures.rendering import active_power, render_mixture

PUBLISHED = PRESETS["two_talker_published"]
# Two speakers of each class, and a third, s0, of both; spoofs are of A01, but for two of A02.
SPEAKERS = {"bonafide": ["s0", "s1", "s1", "s2"], "spoof": ["s0", "s3", "s3", "s4"]}


def write_corpus(folder, name="train", first=0):
    """``folder/<name>``: four utterances of each class, of 1.1 to 1.8 s."""
    trials = []
    for number in range(8):
        key, label = f"u{first + number}", ("bonafide", "spoof")[number % 2]
        wav = folder / "audio" / f"{key}.flac"
        wav.parent.mkdir(parents=True, exist_ok=True)
        sf.write(wav, tone(first + number, 18000 + 1601 * number), RATE)
        attack = "-" if label == "bonafide" else "A01" if number < 5 else "A02"
        trials.append(Trial(key, str(wav), label, SPEAKERS[label][number // 2], attack))
    write_data_dirs(folder, {name: trials})
    return str(folder / name)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture
def simulate(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return lambda *words: run(monkeypatch, simulate_mixtures, "--plan", "plan.tsv", *words)


def sources(count=40):
    """Four utterances a speaker, alternately bona fide and spoofed, of 2 to 6 s."""
    return [
        Source(
            f"u{n}",
            "",
            ("bonafide", "spoof")[n % 2],
            2 + n % 5,
            f"s{n // 4}",
            f"A{n % 4}" if n % 2 else None,
        )
        for n in range(count)
    ]


def planned(recipe, count, of=None, seed=1, **files):
    return Planner(of or sources(), recipe, np.random.default_rng(seed), **files).plan("mix", count)


# Plans


def test_the_published_preset_samples_as_published():
    plan = planned(PUBLISHED, 30000)
    classes = [mixture.label for mixture in plan]
    assert [classes.count(name) / 30000 for name in ("SS", "SB", "BB")] == [0.25, 0.5, 0.25]
    seconds = {one.key: one.seconds for one in sources()}
    offsets = []
    for mixture in plan:
        offsets.append([talker.offset for talker in mixture.talkers])
    offsets = np.array(offsets)
    assert np.all(offsets.min(axis=1) == 0)
    assert kstest(offsets.max(axis=1), "uniform").pvalue > 0.001
    assert abs(np.mean(offsets[:, 0] > 0) - 0.5) < 0.01
    gains = [talker.gain for mixture in plan for talker in mixture.talkers]
    assert kstest(gains, "uniform", args=(0.7, 0.6)).pvalue > 0.001
    for mixture in plan:
        assert mixture.seconds == round(
            min(one.offset + seconds[one.source] for one in mixture.talkers), 4
        )
        assert (
            mixture.label == "".join(sorted(one.label[0].upper() for one in mixture.talkers))[::-1]
        )
        assert mixture.talkers[0].source != mixture.talkers[1].source
    spoof_first = [one.talkers[0].label == "spoof" for one in plan if one.label == "SB"]
    assert abs(np.mean(spoof_first) - 0.5) < 0.02


def test_talkers_are_placed_as_worked_out_by_hand():
    assert place_talkers([3.0, 2.0], "min", [0.0, 1.5]) == ([0.0, 1.5], 3.0, 0.5)
    assert place_talkers([3.0, 2.0], "max", [0.0, 1.5]) == ([0.0, 1.5], 3.5, 1.5 / 3.5)
    assert place_talkers([3.0, 2.0], "max", [0.0, 1.5], overlap=0) == ([0.0, 3.0], 5.0, 0.0)
    offsets, seconds, share = place_talkers([3.0, 3.0], "max", [0.0, 0.0], overlap=0.5)
    assert (offsets, seconds, share) == (
        pytest.approx([0, 1], abs=1e-3),
        pytest.approx(4, abs=1e-3),
        pytest.approx(0.5, abs=1e-3),
    )
    assert place_talkers([3.0, 2.0], "min", [0.0, 0.0], overlap=1.0) == ([0.0, 0.0], 2.0, 1.0)
    # Of 3 s the other fills at most 2.
    assert place_talkers([3.0, 2.0], "max", [0.0, 0.0], overlap=1.0)[2] == pytest.approx(2 / 3)


def test_overlap_is_time_in_which_two_or_more_talk():
    assert overlap_share([0, 1, 2], [4, 3, 3], seconds=5) == pytest.approx(2 / 5)
    assert overlap_share([0, 1, 6], [2, 3, 8], seconds=8) == pytest.approx(1 / 8)
    assert overlap_share([0, 1], [9, 9], seconds=2) == pytest.approx(1 / 2)


@given(
    st.lists(st.integers(20, 99), min_size=2, max_size=5),
    st.floats(0, 1),
    st.sampled_from(["min", "max"]),
)
def test_overlap_is_the_one_asked_for_or_the_largest_there_is(tenths, overlap, length):
    durations = [tenth / 10 for tenth in tenths]
    delays = [0.0] * len(durations)
    offsets, seconds, share = place_talkers(durations, length, delays, overlap)
    _, _, largest = place_talkers(durations, length, delays)
    assert min(offsets) == 0 and 0 <= share <= 1
    assert (
        share == pytest.approx(overlap, abs=0.01)
        or share == pytest.approx(largest)
        or len(tenths) > 2
    )
    ends = [offset + duration for offset, duration in zip(offsets, durations)]
    assert seconds <= max(ends) + 1e-4


def test_a_conversation_has_two_to_five_different_speakers_who_overlap_in_part():
    plan = planned(PRESETS["conversation"], 400)
    assert {len(mixture.talkers) for mixture in plan} == {2, 3, 4, 5}
    for mixture in plan:
        assert len({talker.speaker for talker in mixture.talkers}) == len(mixture.talkers)
    assert max(mixture.overlap for mixture in plan) < 0.61
    assert {mixture.label for mixture in plan if len(mixture.talkers) == 3} == {
        "SSS",
        "SSB",
        "SBB",
        "BBB",
    }


def test_attacks_are_balanced_on_request():
    rare = [
        Source(f"u{n}", "", "spoof", 3.0, f"s{n}", "A02" if n == 0 else "A01") for n in range(50)
    ]

    def share_of_rare_attack(balanced: bool) -> float:
        recipe = Recipe(shares=[1, 0, 0], balanced_attacks=balanced).over(PUBLISHED)
        attacks = []
        for mixture in planned(recipe, 400, rare):
            attacks.extend(talker.attack for talker in mixture.talkers)
        return attacks.count("A02") / 800

    assert share_of_rare_attack(balanced=False) < 0.06  # 1 in 50
    # 1 in 3: A02 has one utterance, which is not mixed with itself.
    assert 0.25 < share_of_rare_attack(balanced=True) < 0.42


def test_a_room_is_of_one_mixture_and_each_talker_has_a_place_in_it():
    rirs = ["a-1", "a-2", "b-1", "b-2", "b-3", "c-1"]
    for mixture in planned(PUBLISHED, 50, rirs=rirs, noises={"n1": 10.0}):
        one, other = (talker.rir for talker in mixture.talkers)
        assert one != other and one[0] == other[0] != "c"
        assert mixture.noise == "n1" and 5 <= mixture.snr <= 20
        assert 0 <= mixture.noise_offset <= 10 - mixture.seconds


def test_sex_is_said_where_it_is_known():
    people = [
        Source(f"u{n}", "", "spoof", 3.0, f"s{n}", None, gender)
        for n, gender in enumerate(["f", "f", "m", None])
    ]
    genders = {one.key: one.gender for one in people}
    for mixture in planned(replace(PUBLISHED, shares=[1, 0, 0]), 40, people):
        found = {genders[talker.source] for talker in mixture.talkers}
        assert mixture.sex == (
            None if None in found else "same" if len(found) == 1 else "different"
        )


def test_a_plan_is_read_as_it_was_written(tmp_path):
    recipe = replace(PRESETS["conversation"], gain=(0.7, 1.3))
    plan = planned(recipe, 20, rirs=list("abcde"), noises={"n": 9.0})
    write_plan(tmp_path / "plan.tsv", plan)
    again = read_plan(tmp_path / "plan.tsv")
    write_plan(tmp_path / "again.tsv", again)
    assert (tmp_path / "again.tsv").read_text() == (tmp_path / "plan.tsv").read_text()
    # Drawn numbers are those of the file; None stands for the level differences, unknown so far.
    assert again == plan


BAD_NUMBERS = [("seconds", "-1"), ("offset_1", "-1")]
for column in ("seconds", "offset_1", "gain_1", "overlap"):
    BAD_NUMBERS.extend((column, cell) for cell in ("inf", "-inf", "nan", "1e300", "1_0"))


@pytest.mark.parametrize(("column", "cell"), BAD_NUMBERS)
def test_a_plan_of_numbers_that_no_audio_has_is_refused(tmp_path, column, cell):
    write_plan(tmp_path / "plan.tsv", planned(PUBLISHED, 2))
    lines = (tmp_path / "plan.tsv").read_text().splitlines()
    cells = lines[1].split("\t")
    cells[lines[0].split("\t").index(column)] = cell
    (tmp_path / "plan.tsv").write_text("\n".join([lines[0], "\t".join(cells), *lines[2:], ""]))
    with pytest.raises(InputError, match=r"plan\.tsv"):
        read_plan(tmp_path / "plan.tsv")


def test_the_published_table_of_an_earlier_plan_is_removed(tmp_path):
    write_plan(tmp_path / "plan.tsv", planned(PUBLISHED, 2))
    assert (tmp_path / "plan.metadata.tsv").exists()
    three = Recipe(3, [0.25, 0.25, 0.25, 0.25], 1.0).over(PRESETS["conversation"])
    write_plan(tmp_path / "plan.tsv", planned(three, 2))
    assert not (tmp_path / "plan.metadata.tsv").exists()


def test_without_out_dir_only_the_plan_is_written(simulate, corpus, tmp_path):
    words = "--data_dir", corpus, "--num_mixtures", 8
    simulate(*words)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plan.metadata.tsv", "plan.tsv"]
    plan, metadata = (
        (tmp_path / name).read_text().splitlines() for name in ("plan.tsv", "plan.metadata.tsv")
    )
    assert plan[0].split("\t") == (
        "mixture label seconds source_1 label_1 speaker_1 attack_1 offset_1 gain_1 "
        "source_2 label_2 speaker_2 attack_2 offset_2 gain_2 overlap level_difference sex"
    ).split()  # fmt: skip
    assert metadata[0].split("\t") == "mixture file1 label1 file2 label2 mixed_label".split()
    first = dict(zip(plan[0].split("\t"), plan[1].split("\t")))
    assert re.fullmatch("mix_train_[0-9a-f]{6}_0000001", first["mixture"])
    columns = "mixture source_1 label_1 source_2 label_2 label".split()
    assert metadata[1].split("\t") == [first[column] for column in columns]
    simulate(*words)
    assert (tmp_path / "plan.tsv").read_text().splitlines() == plan
    simulate(*words, "--seed", 2)
    assert (tmp_path / "plan.tsv").read_text().splitlines() != plan


def test_utterances_of_other_plans_are_not_used_again(simulate, corpus, tmp_path):
    simulate("--data_dir", corpus, "--num_mixtures", 1, "--shares", 0, 1, 0)
    used = {talker.source for talker in read_plan("plan.tsv")[0].talkers}
    (tmp_path / "plan.tsv").rename("other.tsv")
    simulate("--data_dir", corpus, "--num_mixtures", 40, "--exclude", "other.tsv")
    assert used.isdisjoint(
        talker.source for mixture in read_plan("plan.tsv") for talker in mixture.talkers
    )


# Audio


def two_sources(folder, wavs, **changes):
    """A mixture of an SB pair at 1 kHz, the second 2 samples late, and the files that it needs."""
    files = {}
    for number, wav in enumerate(wavs):
        sf.write(folder / f"{number}.wav", np.asarray(wav, dtype=np.float64), 1000, subtype="FLOAT")
        files["source", f"u{number}"] = Utterance(f"u{number}", str(folder / f"{number}.wav"))
    talkers = [
        Talker("u0", "spoof", "-", "-", 0.0, 1.0),
        Talker("u1", "bonafide", "-", "-", 0.002, 0.5),
    ]
    return replace(Mixture("m", "SB", 0.005, talkers, 0.0), **changes), files


def test_samples_are_those_worked_out_by_hand(tmp_path):
    mixture, files = two_sources(tmp_path, [[0.2, 0.2, 0.2, 0.2, 0.2, 0.9], [0.4, 0.2, -0.4, 0.9]])
    wav, stems = render_mixture(mixture, files, 1000)
    # The sum is .2 .2 .4 .3 .0, and .9 of full scale (32767) at its peak.
    full = 0.9 * 32767 / 0.4
    assert stems.tolist() == [
        [round(0.2 * full)] * 5,
        [0, 0, round(0.2 * full), round(0.1 * full), -round(0.2 * full)],
    ]
    assert wav.tolist() == stems.sum(axis=0).tolist()
    assert wav.dtype == stems.dtype == np.int16


def test_a_stem_louder_than_its_mixture_fits(tmp_path):
    mixture, files = two_sources(tmp_path, [[0.0, 0.0, 1.0, 0.0, 0.0], [-1.8, 0.0, 0.0]])
    wav, stems = render_mixture(mixture, files, 1000)
    assert stems[0].tolist() == [0, 0, 32767, 0, 0]
    assert stems[1].tolist() == [0, 0, -29490, 0, 0]
    assert wav[2] == 32767 - 29490


def test_a_talker_is_as_loud_as_planned_while_it_talks():
    pauses = np.concatenate([np.full(1600, 0.5), np.zeros(16000), np.full(1600, -0.5)])
    assert active_power(pauses, RATE) == pytest.approx(0.25)
    assert active_power(np.zeros(3), RATE) == 0


def test_silence_is_mixed_as_silence(tmp_path):
    mixture, files = two_sources(tmp_path, [[0.0] * 5, [0.0] * 3])
    wav, stems = render_mixture(mixture, files, 1000)
    assert not wav.any() and not stems.any()


def test_noise_is_at_its_ratio_from_its_offset_and_repeated(tmp_path):
    mixture, files = two_sources(tmp_path, [[0.2, -0.2, 0.2, -0.2, 0.2], [0.4, 0.2, -0.4]])
    sf.write(tmp_path / "n.wav", np.array([0.9, 0.1, -0.3]), 1000, subtype="FLOAT")
    noisy = replace(mixture, noise="n", snr=6.0, noise_offset=0.001)
    wav, stems = render_mixture(
        noisy, files | {("noise", "n"): Utterance("n", str(tmp_path / "n.wav"))}, 1000
    )
    noise, talk = wav.astype(float) - stems.sum(axis=0), stems.sum(axis=0).astype(float)
    assert noise / noise[0] == pytest.approx([1, -3, 1, -3, 1], rel=1e-3)
    assert 10 * np.log10(np.sum(talk**2) / np.sum(noise**2)) == pytest.approx(6, abs=0.01)


def test_noise_that_ends_before_its_offset_is_no_silence(tmp_path):
    mixture, files = two_sources(tmp_path, [[0.2] * 5, [0.4] * 3])
    sf.write(tmp_path / "n.wav", np.array([0.9, 0.1, -0.3]), 1000, subtype="FLOAT")
    files["noise", "n"] = Utterance("n", str(tmp_path / "n.wav"))
    noisy = replace(mixture, noise="n", snr=6.0, noise_offset=0.003)
    with pytest.raises(
        InputError, match=r"its noise begins at 0\.003 s, after the end of .*n\.wav"
    ):
        render_mixture(noisy, files, 1000)


def test_a_room_is_convolved_and_levels_are_set(tmp_path):
    mixture, files = two_sources(tmp_path, [[0.2, 0.0, 0.0, 0.0, 0.0], [0.4, 0.2, -0.4]])
    sf.write(tmp_path / "r.wav", np.array([0.0, 0.8, 0.4]), 1000, subtype="FLOAT")
    first, other = mixture.talkers
    talkers = [first._replace(rir="r"), other._replace(gain=0.0)]
    wav, _ = render_mixture(
        replace(mixture, talkers=talkers),
        files | {("rir", "r"): Utterance("r", str(tmp_path / "r.wav"))},
        1000,
    )
    assert wav / wav[0] == pytest.approx([1, 0.5, 0, 0, 0], abs=1e-3)


@pytest.fixture(scope="module")
def rendered_corpus(corpus, tmp_path_factory):
    """Mixtures for two shards, rendered."""
    folder = tmp_path_factory.mktemp("rendered")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        words = (
            "--data_dir",
            corpus,
            "--plan",
            "plan.tsv",
            "--num_mixtures",
            120,
            "--level_db",
            -30,
            -20,
        )
        run(
            patch,
            simulate_mixtures,
            *words,
            "--different_speakers",
            "true",
            "--out_dir",
            "mix",
            "--nj",
            1,
        )
    return folder


def contents(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def samples(folder, name):
    rows = read_index(
        str(folder / name / "shard.list"), "shard", read_table(folder / name / "utt2lab")
    )
    return {row.key: read(row, RATE).astype(int) for row in rows}


def test_stems_add_up_to_the_mixture_and_are_silent_outside_of_their_time(
    rendered_corpus, monkeypatch
):
    monkeypatch.chdir(rendered_corpus)
    whole, stems = (samples(rendered_corpus, name) for name in ("mix", "mix/stems"))
    plan = read_plan("mix/plan.tsv")
    assert len(whole) == 120 and len(stems) == 240
    for mixture in plan:
        own = [stems[f"{mixture.mixture}-{place}"] for place in (1, 2)]
        assert np.array_equal(sum(own), whole[mixture.mixture])
        assert len(own[0]) == round(mixture.seconds * RATE)
        for talker, stem in zip(mixture.talkers, own):
            assert (
                not stem[: round(talker.offset * RATE)].any()
                and stem[round(talker.offset * RATE) :].any()
            )
        levels = [talker.level + 20 * np.log10(talker.gain) for talker in mixture.talkers]
        assert mixture.level_difference == pytest.approx(abs(levels[0] - levels[1]), abs=0.05)


def test_both_folders_are_data_directories(rendered_corpus, monkeypatch):
    monkeypatch.chdir(rendered_corpus)
    check_data_dirs(["mix", "mix/stems"])
    talker = read_plan("plan.tsv")[4].talkers[1]
    tables = {
        name: next(
            v for k, v in read_table(f"mix/stems/{name}").items() if k.endswith("_0000005-2")
        )
        for name in ("utt2lab", "utt2spk", "utt2attack")
    }
    assert tables == {
        "utt2lab": talker.label,
        "utt2spk": talker.speaker,
        "utt2attack": talker.attack or "-",
    }
    for mixture in read_plan("plan.tsv"):
        label = "bonafide" if mixture.label == "BB" else "spoof"
        assert read_table("mix/utt2lab")[mixture.mixture] == label
    assert not any((rendered_corpus / "mix" / name).exists() for name in ("wav.scp", "utt2spk"))


def test_a_plan_rendered_again_by_any_number_of_processes_has_the_same_bytes(
    rendered_corpus, monkeypatch, corpus
):
    monkeypatch.chdir(rendered_corpus)
    before = contents(rendered_corpus / "mix")
    plan = (rendered_corpus / "plan.tsv").read_bytes()
    again = (
        "--data_dir",
        corpus,
        "--plan",
        "plan.tsv",
        "--render_only",
        "--seed",
        9,
        "--out_dir",
        "mix",
        "--nj",
        2,
    )
    run(monkeypatch, simulate_mixtures, *again)
    assert (rendered_corpus / "plan.tsv").read_bytes() == plan
    assert contents(rendered_corpus / "mix") == before


def test_a_list_of_shards_must_be_that_of_the_labels(rendered_corpus, monkeypatch, tmp_path):
    monkeypatch.chdir(rendered_corpus)
    for name in ("shard.list", "utt2lab"):
        (tmp_path / name).write_text((rendered_corpus / "mix" / name).read_text())
    check_data_dirs([tmp_path])
    (tmp_path / "shard.list").write_text("mix/shards/shards_000000000.tar\n")
    with pytest.raises(InputError, match="shard.list: 20 utterances are not in both lists"):
        check_data_dirs([tmp_path])


# What can't be done is said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--talkers 1", "talkers is 1, expected values of 2 to 5"),
        ("--talkers 3 2", "talkers is [3, 2], expected"),
        ("--overlap 0 2", "overlap is (0.0, 2.0), expected values of 0 to 1"),
        ("--shares 1 1", "shares are [1.0, 1.0], expected one for each of ['SS', 'SB', 'BB']"),
        (
            "--talkers 5 --different_speakers true --shares 1 0 0 0 0 0",
            "no SSSSS of different speakers",
        ),
        ("--overlap 0 0", "of different utterances, each heard for 0.1 s"),
    ],
)  # fmt: skip
def test_a_recipe_that_cannot_be(monkeypatch, capsys, tmp_path, corpus, words, message):
    plan = tmp_path / "plan.tsv"
    said = refused(
        monkeypatch, capsys, simulate_mixtures, "--data_dir", corpus, "--plan", plan, *words.split()
    )
    assert message in said
    assert not plan.exists()


def test_a_corpus_that_lacks_what_mixtures_need(monkeypatch, capsys, tmp_path, corpus):
    def said(*folders, options=()):
        words = "--data_dir", *folders, "--plan", tmp_path / "plan.tsv", *options
        return refused(monkeypatch, capsys, simulate_mixtures, *words)

    assert "8 utterances are there more than once: u0" in said(corpus, corpus)
    other = write_corpus(tmp_path, "other", first=50)
    run(
        monkeypatch, simulate_mixtures, "--data_dir", corpus, other, "--plan", tmp_path / "both.tsv"
    )
    used = {
        talker.source for mixture in read_plan(tmp_path / "both.tsv") for talker in mixture.talkers
    }
    assert len(used) == 16
    assert "which stay as they are" in said(corpus, options=("--out_dir", corpus))
    exclude = "--exclude", tmp_path / "both.tsv"
    assert "no spoof utterance is there" in said(corpus, options=(*exclude, "--shares", 1, 0, 0))
    for name in ("utt2spk", "spk2utt"):
        (tmp_path / "other" / name).unlink()
    assert "other/utt2spk: not there" in said(other, options=("--different_speakers", "true"))
    (tmp_path / "rir.scp").write_text("a /nowhere/a.wav\n")
    assert "1 room responses, expected 2" in said(
        corpus, options=("--reverb_data", tmp_path / "rir.scp")
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\tu", "\tv", "mix_train_[0-9a-f]{6}_0000001: source v[0-7] is not in the data"),
        ("\tspoof\t", "\tfake\t", ":2: .*_0000001: 'fake', expected spoof or bonafide"),
        ("\tSS\t", "\tSB\t", "_0000001: label SB of talkers spoof spoof, expected"),
        (r"\t0\.0000\t", "\tsoon\t", ":2: mix_train_[0-9a-f]{6}_0000001: .soon., expected a number"),
        (r"\t0\.0000\t", "\t-\t", "_0000001: offset_[12] is -, expected a value"),
        (r"\t0\.0000\t", "\t99\t", "_0000001: a talker begins at 99 s, expected within the"),
        ("offset_1", "offset", "has no column 'offset_1'"),
    ],
)  # fmt: skip
def test_a_plan_that_cannot_be_rendered(monkeypatch, capsys, tmp_path, corpus, old, new, message):
    monkeypatch.chdir(tmp_path)
    words = "--data_dir", corpus, "--plan", "plan.tsv", "--num_mixtures", 2, "--shares", 1, 0, 0
    run(monkeypatch, simulate_mixtures, *words)
    (tmp_path / "plan.tsv").write_text(
        re.sub(old, new, (tmp_path / "plan.tsv").read_text(), count=1)
    )
    said = refused(
        monkeypatch,
        capsys,
        simulate_mixtures,
        *words,
        "--render_only",
        "--out_dir",
        "mix",
        "--nj",
        1,
    )
    assert re.search(message, said)
    assert not (tmp_path / "mix").exists()


def test_a_source_of_another_rate_or_label_leaves_what_was_there(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    corpus = write_corpus(tmp_path)
    words = (
        "--data_dir",
        corpus,
        "--plan",
        "plan.tsv",
        "--num_mixtures",
        12,
        "--out_dir",
        "mix",
        "--nj",
        1,
    )
    run(monkeypatch, simulate_mixtures, *words)
    before = contents(tmp_path / "mix")
    label = "u1 is spoof, but bonafide in its data directory"
    for file, new in (("utt2lab", "u1 bonafide"), ("utt2attack", "u1 -")):
        write_table(f"train/{file}", read_table(f"train/{file}") | dict([new.split()]))
    for name in ("lab2utt", "lab2num_utts", "cm_key_file.txt"):
        (tmp_path / "train" / name).unlink()
    assert label in refused(monkeypatch, capsys, simulate_mixtures, *words, "--render_only")
    sf.write(tmp_path / "audio/u0.flac", tone(0, 8000), 999)
    said = refused(monkeypatch, capsys, simulate_mixtures, *words)
    assert "u0" in said and "sample rate 999 Hz, expected 1000 to 768000 Hz" in said
    assert contents(tmp_path / "mix") == before
    inside = *words[:2], "--plan", "mix/plan.tsv", *words[4:], "--seed", 2, "--num_mixtures", 60
    assert "sample rate 999 Hz" in refused(monkeypatch, capsys, simulate_mixtures, *inside)
    assert contents(tmp_path / "mix") == before


def test_mixtures_of_another_plan_have_other_ids(monkeypatch, tmp_path, corpus):
    monkeypatch.chdir(tmp_path)
    for name, more in {
        "one": (),
        "again": (),
        "seed": ("--seed", 2),
        "gain": ("--gain", 1, 1),
    }.items():
        words = "--data_dir", corpus, "--plan", f"{name}.tsv", "--num_mixtures", 3, *more
        run(monkeypatch, simulate_mixtures, *words)
    ids = {}
    for name in ("one", "again", "seed", "gain"):
        ids[name] = {mixture.mixture for mixture in read_plan(f"{name}.tsv")}
    assert (
        ids["one"] == ids["again"] and not ids["one"] & ids["seed"] and not ids["one"] & ids["gain"]
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--render_only",), "--render_only needs --out_dir"),
        (("--snr_db", 0, 10), "--snr_db needs --noise_data"),
        (("--preset", "conversation", "--delay", 1), "--delay needs a preset without overlap"),
    ],
)
def test_options_that_would_change_nothing_are_refused(
    monkeypatch, capsys, tmp_path, corpus, options, said
):
    monkeypatch.chdir(tmp_path)
    assert said in refused(
        monkeypatch, capsys, simulate_mixtures, "--data_dir", corpus, "--plan", "p.tsv", *options
    )
    assert not list(tmp_path.iterdir())


def test_too_short_a_share_of_a_mixture_is_drawn_again():
    """A talker who begins when the other is done would make an SB of one talker."""
    short, long = (
        [Source(f"u{seconds}{label}", "", label, seconds) for label in ("spoof", "bonafide")]
        for seconds in (0.5, 5.0)
    )
    plan = planned(replace(PUBLISHED, shares=[0, 1, 0]), 50, short + long)
    for mixture in plan:
        last_offset = max(talker.offset for talker in mixture.talkers)
        assert mixture.seconds - last_offset >= MIN_AUDIBLE_SECONDS
    with pytest.raises(InputError, match="draws gave no SB"):
        planned(replace(PUBLISHED, shares=[0, 1, 0], delay=100.0), 50, short)
