"""Events of streamed answers are buffered until they are read, with the times at which they were posted."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import Future
from typing import Any

from prometheus_client import CollectorRegistry

from service.generation.decoding.requests import GenerationResult, Piece
from service.generation.errors import TooManyWaiting
from service.generation.loop_bridge import LoopBridge
from service.generation.metrics import GenerationMetrics
from service.generation.stream_events import StreamEventQueue, StreamTiming, finish_times

RESULT = GenerationResult(ids=(1,), text="a", finish_reason="stop")
STARTED, FIRST_SECONDS, UNREAD_SECONDS = 100.0, 2.0, 50.0
"""When the request came, how long the first piece took, and how long it stayed unread."""


def ended(error: Exception | None = None) -> Future[GenerationResult]:
    answer: Future[GenerationResult] = Future()
    if error is None:
        answer.set_result(RESULT)
    else:
        answer.set_exception(error)
    return answer


def test_a_failed_answer_leaves_the_others_and_all_finish_before_they_are_read() -> None:
    registry, full = CollectorRegistry(), TooManyWaiting("full")

    async def work() -> list[tuple[int, Any]]:
        now = STARTED
        timing = StreamTiming(GenerationMetrics(registry), started=STARTED)
        bridge = LoopBridge(asyncio.get_running_loop())
        events = StreamEventQueue(bridge, 2, timing=timing, clock=lambda: now)
        now += FIRST_SECONDS
        events.post(0, Piece(text="a"))
        events.post(1, ended(full))
        events.post(0, Piece(text="b"))
        events.post(0, ended())
        await asyncio.wait_for(events.all_finished.wait(), 30)
        assert events.delivered == events.failed == {}
        now += UNREAD_SECONDS
        found = [event async for event in events.events()]
        assert events.failed == {1: full}
        assert events.delivered[0].at == STARTED + FIRST_SECONDS
        return found

    found = asyncio.run(work())
    assert found == [(0, Piece(text="a")), (1, full), (0, Piece(text="b")), (0, RESULT)]
    assert registry.get_sample_value("errata_generation_first_token_duration_seconds_sum") == FIRST_SECONDS


def test_each_answer_has_its_own_end() -> None:
    answers: list[Future[GenerationResult]] = [Future(), Future()]
    ends = finish_times(answers)
    answers[1].set_result(RESULT)
    assert ends.keys() == {1}
    between = time.perf_counter()
    answers[0].set_result(RESULT)
    assert ends[1] < between < ends[0]
