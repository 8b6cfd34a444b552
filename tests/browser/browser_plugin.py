"""Chromium without a screen, for tests of pages."""

import json
import os
import re
import shutil
from collections.abc import Iterator

import pytest

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
DRIVER = "chromedriver"
# The browser asks for nothing of its own; the driver's and the page's requests are what is left.
OPTIONS = (
    "--headless",
    "--no-sandbox",  # root has none
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
)
# Beginnings of addresses that don't leave the host.
LOCAL = ("http://127.0.0.1:", "file:", "data:", "blob:", "about:", "chrome:")
NARROW, WIDE = 400, 1200  # pixels


class Browser:
    """A window of Chromium.

    Args:
        driver: driver of Selenium.

    Attributes:
        driver: the same.
    """

    def __init__(self, driver):
        self.driver = driver

    def open(self, address: str, width: int = WIDE, is_dark: bool = False) -> None:
        """Show an address, in a window of ``width`` x 900, light or dark."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width == NARROW}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.driver.get_log("browser")
        self.driver.get_log("performance")
        self.driver.get(address)

    def run(self, script: str, *arguments):
        """Value that a script of the page returns."""
        return self.driver.execute_script(script, *arguments)

    def complaints(self) -> list[str]:
        """Warnings and errors of the console since the page was opened."""
        entries = self.driver.get_log("browser")
        return [entry["message"] for entry in entries if entry["level"] in ("WARNING", "SEVERE")]

    def requests(self) -> list[str]:
        """Addresses that were asked for since the page was opened."""
        addresses = []
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                addresses.append(message["params"]["request"]["url"])
        return addresses

    def is_wider_than_its_window(self) -> bool:
        """Whether a reader has to scroll sideways."""
        return self.run(
            "return document.documentElement.scrollWidth > document.documentElement.clientWidth"
        )

    def brightness(self) -> list[int]:
        """Brightness of the paper and of the ink of the page, 0 to 765 each."""
        sums = []
        for name in ("backgroundColor", "color"):
            colour = self.run("return getComputedStyle(document.body)[arguments[0]]", name)
            red, green, blue = re.findall(r"\d+", colour)[:3]
            sums.append(int(red) + int(green) + int(blue))
        return sums

    def picture(self, name: str) -> None:
        """Write a picture of the whole page into the folder ``$SCREENSHOTS``, if there is one."""
        folder = os.environ.get("SCREENSHOTS")
        if not folder:
            return
        os.makedirs(folder, exist_ok=True)
        height = self.run("return document.documentElement.scrollHeight")
        width = self.run("return document.documentElement.clientWidth")
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.save_screenshot(os.path.join(folder, f"{name}.png"))


@pytest.fixture(scope="session")
def browser(tmp_path_factory) -> Iterator[Browser]:
    """Chromium, of Debian's packages chromium and chromium-driver, driven by Selenium."""
    if "BROWSER_TESTS" not in os.environ:
        pytest.skip("make browser_test runs it")
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium isn't installed")
    from selenium.webdriver.chrome.service import Service

    program = next(filter(None, map(shutil.which, CHROMIUM)), None)
    driver_program = shutil.which(DRIVER)
    if program is None or driver_program is None:
        pytest.skip("Chromium or chromedriver isn't installed: .ci/browser does it")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    profile = tmp_path_factory.mktemp("profile")
    for option in (*OPTIONS, f"--user-data-dir={profile}"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(driver_program))
    try:
        yield Browser(driver)
    finally:
        driver.quit()
