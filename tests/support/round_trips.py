"""Counts the packets of commands that are sent to Redis. A pipeline is sent as a whole and counts once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from redis.connection import AbstractConnection


@contextmanager
def counting_trips() -> Iterator[list[None]]:
    """One entry for each packet that any connection of this process sends during the block."""
    trips: list[None] = []
    send = AbstractConnection.send_packed_command

    def counted(self: Any, *args: Any, **options: Any) -> Any:
        trips.append(None)
        return send(self, *args, **options)

    AbstractConnection.send_packed_command = counted  # type: ignore[method-assign]
    try:
        yield trips
    finally:
        AbstractConnection.send_packed_command = send  # type: ignore[method-assign]
