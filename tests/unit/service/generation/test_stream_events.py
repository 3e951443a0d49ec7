"""What is said of streamed answers is kept until it is read, with the times at which it was said."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import Future
from typing import Any

from prometheus_client import CollectorRegistry

from service.generation.decoding.requests import GenerationResult, Piece
from service.generation.errors import TooManyWaiting
from service.generation.loop_bridge import Mailbox
from service.generation.metrics import GenerationMetrics
from service.generation.stream_events import Letters, ends_of
from service.generation.stream_timing import Pace

RESULT = GenerationResult(ids=(1,), text="a", finish_reason="stop")
WAIT_SECONDS = 0.2


def ended(error: Exception | None = None) -> Future[GenerationResult]:
    answer: Future[GenerationResult] = Future()
    if error is None:
        answer.set_result(RESULT)
    else:
        answer.set_exception(error)
    return answer


def test_an_answer_that_fails_leaves_the_others_and_all_are_made_before_they_are_read() -> None:
    registry, full = CollectorRegistry(), TooManyWaiting("full")

    async def work() -> list[tuple[int, Any]]:
        started = time.perf_counter()
        pace = Pace(GenerationMetrics(registry), started=started)
        letters = Letters(Mailbox(asyncio.get_running_loop()), 2, pace=pace)
        letters.post(0, Piece(text="a"))
        letters.post(1, ended(full))
        letters.post(0, Piece(text="b"))
        letters.post(0, ended())
        await asyncio.wait_for(letters.all_made.wait(), 30)
        assert letters.read == letters.failed == {}
        await asyncio.sleep(WAIT_SECONDS)
        found = [event async for event in letters.events()]
        assert letters.failed == {1: full}
        assert letters.read[0].at - started < WAIT_SECONDS
        return found

    found = asyncio.run(work())
    assert found == [(0, Piece(text="a")), (1, full), (0, Piece(text="b")), (0, RESULT)]
    first = registry.get_sample_value("errata_generation_first_token_duration_seconds_sum")
    assert first is not None
    assert first < WAIT_SECONDS


def test_each_answer_has_its_own_end() -> None:
    answers: list[Future[GenerationResult]] = [Future(), Future()]
    ends = ends_of(answers)
    answers[1].set_result(RESULT)
    assert ends.keys() == {1}
    between = time.perf_counter()
    answers[0].set_result(RESULT)
    assert ends[1] < between < ends[0]
