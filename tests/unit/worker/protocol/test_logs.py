from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Literal

import pytest

from worker.protocol.logs import context_id, log_context, log_event, of_requests, start_logging


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield io.StringIO()
    root.handlers[:] = handlers
    root.setLevel(level)


def test_an_event_is_one_line_of_json_with_its_ids_without_a_terminal(stream: io.StringIO) -> None:
    start_logging("info", stream=stream)
    log_event(logging.getLogger("worker"), "version.published", version="v3", batches=["b1"])
    (line,) = stream.getvalue().splitlines()
    record = json.loads(line)
    assert (record["event"], record["level"], record["version"], record["batches"]) == (
        "version.published",
        "info",
        "v3",
        ["b1"],
    )
    assert record["time"].endswith("Z")


def test_event_is_a_readable_line_when_text_is_asked_for(stream: io.StringIO) -> None:
    start_logging("info", form="text", stream=stream)
    log_event(logging.getLogger("worker"), "version.published", version="v3")
    assert stream.getvalue()[9:] == "version.published version=v3\n"


def test_error_carries_the_running_exception(stream: io.StringIO) -> None:
    start_logging("info", stream=stream)
    try:
        int("broken")
    except ValueError:
        log_event(logging.getLogger("worker"), "task.failed", level=logging.ERROR)
    assert "ValueError: invalid literal" in json.loads(stream.getvalue())["exception"]


def test_events_below_the_level_are_not_written(stream: io.StringIO) -> None:
    start_logging("warning", stream=stream)
    log_event(logging.getLogger("worker"), "quiet")
    assert not stream.getvalue()


def test_every_event_of_a_place_carries_its_ids_and_none_after_it(stream: io.StringIO) -> None:
    start_logging("info", stream=stream)
    logger = logging.getLogger("worker")
    with log_context(request="r1"), log_context(batch="b1"):
        log_event(logger, "inside", version="v3")
    log_event(logger, "outside")
    inside, outside = map(json.loads, stream.getvalue().splitlines())
    assert (inside["request"], inside["batch"], inside["version"]) == ("r1", "b1", "v3")
    assert not {"request", "batch"} & outside.keys()


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_librarys_line_carries_the_ids_of_the_place_too(stream: io.StringIO, form: Literal["json", "text"]) -> None:
    start_logging("info", form=form, stream=stream)
    with log_context(batch="b1"):
        logging.getLogger("rq").warning("job failed")
    assert "job failed" in stream.getvalue()
    assert "b1" in stream.getvalue()


def test_work_for_one_request_says_request_and_for_several_requests() -> None:
    assert of_requests([None, "r1"]) == {"request": "r1"}
    assert of_requests(["r1", None, "r2"]) == {"requests": ["r1", "r2"]}
    assert of_requests([None]) == {}


def test_the_id_of_a_place_is_known_there_and_nowhere_else() -> None:
    with log_context(request="r1"):
        assert context_id("request") == "r1"
        assert context_id("batch") is None
    assert context_id("request") is None


@pytest.mark.parametrize("text", ["a\n12:00:00 forged", "\x1b[2J", "\r", "\u2028", "\x9b31m", "\u202e"])
def test_text_lines_hold_no_second_line_and_nothing_that_a_terminal_acts_on(stream: io.StringIO, text: str) -> None:
    start_logging("info", form="text", stream=stream)
    log_event(logging.getLogger("worker"), "event", reason=text)
    logging.getLogger("library").warning("said %s", text)
    lines = stream.getvalue().split("\n")
    assert len(lines) == 3
    assert all(line.isprintable() for line in lines)


def test_traceback_below_a_text_line_is_indented_so_that_no_line_of_it_looks_like_an_event(stream: io.StringIO) -> None:
    start_logging("info", form="text", stream=stream)
    try:
        int("x\n12:00:00 forged \x1b[2J")
    except ValueError:
        log_event(logging.getLogger("worker"), "task.failed", level=logging.ERROR)
    _, *below = stream.getvalue().splitlines()
    assert below
    assert all(line.startswith("  ") and line.isprintable() for line in below)
