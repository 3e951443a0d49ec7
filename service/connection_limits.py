"""Limits the cost of connections before a request has begun: sizes, times and numbers. Torch-free.

uvicorn bounds none of these with its httptools parser. Bodies are bounded by route in ``service.api``.
"""

from __future__ import annotations

import asyncio
import json
import logging
import resource
import time
from collections import Counter
from dataclasses import dataclass, field
from http import HTTPStatus

from worker.protocol.logs import log_event

LOGGER = logging.getLogger(__name__)
LOG_SECONDS = 10.0
"""Shortest time between two log lines about refused connections."""
_MOST_CONNECTIONS = 4096
_SHARE_OF_DESCRIPTORS = 0.75
"""Share of the file descriptors for connections. The rest is for Redis, files and threads."""


@dataclass(slots=True, kw_only=True)
class ConnectionLimits:
    """The limits of one process, and its open connections."""

    max_connections: int
    max_connections_per_address: int
    url_bytes: int = 32 << 10
    header_bytes: int = 64 << 10
    """Largest size of all header names and values of one request."""
    header_seconds: float = 20.0
    """Longest time from the connection's start, or a request's first byte, to the end of the headers."""
    body_seconds: float = 30.0
    """Longest silence within a body."""
    _open: Counter[str] = field(default_factory=Counter)
    _refused: int = 0
    _logged: float = float("-inf")

    def admit(self, address: str) -> bool:
        """Count a new connection. Returns False, without counting it, if too many are open."""
        if self._open.total() >= self.max_connections or self._open[address] >= self.max_connections_per_address:
            self._log_refusal()
            return False
        self._open[address] += 1
        return True

    def release(self, address: str) -> None:
        """Forget a connection that was admitted."""
        self._open[address] -= 1
        if not self._open[address]:
            del self._open[address]

    def _log_refusal(self) -> None:
        self._refused += 1
        now = time.monotonic()
        if now >= self._logged + LOG_SECONDS:
            log_event(
                LOGGER, "connections.refused", level=logging.WARNING, num_open=self._open.total(), num=self._refused
            )
            self._logged, self._refused = now, 0


def limits_of_process() -> ConnectionLimits:
    """Raise the soft limit of file descriptors to the hard one, and derive the number of connections from it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard not in {soft, resource.RLIM_INFINITY}:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    usable = _MOST_CONNECTIONS if soft == resource.RLIM_INFINITY else int(soft * _SHARE_OF_DESCRIPTORS)
    total = max(1, min(_MOST_CONNECTIONS, usable))
    return ConnectionLimits(max_connections=total, max_connections_per_address=max(1, total // 2))


def refusal(status: HTTPStatus, detail: str) -> bytes:
    """Return a complete response that closes the connection: a problem document (RFC 9457)."""
    slug = status.phrase.lower().replace(" ", "-")
    problem = {"type": f"/problems/{slug}", "title": status.phrase, "status": status.value, "detail": detail}
    body = json.dumps(problem).encode()
    retry = "Retry-After: 5\r\n" if status is HTTPStatus.SERVICE_UNAVAILABLE else ""
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: application/problem+json\r\n"
        f"Content-Length: {len(body)}\r\n{retry}Connection: close\r\n\r\n"
    )
    return head.encode("ascii") + body


class Deadline:
    """One timer of a connection."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None

    def set(self, seconds: float, action: object) -> None:
        """Replace the timer; ``action`` is called without arguments when it ends."""
        assert callable(action)
        self.cancel()
        self._timer = self._loop.call_later(seconds, action)

    def cancel(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
