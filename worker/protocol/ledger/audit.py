"""Reads the audit chain, and adds entries that no other script of the ledger adds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from worker.protocol.audit.chain import FRAME, AuditEntry, read_line
from worker.protocol.entities import Page
from worker.protocol.keys import Key, Keys
from worker.protocol.scripting.connection import Connection
from worker.protocol.scripting.paging import read_cursor, read_rows, write_cursor

READ_AT_ONCE = 500

_NOTE = """
local what, note, fields = ARG.what, ARG.note, ARG.fields
if note ~= '' and redis.call('EXISTS', AUDIT_OF .. note) == 1 then return 0 end
if note ~= '' then fields[#fields + 1] = {'note', note} end
audit(what, WHO, fields)
return 1
"""


class Audit:
    """The audit chain: append-only, numbered from 1 without gaps."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def page(
        self,
        *,
        edit: str | None = None,
        batch: str | None = None,
        version: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[AuditEntry]:
        """Return entries, newest first. With ids, return only entries that name one of them or the edit's batch.

        Raises InvalidCursor.
        """
        below = read_cursor(cursor) if cursor is not None else self.length() + 1
        members = [member for member in (edit, batch, version, self._batch_of(edit)) if member]
        numbers = self._numbers(members, below, limit) if members else list(range(below - 1, 0, -1)[:limit])
        entries = [read_line(line) for line in self._lines(numbers) if line is not None]
        return Page(items=entries, next=write_cursor(numbers[-1]) if len(numbers) == limit else None)

    def length(self) -> int:
        """Return the number of the last entry; 0 if the chain is empty."""
        with self._connection.client() as redis:
            return int(redis.llen(self._connection.at(Key.AUDIT)))

    def lines(self, *, after: int = 0, until: int | None = None) -> Iterator[str]:
        """Yield the lines of the entries after number ``after``, up to ``until``, in order. Reads in chunks."""
        while until is None or after < until:
            last = after + READ_AT_ONCE if until is None else min(until, after + READ_AT_ONCE)
            with self._connection.client() as redis:
                lines = redis.lrange(self._connection.at(Key.AUDIT), after, last - 1)
            yield from lines
            after += len(lines)
            if not lines:
                return

    def note(self, what: str, *, who: str | None, note: str = "", **fields: Any) -> bool:
        """Add an entry. Return False if an entry with this ``note`` (an id) exists already."""
        assert not FRAME & set(fields), fields
        pairs = [[name, value] for name, value in fields.items() if value not in (None, [], ())]
        return bool(self._connection.run(_NOTE, what=what, note=note, fields=pairs, who=who or ""))

    def _numbers(self, members: Sequence[str], below: int, limit: int) -> list[int]:
        cursor = write_cursor(below)
        found = {
            row.place
            for member in members
            for row in read_rows(self._connection, Key.AUDIT_OF, member, cursor=cursor, limit=limit)
        }
        return sorted(found, reverse=True)[:limit]

    def _lines(self, numbers: Sequence[int]) -> list[str | None]:
        with self._connection.client() as redis, redis.pipeline(transaction=False) as pipe:
            for number in numbers:
                pipe.lindex(self._connection.at(Key.AUDIT), number - 1)
            return list(pipe.execute())

    def _batch_of(self, edit: str | None) -> str | None:
        if edit is None:
            return None
        with self._connection.client() as redis:
            row = redis.hget(self._connection.at(Key.EDITS), edit)
        return None if row is None else str(json.loads(row)["batch"])


def write_chain(pipe: Any, keys: Keys, lines: Sequence[str]) -> None:
    """Replace the whole chain, within ``pipe``."""
    pipe.delete(keys.at(Key.AUDIT))
    for start in range(0, len(lines), READ_AT_ONCE):
        pipe.rpush(keys.at(Key.AUDIT), *lines[start : start + READ_AT_ONCE])
    index: dict[str, dict[str, int]] = {}
    for entry in map(read_line, lines):
        for member in entry.ids():
            index.setdefault(member, {})[str(entry.number)] = entry.number
    for member, numbers in index.items():
        pipe.delete(keys.at(Key.AUDIT_OF, member))
        pipe.zadd(keys.at(Key.AUDIT_OF, member), numbers)
