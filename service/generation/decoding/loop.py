"""The one thread that uses the model: steps every engine that has work, in turn.

One thread, so that engines of several versions do not fight for the same cores. Knows no versions and no HTTP.
"""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from service.generation.decoding.engine import DecodeEngine
from service.generation.decoding.requests import GenerationRequest, Piece, ScoreRequest
from service.generation.errors import GenerationFailed, GenerationStopping
from worker.protocol.logs import log_event

logger = logging.getLogger(__name__)

STOP_SECONDS = 30.0
"""How long ``stop`` waits for a step that is being computed."""


class DecodeLoop:
    """Steps engines until it is stopped; requests that are then open end with an error."""

    def __init__(self) -> None:
        self._engines: list[DecodeEngine] = []
        self._changed = threading.Condition()
        """Guards the list and the flag."""
        self._stopping = False
        self._stepped_at: float | None = None
        """When the last step ended, while there is more to do."""
        self._longest_pause = 0.0
        self._thread = threading.Thread(target=self._run, name="errata-decode", daemon=True)

    @property
    def is_alive(self) -> bool:
        """Whether requests are being worked on."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread after its step; open requests are answered with an error."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)
        self._end_open()

    def add(self, engine: DecodeEngine) -> None:
        """Step this engine from now on."""
        with self._changed:
            self._engines.append(engine)

    def remove(self, engine: DecodeEngine) -> None:
        """Forget the engine; nobody may be waiting for it."""
        with self._changed:
            self._engines.remove(engine)

    def submit(
        self,
        engine: DecodeEngine,
        requests: Sequence[GenerationRequest | ScoreRequest],
        *,
        listener: Callable[[int, Piece], None] | None = None,
    ) -> list[Future[Any]]:
        """Give the engine one client's requests, all or none; from any thread. Raises what its ``submit`` raises."""
        with self._changed:
            self._require_going_on()
            answers = engine.submit(requests, listener=listener)
            self._changed.notify()
        return answers

    def counts(self) -> tuple[int, int]:
        """How many requests are in a place, and how many wait for one."""
        with self._changed:
            engines = list(self._engines)
        return sum(e.num_running for e in engines), sum(e.num_waiting for e in engines)

    def take_longest_pause(self) -> float:
        """Seconds of the longest time between the ends of two steps in a row, since this was last asked."""
        longest, self._longest_pause = self._longest_pause, 0.0
        return longest

    def _require_going_on(self) -> None:
        if self._stopping:
            raise _stopped()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(self._has_work)
                if self._stopping:
                    return
                busy = [engine for engine in self._engines if engine.busy]
            _step_all(busy)
            del busy  # an engine that is removed meanwhile is to leave memory
            self._note_pause()

    def _note_pause(self) -> None:
        now = time.perf_counter()
        if self._stepped_at is not None:
            self._longest_pause = max(self._longest_pause, now - self._stepped_at)
        self._stepped_at = now if self._has_work() else None

    def _has_work(self) -> bool:
        return self._stopping or any(engine.busy for engine in self._engines)

    def _end_open(self) -> None:
        error = _stopped()
        with self._changed:
            engines = list(self._engines)
        for engine in engines:
            engine.abandon(error)


def spare_what_is_there() -> None:
    """Have the collection of garbage pass over all that is in memory now, from here on.

    Beside a model and its library a whole collection takes 0.2 s, in which no answer gets a token.
    """
    gc.collect()
    gc.freeze()


def _stopped() -> GenerationStopping:
    return GenerationStopping("the service is stopping: ask another replica, or again later", retry_after_seconds=2)


def _step_all(engines: Sequence[DecodeEngine]) -> None:
    for engine in engines:
        _step(engine, others_write=any(other.is_writing for other in engines if other is not engine))


def _step(engine: DecodeEngine, *, others_write: bool) -> None:
    """Step; what not even the engine could answer ends its requests, and the thread goes on."""
    try:
        engine.step(others_write=others_write)
    except Exception as error:  # noqa: BLE001
        log_event(logger, "engine_failed", level=logging.ERROR)
        engine.abandon(GenerationFailed(f"the decode loop failed ({type(error).__name__}: {error}): ask again"))
