"""The report of an experiment in a browser: points name utterances, errors are heard."""

import json
import re
import time

import pytest
from browser_plugin import LOCAL, NARROW, WIDE
from reported import HOSTILE, keys_of, write_experiment

from wedefense_lite.bin.report import report
from wedefense_lite.files import write_text

SECONDS_TO_LOAD = 30
MARKS = "document.querySelectorAll('#map-points circle, #map-points rect')"


@pytest.fixture(scope="module")
def address(browser, tmp_path_factory) -> str:
    """Address of a page with every section."""
    exp, data = write_experiment(tmp_path_factory.mktemp("experiment"))
    picture = (
        '<svg xmlns="http://www.w3.org/2000/svg" width="90" height="30"><text y="20">u</text></svg>'
    )
    write_text(exp / "pictures/eval/u.svg", picture)
    write_text(exp / "mixtures/eval/confusion.svg", picture)
    report(str(exp), str(data), groups="language,sex", bootstrap=50)
    return (exp / "report.html").as_uri()


def point_at(browser, utterance: str) -> str:
    """Text beside the pointer when it is on the point of an utterance."""
    from selenium.webdriver import ActionChains

    data = browser.run("return JSON.parse(document.getElementById('map-data').textContent)")
    place = data["utterances"].index(utterance)
    mark = browser.run(f"return {MARKS}[arguments[0]]", place)
    ActionChains(browser.driver).scroll_to_element(mark).move_to_element(mark).perform()
    return browser.run("return document.getElementById('map-tip').innerText")


def test_the_pointer_on_a_point_shows_its_utterance(browser, address):
    browser.open(address)
    assert browser.run("return document.getElementById('map-tip').hidden")
    assert browser.run(f"return {MARKS}.length") == len(keys_of("dev") + keys_of("eval"))
    text = point_at(browser, "dev_3").splitlines()
    assert text == [
        "dev_3",
        "LLR -1.00",
        "class bonafide",
        "speaker spk1",
        "set dev",
    ]
    # An id that is HTML is shown as it is, and makes no element.
    assert point_at(browser, HOSTILE).splitlines()[0] == HOSTILE
    assert (
        browser.run("return document.querySelectorAll('img[src=x], img[src=\"x/onerror\"]').length")
        == 0
    )
    assert browser.complaints() == []


def test_the_choice_of_a_column_colours_points_and_names_the_colours(browser, address):
    from selenium.webdriver.support.select import Select

    browser.open(address)
    select = Select(browser.driver.find_element("id", "map-colour"))
    assert [option.text for option in select.options] == ["class", "attack", "speaker", "set"]
    legend = (
        "return [...document.querySelectorAll('#map-legend span')].map(entry => entry.innerText)"
    )
    colours = f"return [...{MARKS}].map(mark => mark.getAttribute('fill'))"
    assert browser.run(legend) == ["bonafide", "spoof"]
    assert browser.run(colours)[:5] == ["#009E73"] * 4 + ["#D55E00"]
    select.select_by_visible_text("set")
    assert browser.run(legend) == ["dev", "eval"]
    by_set = browser.run(colours)
    assert len(set(by_set[:9])) == len(set(by_set[9:])) == 1 and by_set[0] != by_set[9]
    select.select_by_visible_text("attack")
    assert browser.run(legend) == ["none", "A1", "A2"]
    assert browser.complaints() == []


def test_each_player_has_the_length_of_its_recording(browser, address):
    browser.open(address)
    durations = "return [...document.querySelectorAll('audio')].map(player => player.duration)"
    end = time.monotonic() + SECONDS_TO_LOAD
    while not all(browser.run(durations)):
        assert time.monotonic() < end
        time.sleep(0.1)
    # One error of each kind in dev; three false alarms and two misses in eval.
    assert browser.run(durations) == pytest.approx([0.5] * 7, abs=1e-3)
    played = (
        "const done = arguments[0]; const player = document.querySelector('audio');"
        "player.onended = () => done('played'); player.play().catch(error => done(String(error)))"
    )
    assert browser.driver.execute_async_script(played) == "played"
    broken = "return [...document.images].filter(image => !image.naturalWidth).length"
    assert browser.run(broken) == 0
    assert browser.complaints() == []


def test_no_request_leaves_the_host(browser, address):
    browser.open(address)
    point_at(browser, "eval_0")
    requests = browser.requests()
    assert address in requests
    assert all(request.startswith(LOCAL) for request in requests), json.dumps(requests)[:500]
    # Nor would one that somebody's file smuggled in.
    blocked = (
        "const done = arguments[0]; const image = new Image();"
        "document.addEventListener('securitypolicyviolation', event => done(event.blockedURI));"
        "image.src = 'http://192.0.2.1/x.png'"
    )
    assert browser.driver.execute_async_script(blocked) == "http://192.0.2.1/x.png"


@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_the_page_fits_phones_and_desks_by_day_and_night(browser, address, width, is_dark):
    browser.open(address, width, is_dark)
    assert not browser.is_wider_than_its_window()
    paper, ink = browser.brightness()
    assert (paper < ink) == is_dark
    assert abs(paper - ink) > 400
    browser.picture(f"report_{width}_{'dark' if is_dark else 'light'}")


def test_on_paper_there_are_no_players_and_the_paper_is_white(browser, address):
    browser.open(address, WIDE, is_dark=True)
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    shown = "return [...document.querySelectorAll('audio')].filter(player => player.offsetParent).length"
    assert browser.run(shown) == 0
    ink = browser.run("return getComputedStyle(document.querySelector('td')).color")
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert sum(map(int, re.findall(r"\d+", ink)[:3])) < 200
