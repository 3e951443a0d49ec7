"""How fast the pieces of one request's streams come: the first one since its arrival, each later one since the last."""

from __future__ import annotations

from service.generation.metrics import GenerationMetrics


class Pace:
    """Told of each piece of an answer, by the answer's number within the request."""

    def __init__(self, metrics: GenerationMetrics, *, started: float) -> None:
        """``started``: when the request came, by ``time.perf_counter``."""
        self._metrics = metrics
        self._started = started
        self._last: dict[int, float] = {}

    def note(self, number: int, at: float) -> None:
        """A piece was written, on the same clock."""
        last = self._last.get(number)
        self._last[number] = at
        if last is None:
            self._metrics.first_piece(at - self._started)
        else:
            self._metrics.next_piece(at - last)
