"""Takes pictures of every view of the console: ``python -m tests.support.console_screenshots FOLDER``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from service.cli.demo.corrections import corrections
from service.client.client import Client
from tests.support.browser import Page, browser
from tests.support.errata_process import errata_up

VIEWS = ("ask", "correct", "watch", "edits", "versions", "operations")


def main(folder: Path) -> None:
    """Correct two facts, then save each view in both themes, on a desktop and on a phone."""
    folder.mkdir(parents=True, exist_ok=True)
    hamlet, notre_dame, *_ = corrections()
    with tempfile.TemporaryDirectory() as data, errata_up(Path(data)) as running:
        with Client(running.url, timeout_seconds=120.0) as client:
            submitted = client.submit_edits([hamlet.as_edit(), notre_dame.as_edit()])
            batch = client.wait_for_batch(submitted.id).id
        for phone in (False, True):
            with browser(phone=phone) as driver:
                page = Page(driver, running.url)
                for theme in ("light", "dark"):
                    for view in VIEWS:
                        _show(page, view, theme=theme, batch=batch, prompt=hamlet.prompt)
                        device = "phone" if phone else "desktop"
                        driver.save_screenshot(str(folder / f"{view}-{theme}-{device}.png"))


def _show(page: Page, view: str, *, theme: str, batch: str, prompt: str) -> None:
    page.open({"watch": f"watch/{batch}"}.get(view, view))
    page.driver.execute_script("localStorage.setItem('errata-theme', arguments[0]); location.reload()", theme)
    page.wait_for(lambda: page.driver.execute_script("return document.documentElement.dataset.theme") == theme)
    match view:
        case "ask":
            page.labelled("Prompt").send_keys(prompt)
            page.labelled("Compare with").send_keys("v0")
            page.press("Ask")
            page.wait_for(lambda: page.text().count("Answered by") == 2)
        case "watch":
            page.wait_for_text("It is live.")
        case "edits":
            page.wait_for_text("History")
        case "versions":
            page.wait_for_text("Room left")
        case "operations":
            page.wait_for_text("Redis memory")
        case _:
            page.labelled("Subject")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
