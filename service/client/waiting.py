"""Asking again and again until something has ended, through an outage; knows nothing of what is asked."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from service.client.errors import ErrataApiError, ServiceUnreachable, WaitTimedOut

UNAVAILABLE = 503
LONGEST_OUTAGE_SECONDS = 60.0


class Ending(Protocol):
    """What is waited for."""

    @property
    def is_final(self) -> bool:
        """Whether it has ended."""
        ...


EndingT = TypeVar("EndingT", bound=Ending)


def wait_for_end(
    ask: Callable[[], EndingT],
    *,
    what: str,
    on_progress: Callable[[EndingT], None] | None,
    timeout_seconds: float | None,
    poll_seconds: float,
) -> EndingT:
    """The answer that is final; ``on_progress`` gets every answer.

    Raises WaitTimedOut after ``timeout_seconds``, and what ``ask`` raises, unless it is an outage of up to a minute.
    """
    started = answered = time.monotonic()
    while True:
        try:
            found = ask()
        except (ServiceUnreachable, ErrataApiError) as error:
            outage_seconds = time.monotonic() - answered
            if getattr(error, "status", UNAVAILABLE) != UNAVAILABLE or outage_seconds > LONGEST_OUTAGE_SECONDS:
                raise
        else:
            answered = time.monotonic()
            if on_progress is not None:
                on_progress(found)
            if found.is_final:
                return found
        if timeout_seconds is not None and time.monotonic() - started > timeout_seconds:
            raise WaitTimedOut(f"{what} has no final state after {timeout_seconds:g} s; it goes on")
        time.sleep(poll_seconds)
