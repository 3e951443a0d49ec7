"""Who asks, as far as taking turns needs it, and until when an answer is of use."""

from __future__ import annotations

from fastapi import Request

from service.generation.errors import RequestNotValid
from service.generation.questions import Caller


class Callers:
    """Tells who asks by API key, else by address."""

    def __init__(self, *, max_seconds: float) -> None:
        self._max_seconds = max_seconds

    def of(self, request: Request, *, timeout_seconds: float | None = None) -> Caller:
        """The caller of a request that was let in. Raises RequestNotValid for a time beyond the service's."""
        if timeout_seconds is not None and timeout_seconds > self._max_seconds:
            raise RequestNotValid(
                f"timeout_seconds is {timeout_seconds:g}; this service waits up to {self._max_seconds:g}",
                loc=("timeout_seconds",),
            )
        principal = getattr(request.state, "principal", None)
        address = request.client.host if request.client else ""
        name = f"key {principal.name}" if principal is not None and principal.name else f"address {address}"
        return Caller(name=name, timeout_seconds=timeout_seconds or self._max_seconds)
