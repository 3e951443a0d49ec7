"""The current time, and its only text format: ISO 8601 in UTC, with ``Z``."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal

Clock = Callable[[], datetime]
"""Returns the current time with its time zone."""


def utc_now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


def timestamp(moment: datetime, *, timespec: Literal["seconds", "milliseconds"] = "milliseconds") -> str:
    """Format a time as ISO 8601 in UTC with ``Z``, cut to ``timespec``."""
    return moment.astimezone(UTC).isoformat(timespec=timespec).replace("+00:00", "Z")
