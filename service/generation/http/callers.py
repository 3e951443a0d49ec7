"""Identifies the client of a request, for the waiting list's turns and for the deadline of its answer."""

from __future__ import annotations

from fastapi import Request

from service.generation.errors import RequestNotValid
from service.generation.messages import Caller

READ_GRACE_SECONDS = 10.0
"""Time after an answer's deadline during which a client may still read it."""


class Callers:
    """Identifies clients by API key, or by address without one."""

    def __init__(self, *, max_seconds: float, read_grace_seconds: float = READ_GRACE_SECONDS) -> None:
        self._max_seconds = max_seconds
        self._read_grace_seconds = read_grace_seconds

    def of(self, request: Request, *, timeout_seconds: float | None = None) -> Caller:
        """Return the caller of a request. Raises RequestNotValid if the timeout exceeds the service's limit."""
        if timeout_seconds is not None and timeout_seconds > self._max_seconds:
            raise RequestNotValid(
                f"timeout_seconds is {timeout_seconds:g}; this service waits at most {self._max_seconds:g}",
                loc=("timeout_seconds",),
            )
        principal = getattr(request.state, "principal", None)
        address = request.client.host if request.client else ""
        name = f"key {principal.name}" if principal is not None and principal.name else f"address {address}"
        seconds = timeout_seconds or self._max_seconds
        return Caller(name=name, timeout_seconds=seconds, read_seconds=seconds + self._read_grace_seconds)
