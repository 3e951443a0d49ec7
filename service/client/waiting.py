"""Polling until a batch or an export has a final state, also through an outage of the service."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

from service.client.errors import ErrataApiError, ErrataClientError, ServiceUnreachable, WaitTimedOut

UNAVAILABLE = 503
LONGEST_OUTAGE_SECONDS = 60.0


class Pollable(Protocol):
    """A state that becomes final."""

    @property
    def is_final(self) -> bool:
        """Whether the state changes no more by itself."""
        ...


PollableT = TypeVar("PollableT", bound=Pollable)


class Polling(Generic[PollableT]):
    """The rules of one wait: what counts as the end, which failures are borne, and how long it may take."""

    def __init__(
        self,
        what: str,
        *,
        on_progress: Callable[[PollableT], None] | None,
        timeout_seconds: float | None,
        poll_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.poll_seconds = poll_seconds
        self._what = what
        self._on_progress = on_progress
        self._timeout_seconds = timeout_seconds
        self._clock = clock
        self._started = self._answered = clock()

    def is_over(self, state: PollableT) -> bool:
        """Report a state to ``on_progress``, and say whether it is final."""
        self._answered = self._clock()
        if self._on_progress is not None:
            self._on_progress(state)
        return state.is_final

    def bear(self, error: ErrataClientError) -> None:
        """Return for an outage of up to a minute. Raises any other error."""
        is_outage = isinstance(error, ServiceUnreachable) or getattr(error, "status", None) == UNAVAILABLE
        if not is_outage or self._clock() - self._answered > LONGEST_OUTAGE_SECONDS:
            raise error

    def require_time(self) -> None:
        """Raises WaitTimedOut if the time is over."""
        if self._timeout_seconds is not None and self._clock() - self._started > self._timeout_seconds:
            raise WaitTimedOut(
                f"{self._what} has no final state after {self._timeout_seconds:g} s; it continues in the service"
            )


def poll(ask: Callable[[], PollableT], polling: Polling[PollableT]) -> PollableT:
    """Ask until the state is final. Raises WaitTimedOut, and what ``ask`` raises unless it is a short outage."""
    while True:
        try:
            state = ask()
        except (ServiceUnreachable, ErrataApiError) as error:
            polling.bear(error)
        else:
            if polling.is_over(state):
                return state
        polling.require_time()
        time.sleep(polling.poll_seconds)


async def poll_async(ask: Callable[[], Awaitable[PollableT]], polling: Polling[PollableT]) -> PollableT:
    """``poll`` on asyncio."""
    while True:
        try:
            state = await ask()
        except (ServiceUnreachable, ErrataApiError) as error:
            polling.bear(error)
        else:
            if polling.is_over(state):
                return state
        polling.require_time()
        await asyncio.sleep(polling.poll_seconds)
