"""The one thread that uses the model: steps every engine that has work, in turn.

One thread serves all versions, so their engines do not compete for the same cores. This module does not depend on
versions or HTTP.
"""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from service.generation.decoding.engine import DecodeEngine
from service.generation.decoding.requests import GenerationRequest, Piece, ScoreRequest
from service.generation.errors import GenerationFailed, GenerationStopping
from worker.protocol.logs import log_event

logger = logging.getLogger(__name__)

STOP_SECONDS = 30.0
"""Longest time that ``stop`` waits for the running step."""


class DecodeLoop:
    """Steps engines until it is stopped. Requests that are still open then end with an error."""

    def __init__(self, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._engines: list[DecodeEngine] = []
        self._changed = threading.Condition()
        """Guards the engines and the three flags below."""
        self._stopping = False
        self._is_stepping = False
        self._num_pauses = 0
        self._stepped_at: float | None = None
        """Time at which the last step ended; None while no engine has work."""
        self._longest_pause = 0.0
        self._thread = threading.Thread(target=self._run, name="errata-decode", daemon=True)

    @property
    def is_alive(self) -> bool:
        """Whether the decoding thread is running."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread after its current step; open requests end with GenerationStopping."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)
        self._fail_open_requests()

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Hold the thread between two steps while the context is open; enters once the current step has ended."""
        with self._changed:
            self._num_pauses += 1
            self._changed.wait_for(lambda: not self._is_stepping)
        try:
            yield
        finally:
            with self._changed:
                self._num_pauses -= 1
                self._changed.notify_all()

    def add(self, engine: DecodeEngine) -> None:
        """Step this engine from now on."""
        with self._changed:
            self._engines.append(engine)

    def remove(self, engine: DecodeEngine) -> None:
        """Stop stepping this engine; it must have no open requests."""
        with self._changed:
            self._engines.remove(engine)

    def submit(
        self,
        engine: DecodeEngine,
        requests: Sequence[GenerationRequest | ScoreRequest],
        *,
        listener: Callable[[int, Piece], None] | None = None,
    ) -> list[Future[Any]]:
        """Submit one client's requests to the engine, all or none; from any thread.

        Raises what ``DecodeEngine.submit`` raises, and GenerationStopping.
        """
        with self._changed:
            if self._stopping:
                raise _stopping_error()
            answers = engine.submit(requests, listener=listener)
            self._changed.notify_all()
        return answers

    def counts(self) -> tuple[int, int]:
        """Return the number of requests that have a place, and of those that wait for one."""
        with self._changed:
            engines = list(self._engines)
        return sum(e.num_running for e in engines), sum(e.num_waiting for e in engines)

    def take_longest_pause(self) -> float:
        """Return the longest time in seconds between the ends of two successive steps since the last call."""
        longest, self._longest_pause = self._longest_pause, 0.0
        return longest

    def _run(self) -> None:
        while True:
            with self._changed:
                self._is_stepping = False
                self._changed.notify_all()
                self._changed.wait_for(self._can_continue)
                if self._stopping:
                    return
                self._is_stepping = True
                busy = [engine for engine in self._engines if engine.busy]
            _step_all(busy)
            del busy  # keep no reference: an engine that is removed while the thread waits must leave memory
            self._record_pause()

    def _record_pause(self) -> None:
        now = self._clock()
        if self._stepped_at is not None:
            self._longest_pause = max(self._longest_pause, now - self._stepped_at)
        self._stepped_at = now if self._has_work() else None

    def _can_continue(self) -> bool:
        return self._stopping or (not self._num_pauses and self._has_work())

    def _has_work(self) -> bool:
        return any(engine.busy for engine in self._engines)

    def _fail_open_requests(self) -> None:
        error = _stopping_error()
        with self._changed:
            engines = list(self._engines)
        for engine in engines:
            engine.fail_all(error)


def freeze_garbage_collector() -> None:
    """Exclude every object that exists now from later garbage collections.

    With a model and its library in memory, a full collection takes 0.2 s, during which no answer gets a token.
    """
    gc.collect()
    gc.freeze()


def _stopping_error() -> GenerationStopping:
    return GenerationStopping("the service is stopping: ask another replica, or try again later", retry_after_seconds=2)


def _step_all(engines: Sequence[DecodeEngine]) -> None:
    for engine in engines:
        _step(engine, others_decode=any(other.is_decoding for other in engines if other is not engine))


def _step(engine: DecodeEngine, *, others_decode: bool) -> None:
    """Step the engine; if that raises, fail the engine's requests and keep the thread running."""
    try:
        engine.step(others_decode=others_decode)
    except Exception as error:  # noqa: BLE001
        log_event(logger, "engine_failed", level=logging.ERROR)
        engine.fail_all(GenerationFailed(f"the decode loop failed ({type(error).__name__}: {error}): ask again"))
