"""Reads a sorted set page by page, with opaque cursors."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import NamedTuple

from worker.protocol.errors import InvalidCursor
from worker.protocol.keys import Key
from worker.protocol.scripting.connection import Connection

LARGEST_PAGE = 500


class IndexRow(NamedTuple):
    """A member of a sorted set and its score."""

    id: str
    place: int


def read_rows(connection: Connection, key: Key, member: str = "", *, cursor: str | None, limit: int) -> list[IndexRow]:
    """Read up to ``limit`` members of a sorted set from its end, after ``cursor``. Raises InvalidCursor."""
    assert 1 <= limit <= LARGEST_PAGE, limit
    below = f"({read_cursor(cursor)}" if cursor is not None else "+inf"
    with connection.client() as redis:
        found = redis.zrevrangebyscore(connection.at(key, member), below, "-inf", start=0, num=limit, withscores=True)
    return [IndexRow(member, int(score)) for member, score in found]


def next_cursor(rows: Sequence[IndexRow], limit: int) -> str | None:
    """Return the cursor after these rows; None on the last page."""
    return write_cursor(rows[-1].place) if len(rows) == limit else None


def write_cursor(place: int) -> str:
    """Return an opaque cursor for a place."""
    return base64.urlsafe_b64encode(str(place).encode()).decode().rstrip("=")


def read_cursor(cursor: str) -> int:
    """Return the place of a cursor. Raises InvalidCursor."""
    try:
        return int(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    except ValueError:
        raise InvalidCursor(f"{cursor!r} is not a cursor of this list: send the `next` of the previous page") from None
