"""The mini corpus: speakers of the sets, processing of both classes, the same bytes every time."""

import itertools
import sys
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from scipy.signal import lfilter

pytest.importorskip("av", reason="the mini extra is not installed")
pytest.importorskip("pyworld", reason="the mini extra is not installed")
EGS = Path(__file__).parents[2] / "egs/mini"
sys.path.insert(0, str(EGS / "local"))

import make_corpus as make_corpus_module  # noqa: E402
from check_shortcuts import check_shortcuts, statistics  # noqa: E402
from engines import Engines, Request  # noqa: E402
from make_corpus import make_corpus  # noqa: E402
from neutralise import RATE, level_db, neutralise, pass_g722, shorten_pauses, trim  # noqa: E402
from plan import ATTACKS, COSTS, COUNTS, make_plan  # noqa: E402
from sources import LANGUAGES, SETS, Source, own_folder, rng_for  # noqa: E402
from vocoders import VOCODERS  # noqa: E402

from wedefense_lite.files import InputError, write_lines  # noqa: E402

DEFAULT = [attack for attack, what in ATTACKS.items() if not what.neural]


def syllables(seconds: float = 2.0, seed: int = 0) -> np.ndarray:
    """A buzz with a moving pitch, in bursts: enough like speech for an analyser."""
    time = np.arange(int(seconds * RATE)) / RATE
    phase = np.cumsum(120 + 30 * np.sin(3 * time)) / RATE
    buzz = sum(np.cos(2 * np.pi * k * phase) / k for k in range(1, 40))
    breath = 0.01 * rng_for(seed).standard_normal(len(time))
    return 0.05 * buzz * (np.sin(2 * np.pi * 2 * time) > -0.6) + breath * 0.1


@pytest.fixture
def sources() -> list[Source]:
    """Two voices a language, two hundred utterances each."""
    return [
        Source(
            f"{language}{voice}/{n}",
            name,
            f"{language}{voice}",
            language,
            f"text {n}",
            "p",
            "l",
            (),
        )
        for name in SETS
        for language in LANGUAGES[name][:2]
        for voice in "ab"
        for n in range(200)
    ]


class TestPlan:
    def test_counts_attacks_and_names(self, sources):
        plan = make_plan(sources, DEFAULT)
        by_set = {name: [item for item in plan if item.set == name] for name in SETS}
        assert {name: len(items) for name, items in by_set.items()} == {
            "train": 500,
            "dev": 250,
            "eval": 400,
        }
        for name in SETS:
            assert sum(item.attack == "-" for item in by_set[name]) == COUNTS[name][0]
        seen_in_training = {"-", "A01", "A02", "A03", "A04", "A05"}
        assert {item.attack for item in by_set["train"]} == seen_in_training
        assert {item.attack for item in by_set["dev"]} == seen_in_training
        assert {i.attack for i in by_set["eval"]} == {"-", "A07", "A08", "A09", "A16", "A19"}
        assert sorted(i.utterance for i in by_set["dev"])[::249] == ["LA_D_1000001", "LA_D_1000250"]
        assert ATTACKS["A16"].method == ATTACKS["A04"].method
        assert ATTACKS["A19"].method == ATTACKS["A03"].method

    def test_no_speaker_voice_or_language_of_human_speech_is_in_two_sets(self, sources):
        sets_of = defaultdict(set)
        for item in make_plan(sources, ATTACKS):
            if item.attack != "A06":  # hibari has one voice
                sets_of[item.speaker].add(item.set)
            if not (item.request and ATTACKS[item.attack].language):
                sets_of[item.source.language].add(item.set)
        assert all(len(sets) == 1 for sets in sets_of.values()), sets_of
        languages = [language for of_set in LANGUAGES.values() for language in of_set]
        assert len(set(languages)) == len(languages)

    def test_english_engines_say_other_sentences_in_each_set(self, sources):
        sentences = defaultdict(set)
        for item in make_plan(sources, DEFAULT):
            if item.attack in ("A02", "A08"):
                sentences[item.set].add(item.source.name)
        for first, second in itertools.combinations(SETS, 2):
            assert not sentences[first] & sentences[second]

    def test_the_neural_tier_changes_nothing_of_the_default_tier(self, sources):
        default, neural = make_plan(sources, DEFAULT), make_plan(sources, ATTACKS)
        assert set(default) < set(neural)
        assert {item.attack for item in set(neural) - set(default)} == {"A06", "A10", "A11"}

    def test_the_seed_decides_and_the_order_of_the_sources_does_not_matter_to_its_repeat(
        self, sources
    ):
        assert make_plan(sources, DEFAULT, seed=1) == make_plan(sources, DEFAULT, seed=1)
        assert make_plan(sources, DEFAULT, seed=1) != make_plan(sources, DEFAULT, seed=2)

    def test_too_little_speech_is_refused(self, sources):
        with pytest.raises(InputError, match="human utterances"):
            make_plan(sources[:5], DEFAULT)


class TestNeutralise:
    def test_loud_or_quiet_bright_or_dull_comes_out_alike(self):
        wave = syllables(5)
        dull = 20 * lfilter([1], [1, -0.8], np.pad(wave, 8000)) + 0.2
        one, other = (neutralise(x, rng_for("same")) for x in (wave, dull))
        assert abs(len(one) - len(other)) < RATE * 0.1
        assert np.sqrt((one**2).mean() / (other**2).mean()) == pytest.approx(1, abs=0.3)
        assert abs(one.mean()) < 1e-4 > abs(other.mean())
        power = [np.abs(np.fft.rfft(x, 2**17)) ** 2 for x in (one, other)]
        high = [10 * np.log10(p[2**15 :].sum() / p.sum()) for p in power]
        assert abs(high[0] - high[1]) < 6

    def test_long_speech_is_cut_to_lengths_that_do_not_depend_on_it(self):
        assert len(neutralise(syllables(7), rng_for(1))) == pytest.approx(
            len(neutralise(syllables(9), rng_for(1))), abs=RATE * 0.3
        )

    def test_silence_is_cut_at_the_ends_and_short_inside(self):
        wave = np.concatenate(
            [np.zeros(RATE), syllables(1), np.zeros(RATE), syllables(1), np.zeros(RATE)]
        )
        assert len(trim(wave)) == pytest.approx(3 * RATE, abs=RATE * 0.1)
        short = shorten_pauses(trim(wave))
        assert len(short) < 2.3 * RATE
        assert level_db(short).max() == pytest.approx(level_db(wave).max(), abs=0.1)

    def test_the_codec_keeps_length_and_place(self):
        wave = syllables(1.0)[:15999]
        passed = pass_g722(wave)
        assert len(passed) == len(wave)
        lags = [float(passed[30:-30] @ np.roll(wave, shift)[30:-30]) for shift in range(-25, 26)]
        assert np.argmax(lags) == 25
        assert not np.array_equal(passed, wave)


@pytest.mark.parametrize("name", VOCODERS)
def test_a_vocoder_makes_another_wave_of_the_same_words(name):
    wave, pool = syllables(2.0), [syllables(3.0, seed) for seed in (1, 2)]
    spoof = VOCODERS[name](wave, rng_for(0), pool)
    assert spoof.shape == wave.shape
    assert np.isfinite(spoof).all()
    assert np.array_equal(spoof, VOCODERS[name](wave, rng_for(0), pool))
    assert not np.allclose(spoof, wave, atol=1e-3)
    loudness = [level_db(trim(x)).clip(-60)[:150] for x in (wave, spoof)]
    assert np.corrcoef(*loudness)[0, 1] > 0.3


class TestOwnSpeech:
    def test_speakers_are_split_over_the_sets(self, tmp_path):
        for speaker in ("ann", "bob", "cid", "dan"):
            (tmp_path / speaker).mkdir()
            soundfile.write(tmp_path / speaker / "one.wav", syllables(), RATE)
        (tmp_path / "bob" / "one.txt").write_text("What Bob says.\n")
        sources = list(own_folder(tmp_path, seed=1))
        assert {source.set for source in sources} == set(SETS)
        assert {source.speaker for source in sources} == {"ann", "bob", "cid", "dan"}
        assert [source.text for source in sources if source.speaker == "bob"] == ["What Bob says."]
        assert all(source.text for source in sources)

    def test_too_few_speakers_are_refused(self, tmp_path):
        (tmp_path / "ann").mkdir()
        with pytest.raises(InputError, match="at least 3 speakers"):
            list(own_folder(tmp_path, seed=1))


class TestShortcuts:
    def corpus(self, folder: Path, spoof_gain: float) -> Path:
        for name, end in (("train", "trn"), ("dev", "trl"), ("eval", "trl")):
            flac = folder / f"LA/ASVspoof2019_LA_{name}/flac"
            flac.mkdir(parents=True)
            lines = []
            for n in range(60):
                wave = rng_for(name, n).standard_normal(4000) * rng_for(n).uniform(0.01, 0.02)
                soundfile.write(flac / f"U{n}.flac", wave * (spoof_gain if n % 2 else 1), RATE)
                lines.append(f"s U{n} - A01 spoof" if n % 2 else f"s U{n} - - bonafide")
            folder_of = folder / "LA/ASVspoof2019_LA_cm_protocols"
            write_lines(folder_of / f"ASVspoof2019.LA.cm.{name}.{end}.txt", lines)
        return folder

    def test_louder_spoofs_fail_the_check(self, tmp_path, capsys):
        with pytest.raises(SystemExit) as stop:
            check_shortcuts(str(self.corpus(tmp_path, 4.0)))
        assert stop.value.code == 1
        assert "give spoofs away in: dev, eval, train" in capsys.readouterr().out

    def test_classes_that_differ_in_nothing_pass(self, tmp_path, capsys):
        check_shortcuts(str(self.corpus(tmp_path, 1.0)))
        assert capsys.readouterr().out.count("pooled") == 3

    def test_an_unreadable_file_is_named(self, tmp_path):
        with pytest.raises(InputError, match="gone.flac"):
            statistics(tmp_path / "gone.flac")


@pytest.mark.skipif(
    not (EGS / "downloads/debian/packages.txt").exists(), reason="the packages are not downloaded"
)
def test_a_corpus_is_the_same_at_any_number_of_processes_and_is_built_once(mini_corpus, tmp_path):
    """The recipe's is built by the default number, two."""
    corpora = [mini_corpus, tmp_path / "one"]
    options = {"download_dir": str(EGS / "downloads"), "scale": 0.05}
    make_corpus(out_dir=str(corpora[1]), nj=1, **options)
    contents = []
    for corpus in corpora:
        files = [path for path in corpus.rglob("*") if path.is_file()]
        contents.append({path.relative_to(corpus): path.read_bytes() for path in files})
    assert contents[0] == contents[1]
    assert len([path for path in contents[0] if path.suffix == ".flac"]) == 31 + 26 + 28
    before = (corpora[1] / "manifest.tsv").stat().st_mtime_ns
    make_corpus(out_dir=str(corpora[1]), **options)
    assert (corpora[1] / "manifest.tsv").stat().st_mtime_ns == before
    assert not list(tmp_path.glob(".*")), "temporary folders are left"


class TestBuilding:
    def test_every_method_has_a_cost_and_slow_ones_come_first(self, sources, tmp_path, monkeypatch):
        assert {attack.method for attack in ATTACKS.values()} <= COSTS.keys()
        plan = make_plan(sources, DEFAULT)
        order = []

        class Pool:
            def __init__(self, nj):
                pass

            def __enter__(self):
                return self

            def __exit__(self, *_):
                pass

            def imap_unordered(self, function, chunks):
                for chunk in chunks:
                    order.append(sum(item.cost for item in chunk))
                    yield [{"utterance": item.utterance} for item in chunk]

        monkeypatch.setattr(
            make_corpus_module, "get_context", lambda kind: SimpleNamespace(Pool=Pool)
        )
        rows = list(make_corpus_module._produce(plan, None, tmp_path, 2))
        assert sorted(row["utterance"] for row in rows) == sorted(item.utterance for item in plan)
        assert order == sorted(order, reverse=True)
        assert order[0] > 10 * order[-1]

    def test_a_corpus_of_another_tier_is_said_to_be_replaced(self, tmp_path, caplog):
        corpus = tmp_path / "corpus"
        corpus.mkdir()
        (corpus / "stamp.txt").write_text("tier=default seed=1\n")
        make_corpus_module._warn_of_replacement(corpus, "tier=neural seed=1\n")
        assert "corpus will be replaced: it has tier=default seed=1, asked for is tier=neural" in (
            caplog.text
        )
        assert "--corpus_dir, --data_dir and --exp_dir keep both" in caplog.text
        caplog.clear()
        make_corpus_module._warn_of_replacement(tmp_path / "new", "tier=neural\n")
        assert caplog.text == ""


def test_an_engine_that_writes_nothing_does_not_get_the_speech_of_an_earlier_text(
    tmp_path, monkeypatch
):
    engines = Engines(None, tmp_path, tmp_path)
    request = Request("text", "ar", "f2", 1)
    wave = syllables(1.0)

    def write(program, *arguments):
        soundfile.write(arguments[arguments.index("-w") + 1], wave, RATE)

    monkeypatch.setattr(engines, "_run", write)
    assert len(engines.speak("espeak", [request])[0][0]) == len(wave)
    monkeypatch.setattr(engines, "_run", lambda *_: "")
    with pytest.raises(InputError, match="an engine wrote no file"):
        engines.speak("espeak", [request])
