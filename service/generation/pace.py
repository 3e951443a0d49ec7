"""How fast the pieces of one request's streams come: the first one since its arrival, each later one since the last."""

from __future__ import annotations

import time

from service.generation.metrics import GenerationMetrics


class Pace:
    """Told of each piece of an answer, by the answer's number within the request."""

    def __init__(self, metrics: GenerationMetrics, *, started: float) -> None:
        """``started``: when the request came, by ``time.perf_counter``."""
        self._metrics = metrics
        self._started = started
        self._last: dict[int, float] = {}

    def note(self, number: int) -> None:
        """A piece has come just now."""
        now = time.perf_counter()
        last = self._last.get(number)
        self._last[number] = now
        if last is None:
            self._metrics.first_piece(now - self._started)
        else:
            self._metrics.next_piece(now - last)
