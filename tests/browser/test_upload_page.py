"""The page of the service in a browser: recordings are sent, scored, drawn and played."""

import json
import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import soundfile as sf
import tiny
from browser_plugin import LOCAL, NARROW, WIDE, Browser
from conftest import ROOT

SECONDS_TO_START = 60
SECONDS_TO_SCORE = 30
NOISE = "<b>no audio & no markup</b>.wav"


class Service(NamedTuple):
    """A service that runs, and the model that it was given."""

    address: str
    model: str


@pytest.fixture(scope="module")
def service(browser, tmp_path_factory) -> Iterator[Service]:
    """The service of a tiny bundle, as it is typed."""
    folder = tmp_path_factory.mktemp("service")
    bundle = tiny.bundle(
        folder / "tiny",
        data={"eval_seconds": 1.0},
        class_prior=(0.5, 0.5),
        thresholds={"EER": -1e6},
        threshold=-1e6,
    )
    command = [sys.executable, "-m", "wedefense_lite", "serve"]
    with subprocess.Popen(
        [*command, "--model", str(bundle), "--port", "0"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Service(listening_at(process), str(bundle))
        finally:
            process.terminate()


def listening_at(process: subprocess.Popen) -> str:
    """Address in the first line of the log of a service."""
    end = time.monotonic() + SECONDS_TO_START
    lines = []
    while time.monotonic() < end and process.poll() is None:
        if select.select([process.stderr], [], [], 1)[0]:
            lines.append(process.stderr.readline())
            listening = re.search(r"http://127\.0\.0\.1:\d+/", lines[-1])
            if listening:
                return listening.group()
    raise AssertionError(f"the service does not listen: {lines}")


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> list[Path]:
    """A recording of five windows, and a file that is none and has a hostile name."""
    folder = tmp_path_factory.mktemp("recordings")
    call = folder / "call.wav"
    sf.write(call, tiny.talking(2.9), tiny.RATE)
    text = folder / NOISE.replace("/", "")
    text.write_text("no audio")
    return [call, text]


def upload(browser: Browser, recordings: list[Path]) -> None:
    """Choose files on the page, and wait until all are answered."""
    field = browser.driver.find_element("id", "files")
    field.send_keys("\n".join(map(str, recordings)))
    end = time.monotonic() + SECONDS_TO_SCORE
    script = (
        "return [...document.querySelectorAll('#results section')].filter("
        "card => !card.textContent.includes('scoring ...')).length"
    )
    while browser.run(script) < len(recordings):
        assert time.monotonic() < end, browser.run("return document.body.innerText")
        time.sleep(0.1)


def texts(browser: Browser) -> list[str]:
    return browser.run(
        "return [...document.querySelectorAll('#results section')].map(card => card.innerText)"
    )


def test_a_recording_has_its_score_over_its_waveform(browser, service, recordings):
    browser.open(service.address)
    upload(browser, recordings[:1])
    (text,) = texts(browser)
    command = ["score", "--format", "json", "--windows", "all", "--model", service.model]
    row = json.loads(
        subprocess.run(
            [sys.executable, "-m", "wedefense_lite", *command, str(recordings[0])],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    )
    assert text.startswith(f"call.wav\nbonafide\nLLR {row['llr']:.3f}, threshold -1000000.000")
    steps = browser.run("return document.querySelectorAll('#results .step').length")
    assert steps == len(row["windows"]) > 2
    points = browser.run("return document.querySelector('#results .wave').getAttribute('points')")
    assert len(points.split()) > 1000
    assert browser.complaints() == []


def test_the_pointer_names_the_window_below_it_and_the_player_plays(browser, service, recordings):
    browser.open(service.address)
    upload(browser, recordings[:1])
    hover = (
        "const svg = document.querySelector('#results svg');"
        "const box = svg.getBoundingClientRect();"
        "svg.dispatchEvent(new PointerEvent('pointermove', "
        "{clientX: box.left + arguments[0] * box.width, clientY: box.top + 5}));"
        "return document.querySelector('#results audio').previousSibling.textContent"
    )
    first, last = browser.run(hover, 0.1), browser.run(hover, 0.9)
    assert re.match(r"\d\.\d\d to \d\.\d\d s: LLR -?\d+\.\d{3}", first)
    assert first != last
    end = time.monotonic() + SECONDS_TO_SCORE
    while not browser.run("return document.querySelector('#results audio').duration > 0"):
        assert time.monotonic() < end
        time.sleep(0.1)
    duration = browser.run("return document.querySelector('#results audio').duration")
    assert duration == pytest.approx(2.9, abs=0.01)
    assert browser.complaints() == []


def test_a_file_that_is_no_audio_has_its_reason_and_its_name_is_text(browser, service, recordings):
    browser.open(service.address)
    upload(browser, recordings)
    scored, refused = texts(browser)
    assert "LLR" in scored
    assert refused.startswith(recordings[1].name) and "No score" in refused
    assert browser.run("return document.querySelectorAll('#results b').length") == 0
    # Chromium itself reports a status of 4xx as an error.
    assert all("422" in complaint for complaint in browser.complaints())


def test_no_request_leaves_the_host(browser, service, recordings):
    browser.open(service.address)
    upload(browser, recordings)
    requests = browser.requests()
    assert any(request.endswith("/score?waveform=800") for request in requests)
    assert all(request.startswith(LOCAL) for request in requests), json.dumps(requests)


@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_the_page_fits_phones_and_desks_by_day_and_night(
    browser, service, recordings, width, is_dark
):
    browser.open(service.address, width, is_dark)
    upload(browser, recordings)
    assert not browser.is_wider_than_its_window()
    paper, ink = browser.brightness()
    assert (paper < ink) == is_dark
    assert abs(paper - ink) > 400
    browser.picture(f"upload_{width}_{'dark' if is_dark else 'light'}")
