"""Accepts batches: one script writes the batch, its edits, its shards and its idempotency key, or nothing."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, NoReturn

from editing_core.edits import AcceptedEdit, Edit
from worker.protocol.entities import Accepted, BatchOptions, BatchRecord, BatchSpec, BatchState
from worker.protocol.errors import IdempotencyMismatch, QueueFull
from worker.protocol.keys import Key, idempotency_hash, subject_hash
from worker.protocol.ledger.batches import Batches
from worker.protocol.scripting.connection import Connection

_ENCODER = json.JSONEncoder(ensure_ascii=False)
"""Made once: ``json.dumps`` with an option makes one for each call."""
IDEMPOTENCY_SECONDS = 7 * 24 * 3600

# The acceptance number is at least the time in milliseconds. It therefore keeps growing after Redis loses its data.
_ACCEPT = """
local batch, request, sender = ARG.batch, ARG.request_hash, ARG.sender
if redis.call('EXISTS', BATCH .. batch) == 1 then
  return {'accepted', batch, redis.call('HGET', BATCH .. batch, 'acceptance')}
end
if sender ~= '' then
  local known = redis.call('HMGET', IDEMPOTENCY .. sender, 'request', 'batch')
  if known[2] then return {known[1] == request and 'replayed' or 'mismatch', known[2]} end
end
if redis.call('SCARD', OPEN) >= ARG.max_open then return {'full', ''} end

local time = redis.call('TIME')
local milliseconds = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local acceptance = math.max(tonumber(redis.call('GET', ACCEPTANCE) or '0') + 1, milliseconds)
acceptance = string.format('%.0f', acceptance)
redis.call('SET', ACCEPTANCE, acceptance)
redis.call('HSET', BATCH .. batch, 'spec', ARG.spec, 'acceptance', acceptance, 'status', 'queued')
touch(batch)
redis.call('ZADD', BATCHES, acceptance, batch)
redis.call('SADD', OPEN, batch)
for shard = 0, ARG.num_shards - 1 do redis.call('SADD', SHARDS .. batch, shard) end
if ARG.num_shards == 0 then set_status(batch, 'ready') end
if sender ~= '' then
  redis.call('HSET', IDEMPOTENCY .. sender, 'request', request, 'batch', batch)
  redis.call('EXPIRE', IDEMPOTENCY .. sender, ARG.keep_seconds)
end
local place = redis.call('INCRBY', EDIT_SEQUENCE, #ARG.edits)
for first = 1, #ARG.edits, 1000 do -- Lua passes a limited number of arguments
  local records, places = {}, {}
  for i = first, math.min(first + 999, #ARG.edits) do
    local edit = ARG.edits[i]
    records[#records + 1], records[#records + 2] = edit.id, edit.record
    places[#places + 1], places[#places + 2] = place, edit.id
    redis.call('ZADD', SUBJECT_EDITS .. edit.subject, place, edit.id)
    place = place - 1
  end
  redis.call('HSET', EDITS, unpack(records))
  redis.call('ZADD', EDIT_ORDER, unpack(places))
  redis.call('ZADD', BATCH_EDITS .. batch, unpack(places))
end
audit('batch.accepted', WHO, {{'batch', batch}, {'num_edits', #ARG.edits}, {'remove', ARG.remove}})
return {'accepted', batch, acceptance}
"""


class Acceptance:
    """Accepts batches."""

    def __init__(self, connection: Connection, batches: Batches) -> None:
        self._connection = connection
        self._batches = batches

    def accept(
        self,
        edits: Sequence[Edit],
        *,
        author: str | None,
        request_hash: str,
        options: BatchOptions = BatchOptions(),  # noqa: B008  # frozen
        idempotency: tuple[str, str] | None = None,
        shard_size: int,
        max_open: int,
        remove: Sequence[str] = (),
        request: str | None = None,
    ) -> Accepted:
        """Write a batch of validated edits and of ids to ``remove``. Redis syncs it to disk before this returns.

        ``idempotency``: the owner of the key, and the key. A repeated key with the same ``request_hash`` returns the
        first batch. ``request``: id of the request, for the logs. Raises IdempotencyMismatch, LedgerDown, and QueueFull
        if ``max_open`` batches have no final state.
        """
        assert edits or remove, "an empty batch"
        batch = f"b{uuid.uuid4().hex[:16]}"
        spec = {
            "created": self._connection.now(),
            "author": author,
            "options": asdict(options),
            "num_edits": len(edits),
            "shard_size": shard_size,
            "request_hash": request_hash,
            "remove": list(remove),
            "request": request,
        }
        outcome, known, *acceptance = self._connection.run(
            _ACCEPT,
            batch=batch,
            request_hash=request_hash,
            spec=json.dumps(spec),
            remove=list(remove),
            num_shards=-(-len(edits) // shard_size),
            max_open=max_open,
            sender=idempotency_hash(*idempotency) if idempotency else "",
            keep_seconds=IDEMPOTENCY_SECONDS,
            edits=[_row(batch, index, edit) for index, edit in enumerate(edits)],
            who=author or "",
        )
        if outcome == "accepted":
            return _accepted(batch, edits, {**spec, "acceptance": int(acceptance[0])})
        if outcome != "replayed":
            _refuse(outcome, known, idempotency, max_open=max_open)
        return Accepted(record=self._batches.get(known), edits=self._batches.edits(known), replayed=True)

    def accepted_before(self, idempotency: tuple[str, str], request_hash: str) -> Accepted | None:
        """Return the batch that was accepted under this idempotency key; None if the key is new.

        Raises IdempotencyMismatch if its request had another body.
        """
        with self._connection.client() as redis:
            request, batch = redis.hmget(
                self._connection.at(Key.IDEMPOTENCY, idempotency_hash(*idempotency)), "request", "batch"
            )
        if batch is None:
            return None
        if request != request_hash:
            _refuse("mismatch", batch, idempotency, max_open=0)
        return Accepted(record=self._batches.get(batch), edits=self._batches.edits(batch), replayed=True)


def _row(batch: str, index: int, edit: Edit) -> dict[str, str]:
    record = _ENCODER.encode({"batch": batch, "edit": edit.to_json()})
    return {"id": edit_id(batch, index), "subject": subject_hash(edit.subject), "record": record}


def _accepted(batch: str, edits: Sequence[Edit], spec: dict[str, Any]) -> Accepted:
    """Return the written batch without reading it back."""
    written = BatchSpec.from_summary(batch, spec)
    rows = tuple(
        AcceptedEdit(
            id=edit_id(batch, index),
            edit=edit,
            batch=batch,
            acceptance=written.acceptance,
            created=written.created,
            author=written.author,
        )
        for index, edit in enumerate(edits)
    )
    status, progress_number = (BatchState.QUEUED, 1) if edits else (BatchState.READY, 2)
    record = BatchRecord(spec=written, status=status, updated=written.created, progress_number=progress_number)
    return Accepted(record=record, edits=rows, replayed=False)


def edit_id(batch: str, index: int) -> str:
    """Return the id of an edit. The ids of a batch sort in the order of its edits."""
    return f"e{batch[1:]}-{index:05d}"


def _refuse(outcome: str, known: str, idempotency: tuple[str, str] | None, *, max_open: int) -> NoReturn:
    if outcome == "mismatch":
        assert idempotency is not None
        raise IdempotencyMismatch(
            f"the idempotency key {idempotency[1]!r} was used for batch {known} with another body: use a new key, "
            "or send the first body again"
        )
    raise QueueFull(f"{max_open} batches wait, which is the limit: retry after some of them are done")
