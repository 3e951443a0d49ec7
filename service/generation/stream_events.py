"""Buffers the decoding thread's events of one request's streamed answers until the client reads them.

A client may read more slowly than the model writes, or not at all. Only the events wait for the client; decoding
continues. This module does not depend on HTTP or versions.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

from editing_core.errors import ErrataError
from service.generation.decoding.requests import GenerationResult, Piece
from service.generation.loop_bridge import LoopBridge
from service.generation.metrics import GenerationMetrics

StreamEvent = Piece | GenerationResult | ErrataError
"""A new piece of an answer, its result, or its failure."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A complete answer and the time of its completion, on the clock of ``time.perf_counter``."""

    result: GenerationResult
    at: float


class StreamTiming:
    """Records the times of one request's pieces: the first since the request, later pieces since the previous one."""

    def __init__(self, metrics: GenerationMetrics, *, started: float) -> None:
        """``started``: time at which the request arrived, on the clock of ``time.perf_counter``."""
        self._metrics = metrics
        self._started = started
        self._last: dict[int, float] = {}

    def record_piece(self, number: int, at: float) -> None:
        """Record that a piece of answer ``number`` was written at the time ``at``, on the same clock."""
        last = self._last.get(number)
        self._last[number] = at
        if last is None:
            self._metrics.record_first_piece(at - self._started)
        else:
            self._metrics.record_next_piece(at - last)


class StreamEventQueue:
    """The events of one request: posted by the decoding thread, read in one event loop."""

    def __init__(
        self,
        bridge: LoopBridge,
        num_answers: int,
        *,
        timing: StreamTiming,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._bridge = bridge
        self._timing = timing
        self._clock = clock
        self._num_answers = self._num_unfinished = num_answers
        self._events: asyncio.Queue[tuple[int, Piece | Finished | BaseException]] = asyncio.Queue()
        self.all_finished = asyncio.Event()
        """Set when all answers have ended, even if their events have not been read."""
        self.delivered: dict[int, Finished] = {}
        """The answers that the client has read to their end, by number."""
        self.failed: dict[int, ErrataError] = {}
        """The failures that the client has read, by answer number."""

    def post(self, number: int, event: Piece | Future[GenerationResult]) -> None:
        """Add an event of answer ``number``: a piece, or the future that has just ended; from any thread."""
        self._bridge.post(partial(self._receive, number, event, self._clock()))

    async def events(self) -> AsyncIterator[tuple[int, StreamEvent]]:
        """Yield each answer's pieces and its end, with the answer's number, until every answer has ended."""
        while len(self.delivered) + len(self.failed) < self._num_answers:
            number, event = await self._events.get()
            if isinstance(event, Finished):
                self.delivered[number] = event
                yield number, event.result
            elif isinstance(event, ErrataError):
                self.failed[number] = event
                yield number, event
            elif isinstance(event, BaseException):
                raise event
            else:
                yield number, event

    def _receive(self, number: int, event: Piece | Future[GenerationResult], at: float) -> None:
        if isinstance(event, Piece):
            self._timing.record_piece(number, at)
            self._events.put_nowait((number, event))
            return
        self._num_unfinished -= 1
        if not event.cancelled():
            error = event.exception()
            self._events.put_nowait((number, Finished(event.result(), at) if error is None else error))
        if not self._num_unfinished:
            self.all_finished.set()


def finish_times(answers: Sequence[Future[GenerationResult]]) -> dict[int, float]:
    """Return a dictionary that receives the time at which each answer ends, by the answer's index."""
    times: dict[int, float] = {}

    def record(number: int, _: Future[GenerationResult]) -> None:
        times[number] = time.perf_counter()

    for number, answer in enumerate(answers):
        answer.add_done_callback(partial(record, number))
    return times
