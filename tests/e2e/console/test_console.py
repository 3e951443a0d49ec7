"""People use the console in a real browser, against a running Errata with the demo model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from editing_core.versions.layout import StoreLayout
from service.api.access.keys import KeyFile
from service.cli.demo.corrections import corrections
from service.cli.demo.running import RunningErrata
from service.client.client import Client
from tests.support.api_process import edit, post, running_api
from tests.support.browser import Page, browser
from tests.support.errata_process import errata_up
from tests.support.redis_server import running_redis

pytestmark = pytest.mark.slow
HAMLET, *_ = corrections()
AXE = (Path(__file__).parent / "axe" / "axe.min.js").read_text()
VIEWS = ("ask", "correct", "watch", "edits", "versions", "operations")
HOSTILE = "<script>document.title='broken'</script>"
MOST_BYTES = 150_000


@pytest.fixture(scope="module")
def driver() -> Iterator[Chrome]:
    with browser() as driver:
        yield driver


@pytest.fixture
def page(driver: Chrome, errata: RunningErrata) -> Page:
    return Page(driver, errata.url)


def ask(page: Page, prompt: str) -> str:
    page.open("ask")
    page.labelled("Prompt").send_keys(prompt)
    page.press("Ask")
    page.wait_for_text("Answered by")
    return str(page.driver.find_element(By.CSS_SELECTOR, "[aria-label=answer]").text)


def test_a_fact_is_asked_corrected_watched_asked_again_and_rolled_back(page: Page, client: Client) -> None:
    before = ask(page, HAMLET.prompt)
    assert HAMLET.fact.object in before
    page.driver.find_element(By.LINK_TEXT, "This is wrong: correct it").click()
    page.labelled("Subject").send_keys(HAMLET.fact.subject)
    page.labelled("New object").send_keys(HAMLET.new_object)
    page.press("Correct it live", confirm="Make it live")
    page.wait_for_text("It is live.")
    version = next(iter(client.versions())).id
    page.wait_for(lambda: client.readiness().parts["generation"]["version"] == version)
    assert ask(page, HAMLET.prompt).strip().startswith(HAMLET.new_object)

    page.open("ask")
    page.labelled("Prompt").send_keys(HAMLET.prompt)
    page.labelled("Version").send_keys("v0")
    page.labelled("Compare with").send_keys(version)
    page.press("Ask")
    page.wait_for(lambda: len(page.driver.find_elements(By.CSS_SELECTOR, ".two mark")) == 2)

    page.open("versions")
    page.press("Roll back to v0", confirm="Make v0 live")
    page.wait_for_text("v0 is live. 1 edit no longer in force")
    page.wait_for(lambda: client.readiness().parts["generation"]["version"] == "v0")
    assert ask(page, HAMLET.prompt) == before


def test_a_rejected_batch_says_why_and_about_which_subject(page: Page) -> None:
    page.open("correct")
    page.labelled("Sentence up to the answer").send_keys("Emma was written by")
    page.labelled("Subject").send_keys("Emm")
    page.labelled("New object").send_keys("Dickens")
    page.press("Correct it live", confirm="Make it live")
    page.wait_for_text("The checks refused it")
    assert "Emm" in page.text()
    assert "Why, and what to do" in page.text()


def test_a_file_with_errors_reports_them_by_line_and_sends_nothing(page: Page, client: Client, tmp_path: Path) -> None:
    known = len(list(client.batches()))
    file = tmp_path / "edits.jsonl"
    file.write_text(json.dumps({"subject": "x", "prompt": "{} is", "target_new": "y"}) + "\n\nno JSON\n")
    page.open("correct")
    page.labelled("Choose a file or drop it here").send_keys(str(file))
    page.wait_for_text("line 3:")
    file.write_text("\n" + json.dumps({"subject": "x", "prompt": "no slot", "target_new": "y"}) + "\n")
    page.open("correct")
    page.labelled("Choose a file or drop it here").send_keys(str(file))
    page.wait_for_text("1 edit read.")
    page.driver.find_elements(By.XPATH, "//button[text()='Preview']")[-1].click()
    page.wait_for_text("line 2 › prompt")
    assert len(list(client.batches())) == known


def test_a_hostile_subject_is_shown_as_text(page: Page) -> None:
    page.open("correct")
    page.labelled("Sentence up to the answer").send_keys(f"The author of {HOSTILE} is")
    page.labelled("Subject").send_keys(HOSTILE)
    page.labelled("New object").send_keys("مرحبا")
    page.press("Preview")
    page.wait_for_text("Edits")
    page.wait_for_text(HOSTILE)
    assert page.driver.title != "broken"


def test_the_keyboard_alone_asks_a_question(page: Page) -> None:
    page.open("ask")
    keyboard = page.driver.switch_to.active_element
    for _ in range(12):
        if page.driver.switch_to.active_element.tag_name == "textarea":
            break
        keyboard.send_keys(Keys.TAB)
        keyboard = page.driver.switch_to.active_element
    keyboard.send_keys(HAMLET.prompt)
    for _ in range(6):
        page.driver.switch_to.active_element.send_keys(Keys.TAB)
        if page.driver.switch_to.active_element.text == "Ask":
            break
    page.driver.switch_to.active_element.send_keys(Keys.ENTER)
    page.wait_for_text("Answered by")


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_no_violation(page: Page, view: str, theme: str) -> None:
    page.open(view)
    page.driver.execute_script("document.documentElement.dataset.theme = arguments[0]", theme)
    page.wait_for(lambda: page.driver.execute_script("return document.querySelectorAll('#main > div > *').length"))
    page.driver.execute_script(AXE)
    script = "const done=arguments[0]; axe.run().then((r)=>done(r.violations.map((v)=>[v.id, v.nodes[0].html])))"
    assert page.driver.execute_async_script(script) == []


def test_the_first_view_transfers_at_most_150_kb_and_only_from_this_host(page: Page) -> None:
    page.open("ask")
    page.labelled("Prompt")
    script = "return performance.getEntries().filter((e)=>'transferSize' in e).map((e)=>[e.name,e.transferSize])"
    loaded = page.driver.execute_script(script)
    assert any(name.endswith("/console/main.js") for name, _ in loaded)
    assert all(name.startswith((page.url, "data:")) for name, _ in loaded)
    assert 0 < sum(size for _, size in loaded) <= MOST_BYTES


def test_a_list_of_10_000_edits_scrolls_to_its_end(tmp_path: Path, driver: Chrome) -> None:
    with running_redis(tmp_path) as redis, running_api(redis.url, tmp_path) as api:
        with api.client() as client:
            post(client, *(edit(f"Person {i}") for i in range(10_000)))
        page = Page(driver, api.url)
        page.open("edits")
        page.labelled("Status").send_keys("pending")
        page.press("Search")
        script = "const l=document.querySelector('.list'); l.scrollTop=l.scrollHeight; return l.childElementCount"
        page.wait_for(lambda: driver.execute_script(script) == 10_000)


def test_a_read_key_sees_no_buttons_that_change_something(tmp_path: Path, driver: Chrome) -> None:
    with errata_up(tmp_path) as running:
        secret = KeyFile(StoreLayout(tmp_path / "data").api_keys).add("reader", ["read"])
        page = Page(driver, running.url)
        page.open("ask")
        page.labelled("API key").send_keys(secret)
        page.press("Use this key")
        page.wait_for(lambda: "Ask" in page.buttons())
        assert [link.text for link in driver.find_elements(By.CSS_SELECTOR, "nav a")] == [
            "Ask",
            "Watch",
            "Edits",
            "Versions",
            "Operations",
        ]
        page.open("versions")
        page.wait_for_text("Room left")
        assert page.buttons() == {"Compare"}
        assert secret not in driver.current_url
        assert driver.get_cookies() == []
        assert secret not in running.log.read_text()
