"""Records requests, progress and results of exports.

Each change is one script. Once the work has begun, changes require its lease.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from editing_core.errors import NotFound
from editing_core.export.request import ExportRequest
from worker.protocol.entities import Lease, Page, Progress
from worker.protocol.errors import QueueFull
from worker.protocol.export_records import ExportRecord, ExportState
from worker.protocol.keys import Key, export_unit
from worker.protocol.ledger.leases import stale
from worker.protocol.scripting.connection import Connection
from worker.protocol.scripting.paging import next_cursor, read_rows

MAX_OPEN_EXPORTS = 100
"""Largest number of queued and running exports."""

_IS_OPEN = """
local function is_open(export)
  local status = redis.call('HGET', EXPORT .. export, 'status')
  return status == 'queued' or status == 'running', status
end
"""

_REQUEST = (
    _IS_OPEN
    + """
local export, spec = ARG.export, ARG.spec
local open, status = is_open(export)
if open or (status == 'done' and not ARG.is_lost) then return 'known' end
if redis.call('SCARD', OPEN_EXPORTS) >= ARG.max_open then return 'full' end
redis.call('DEL', EXPORT .. export)
redis.call('HSET', EXPORT .. export, 'spec', spec, 'status', 'queued', 'updated', NOW)
redis.call('ZADD', EXPORTS, redis.call('INCR', EXPORT_SEQUENCE), export)
redis.call('SADD', OPEN_EXPORTS, export)
forget_attempts(ARG.unit)
audit('export.asked', WHO, {{'version', cjson.decode(spec).version}, {'export', export}})
return 'queued'
"""
)

_BEGIN = (
    _IS_OPEN
    + """
local unit, export = ARG.unit, ARG.export
if not held(unit, ARG.token) then return 'stale' end
if not is_open(export) then
  forget_attempts(unit)
  return 'nothing'
end
redis.call('HSET', EXPORT .. export, 'status', 'running', 'updated', NOW)
return 'begun'
"""
)

_PROGRESS = """
if not held(ARG.unit, ARG.token) then return 0 end
redis.call('HSET', EXPORT .. ARG.export, 'progress', ARG.progress, 'updated', NOW)
return 1
"""

_END = (
    _IS_OPEN
    + """
local unit, export, status = ARG.unit, ARG.export, ARG.status
if ARG.token ~= '' and not held(unit, ARG.token) then return 'stale' end
if not is_open(export) then return 'nothing' end
redis.call('HSET', EXPORT .. export, 'status', status, ARG.field, ARG.text, 'updated', NOW)
redis.call('HDEL', EXPORT .. export, 'progress')
redis.call('SREM', OPEN_EXPORTS, export)
forget_attempts(unit)
audit('export.' .. status, WHO, {{'export', export}})
return 'ended'
"""
)


class Requested(NamedTuple):
    """The result of a request."""

    record: ExportRecord
    is_new: bool
    """Whether this request queued the export."""


class Exports:
    """Records exports."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def request(
        self, request: ExportRequest, *, author: str | None, is_lost: bool, asked_by: str | None = None
    ) -> Requested:
        """Queue an export, unless the same export exists and has not failed. Redis syncs it before this returns.

        ``is_lost``: the export's files are missing, so a finished export is made again. ``asked_by``: id of the
        request, for the logs. Raises QueueFull.
        """
        about = {"created": self._connection.now(), "author": author, "request": asked_by}
        spec = json.dumps({**request.to_json(), **about}, ensure_ascii=False)
        unit = export_unit(request.id)
        outcome = self._connection.run(
            _REQUEST,
            export=request.id,
            spec=spec,
            unit=unit,
            max_open=MAX_OPEN_EXPORTS,
            is_lost=is_lost,
            who=author or "",
        )
        if outcome == "full":
            raise QueueFull(f"{MAX_OPEN_EXPORTS} exports wait, which is the limit: retry after some of them are done")
        return Requested(self.get(request.id), outcome == "queued")

    def get(self, export: str) -> ExportRecord:
        """Return one export. Raises NotFound."""
        found = self._exports([export] if export else [])
        if not found:
            raise NotFound(f"there is no export {export!r}: GET /exports lists those that are known")
        return found[0]

    def page(self, cursor: str | None = None, limit: int = 50) -> Page[ExportRecord]:
        """Return a page of all exports, last request first. Raises InvalidCursor."""
        rows = read_rows(self._connection, Key.EXPORTS, cursor=cursor, limit=limit)
        return Page(items=self._exports(row.id for row in rows), next=next_cursor(rows, limit))

    def open(self) -> list[str]:
        """Return the ids of the queued and running exports."""
        with self._connection.client() as redis:
            return sorted(redis.smembers(self._connection.at(Key.OPEN_EXPORTS)))

    def begin(self, export: str, lease: Lease) -> bool:
        """Begin the work. Return False if the export needs no work. Raises StaleLease."""
        outcome = self._connection.run(_BEGIN, unit=lease.unit, token=lease.fence, export=export)
        if outcome == "stale":
            raise stale(lease)
        return bool(outcome == "begun")

    def progress(self, export: str, progress: Progress, lease: Lease) -> None:
        """Record progress. Raises StaleLease."""
        if not self._connection.run(
            _PROGRESS, unit=lease.unit, token=lease.fence, export=export, progress=json.dumps(progress.to_json())
        ):
            raise stale(lease)

    def finish(self, export: str, result: dict[str, Any], lease: Lease) -> None:
        """Mark the export ``done``. Raises StaleLease."""
        text = json.dumps(result, ensure_ascii=False)
        self._end(export, ExportState.DONE, "result", text, lease)

    def fail(self, export: str, error: str, lease: Lease | None = None) -> None:
        """Mark the export ``failed``. Pass no lease if its attempts are used up. Raises StaleLease."""
        self._end(export, ExportState.FAILED, "error", error, lease)

    def _end(self, export: str, status: ExportState, field: str, text: str, lease: Lease | None) -> None:
        outcome = self._connection.run(
            _END,
            unit=export_unit(export),
            token=lease.fence if lease else "",
            export=export,
            status=status.value,
            field=field,
            text=text,
        )
        if outcome == "stale":
            assert lease is not None
            raise stale(lease)

    def _exports(self, ids: Iterable[str]) -> list[ExportRecord]:
        with self._connection.client() as redis, redis.pipeline(transaction=False) as pipe:
            for export in ids:
                pipe.hgetall(self._connection.at(Key.EXPORT, export))
            return [_read(fields) for fields in pipe.execute() if fields]


def _read(fields: dict[str, str]) -> ExportRecord:
    spec = json.loads(fields["spec"])
    progress, result = fields.get("progress"), fields.get("result")
    return ExportRecord(
        request=ExportRequest.from_json(spec),
        created=spec["created"],
        author=spec["author"],
        asked_by=spec.get("request"),
        status=ExportState(fields["status"]),
        updated=fields["updated"],
        progress=Progress(**json.loads(progress)) if progress else None,
        result=json.loads(result) if result else None,
        error=fields.get("error"),
    )
