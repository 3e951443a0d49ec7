"""Taking a batch in: one script writes the batch, its edits, its shards and its idempotency key, or nothing."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, NoReturn

from editing_core.edits import AcceptedEdit, Edit
from worker.protocol.entities import Accepted, BatchOptions, BatchRecord, BatchSpec, BatchState
from worker.protocol.errors import IdempotencyMismatch, LedgerDown, QueueFull
from worker.protocol.keys import Key, idempotency_hash, subject_hash
from worker.protocol.ledger.batches import Batches
from worker.protocol.scripting.connection import Connection

IDEMPOTENCY_SECONDS = 7 * 24 * 3600

# The acceptance number is at least the time in milliseconds: it grows even beyond a Redis that lost its memory.
_ACCEPT = """
local batch, request, spec, num_edits = A(1), A(2), A(3), tonumber(A(4))
local num_shards, max_open, sender, keep_seconds = tonumber(A(5)), tonumber(A(6)), A(7), A(8)
if redis.call('EXISTS', BATCH .. batch) == 1 then
  return {'accepted', batch, redis.call('HGET', BATCH .. batch, 'acceptance')}
end
if sender ~= '' then
  local known = redis.call('HMGET', IDEMPOTENCY .. sender, 'request', 'batch')
  if known[2] then return {known[1] == request and 'replayed' or 'mismatch', known[2]} end
end
if redis.call('SCARD', OPEN) >= max_open then return {'full', ''} end

local time = redis.call('TIME')
local milliseconds = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local acceptance = math.max(tonumber(redis.call('GET', ACCEPTANCE) or '0') + 1, milliseconds)
acceptance = string.format('%.0f', acceptance)
redis.call('SET', ACCEPTANCE, acceptance)
redis.call('HSET', BATCH .. batch, 'spec', spec, 'acceptance', acceptance, 'status', 'queued')
touch(batch)
redis.call('ZADD', BATCHES, acceptance, batch)
redis.call('SADD', OPEN, batch)
for shard = 0, num_shards - 1 do redis.call('SADD', SHARDS .. batch, shard) end
if num_shards == 0 then set_status(batch, 'ready') end
if sender ~= '' then
  redis.call('HSET', IDEMPOTENCY .. sender, 'request', request, 'batch', batch)
  redis.call('EXPIRE', IDEMPOTENCY .. sender, keep_seconds)
end
local place = redis.call('INCRBY', EDIT_SEQUENCE, num_edits)
for i = 9, NUM_ARGS, 3 do
  local edit, subject, json = A(i), A(i + 1), A(i + 2)
  redis.call('HSET', EDITS, edit, json)
  redis.call('ZADD', EDIT_ORDER, place, edit)
  redis.call('ZADD', BATCH_EDITS .. batch, place, edit)
  redis.call('ZADD', SUBJECT_EDITS .. subject, place, edit)
  place = place - 1
end
audit('batch.accepted', WHO, {{'batch', batch}, {'num_edits', num_edits}, {'remove', cjson.decode(spec).remove}})
return {'accepted', batch, acceptance}
"""


class Acceptance:
    """The ledger's way in."""

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
        """Write a batch of validated edits, and ids to ``remove``; it is on disk when this returns.

        ``idempotency``: whose key, and the key; the same with the same ``request_hash`` gives the first batch again.
        ``request``: the id by which logs know who brought it.
        Raises QueueFull above ``max_open`` batches without a final state, IdempotencyMismatch, LedgerDown.
        """
        assert edits or remove, "an empty batch is refused at the door"
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
        rows: list[str] = []
        for index, edit in enumerate(edits):
            text = json.dumps({"batch": batch, "edit": edit.to_json()}, ensure_ascii=False)
            rows += (edit_id(batch, index), subject_hash(edit.subject), text)
        sender = idempotency_hash(*idempotency) if idempotency else ""
        num_shards = -(-len(edits) // shard_size)
        head = [batch, request_hash, json.dumps(spec), len(edits), num_shards, max_open, sender, IDEMPOTENCY_SECONDS]
        outcome, known, *acceptance = self._connection.run(_ACCEPT, *head, *rows, who=author or "")
        if outcome == "accepted":
            return self._accepted(batch, edits, {**spec, "acceptance": int(acceptance[0])})
        if outcome != "replayed":
            _refuse(outcome, known, idempotency, max_open=max_open)
        return Accepted(record=self._batches.get(known), edits=self._batches.edits(known), replayed=True)

    def accepted_before(self, idempotency: tuple[str, str], request_hash: str) -> Accepted | None:
        """The batch that was taken under this idempotency key. Raises IdempotencyMismatch for another body's."""
        with self._connection.client() as redis:
            request, batch = redis.hmget(
                self._connection.at(Key.IDEMPOTENCY, idempotency_hash(*idempotency)), "request", "batch"
            )
        if batch is None:
            return None
        if request != request_hash:
            _refuse("mismatch", batch, idempotency, max_open=0)
        return Accepted(record=self._batches.get(batch), edits=self._batches.edits(batch), replayed=True)

    def _accepted(self, batch: str, edits: Sequence[Edit], spec: dict[str, Any]) -> Accepted:
        """The answer to a batch just written; from memory when Redis goes away before it can be read back."""
        try:
            return Accepted(record=self._batches.get(batch), edits=self._batches.edits(batch), replayed=False)
        except LedgerDown:
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
        status = BatchState.QUEUED if edits else BatchState.READY
        record = BatchRecord(spec=written, status=status, updated=written.created, progress_number=1)
        return Accepted(record=record, edits=rows, replayed=False)


def edit_id(batch: str, index: int) -> str:
    """The id of a batch's edit: in order of their places, also as text."""
    return f"e{batch[1:]}-{index:05d}"


def _refuse(outcome: str, known: str, idempotency: tuple[str, str] | None, *, max_open: int) -> NoReturn:
    if outcome == "mismatch":
        assert idempotency is not None
        raise IdempotencyMismatch(
            f"the idempotency key {idempotency[1]!r} was used for batch {known} with another body: use a new key, "
            "or send the first body again"
        )
    raise QueueFull(f"{max_open} batches wait, as many as are allowed: try again when some are done")
