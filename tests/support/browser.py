"""A headless Chromium, driven by Debian's chromedriver. Nothing is downloaded."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

WAIT_SECONDS = 60.0


class Page:
    """The console in one tab."""

    def __init__(self, driver: Chrome, url: str) -> None:
        self.driver = driver
        self.url = url

    def open(self, view: str) -> None:
        """Open a view and wait until it is drawn."""
        self.driver.get("about:blank")
        self.driver.get(f"{self.url}/console#/{view}")
        self.wait_for(lambda: self.driver.find_elements(By.CSS_SELECTOR, "#main h1"))

    def wait_for(self, condition: Any) -> Any:
        return WebDriverWait(self.driver, WAIT_SECONDS, poll_frequency=0.1).until(lambda _: condition())

    def wait_for_text(self, text: str) -> None:
        self.wait_for(lambda: text in self.text())

    def text(self) -> str:
        return str(self.driver.execute_script("return document.getElementById('main').innerText"))

    def labelled(self, label: str) -> WebElement:
        """Return the control that a visible label names."""

        def found() -> Any:
            script = (
                "const l=[...document.querySelectorAll('label')].find((l)=>l.textContent===arguments[0]);"
                "return l&&document.getElementById(l.htmlFor)"
            )
            return self.driver.execute_script(script, label)

        element = self.wait_for(found)
        assert isinstance(element, WebElement)
        return element

    def button(self, name: str) -> WebElement:
        def found() -> Any:
            script = "return [...document.querySelectorAll('button')].find((b)=>b.textContent===arguments[0])"
            return self.driver.execute_script(script, name)

        element = self.wait_for(found)
        assert isinstance(element, WebElement)
        return element

    def press(self, name: str, *, confirm: str | None = None) -> None:
        self.button(name).click()
        if confirm is not None:
            self.button(confirm).click()

    def buttons(self) -> set[str]:
        script = "return [...document.querySelectorAll('#main button')].map((b)=>b.textContent)"
        return set(self.driver.execute_script(script))


@contextmanager
def browser(*, dark: bool = False, phone: bool = False) -> Iterator[Chrome]:
    """Run Chromium; without it, a test is skipped, but never in CI."""
    chromium, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or chromedriver is None:
        if os.environ.get("CI"):
            pytest.fail("chromium and chromedriver are missing: apt-get install chromium chromium-driver")
        pytest.skip("needs Debian's chromium and chromium-driver")
    options = ChromeOptions()
    options.binary_location = chromium
    arguments = ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--no-proxy-server"]
    for argument in [*arguments, "--window-size=1280,900", *(["--force-dark-mode"] if dark else [])]:
        options.add_argument(argument)
    if phone:
        metrics = {"width": 390, "height": 844, "pixelRatio": 1.0}
        options.add_experimental_option("mobileEmulation", {"deviceMetrics": metrics})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options=options, service=ChromeService(executable_path=str(Path(chromedriver))))
    try:
        yield driver
    finally:
        driver.quit()
