"""A clock that tests move by hand."""

from __future__ import annotations

import time


class Clock:
    """Runs like ``time.monotonic`` unless it is stopped, plus the seconds that a test has skipped."""

    def __init__(self, *, stopped: bool = False) -> None:
        self._stopped_at = time.monotonic() if stopped else None
        self._skipped = 0.0

    def __call__(self) -> float:
        return (time.monotonic() if self._stopped_at is None else self._stopped_at) + self._skipped

    def skip(self, seconds: float) -> None:
        """Move the clock forward."""
        self._skipped += seconds
