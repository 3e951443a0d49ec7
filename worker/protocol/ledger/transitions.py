"""Changes the state of batches. A lost race is an error."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Any

from editing_core.errors import NotFound
from worker.protocol.entities import CANCELLABLE_STATES, BatchRecord, BatchState, Lease, Progress
from worker.protocol.errors import BatchNotCancellable, LostRace
from worker.protocol.keys import Key
from worker.protocol.ledger.batches import Batches
from worker.protocol.ledger.leases import stale
from worker.protocol.scripting.connection import Connection
from worker.protocol.scripting.prelude import COUNT_EDITS

_MOVE = (
    COUNT_EDITS
    + """
local batch, to, unit, token = ARG.batch, ARG.to, ARG.unit, ARG.token
local expected = {}
for _, state in ipairs(ARG.expected) do expected[state] = true end
local status = status_of(batch)
if not status then return {'unknown', ''} end
if not expected[status] then return {'lost', status} end
if unit ~= '' then
  if not held(unit, token) then return {'stale', status} end
  if IN_COMMIT[status] and redis.call('HGET', BATCH .. batch, 'token') ~= token then return {'stale', status} end
end
for name, text in pairs(ARG.fields) do redis.call('HSET', BATCH .. batch, name, text) end
set_status(batch, to)
if FINAL[to] then count_edits(batch, to) end
return {'moved', to}
"""
)

_BEGIN_SHARD = """
local unit, batch, shard = ARG.unit, ARG.batch, ARG.shard
if not held(unit, ARG.token) then return 'stale' end
local status = status_of(batch)
if (status ~= 'queued' and status ~= 'computing') or redis.call('SISMEMBER', SHARDS .. batch, shard) == 0 then
  forget_attempts(unit)
  return 'nothing'
end
if status == 'queued' then set_status(batch, 'computing') end
return 'begun'
"""

_SHARD_DONE = """
local unit, batch, shard = ARG.unit, ARG.batch, ARG.shard
if not held(unit, ARG.token) then return -1 end
if status_of(batch) ~= 'computing' then return 0 end
redis.call('SREM', SHARDS .. batch, shard)
forget_attempts(unit)
local remaining = redis.call('SCARD', SHARDS .. batch)
if remaining == 0 then set_status(batch, 'ready') else touch(batch) end
return remaining
"""

_BEGIN_COMMIT = (
    COUNT_EDITS
    + """
local token, max_attempts = ARG.token, ARG.max_attempts
if not held(COMMIT_UNIT, token) then return {'stale'} end
local taken = {'taken'}
for _, batch in ipairs(ARG.batches) do
  local status, unit = status_of(batch), COMMIT_UNIT .. '-' .. batch
  if IN_COMMIT[status] and redis.call('HGET', BATCH .. batch, 'token') == token then
    taken[#taken + 1] = batch
  elseif status == 'ready' or IN_COMMIT[status] then
    local reason = used_up(unit, max_attempts)
    if reason then
      redis.call('HSET', BATCH .. batch, 'error', reason)
      set_status(batch, 'failed')
      count_edits(batch, 'failed')
    else
      begin_attempt(unit)
      redis.call('HSET', BATCH .. batch, 'token', token)
      redis.call('HDEL', BATCH .. batch, 'progress', 'error')
      set_status(batch, 'applying')
      taken[#taken + 1] = batch
    end
  end
end
return taken
"""
)

# The batches become ready again, and the attempt does not count.
_GIVE_BACK = """
local token = ARG.token
if not held(COMMIT_UNIT, token) then return 0 end
for _, batch in ipairs(ARG.batches) do
  if IN_COMMIT[status_of(batch)] and redis.call('HGET', BATCH .. batch, 'token') == token then
    redis.call('HINCRBY', ATTEMPTS, COMMIT_UNIT .. '-' .. batch, -1)
    set_status(batch, 'ready')
  end
end
return 1
"""

_PROGRESS = """
if not held(ARG.unit, ARG.token) then return 0 end
local alive = 0
for _, batch in ipairs(ARG.batches) do
  local status = status_of(batch)
  if status and not FINAL[status] then
    redis.call('HSET', BATCH .. batch, 'progress', ARG.progress)
    touch(batch)
    alive = alive + 1
  end
end
return alive
"""


class Transitions:
    """Changes the state and progress of batches."""

    def __init__(self, connection: Connection, batches: Batches) -> None:
        self._connection = connection
        self._batches = batches

    def move(
        self,
        batch: str,
        to: BatchState,
        *,
        expected: BatchState | Collection[BatchState],
        lease: Lease | None = None,
        **fields: Any,
    ) -> None:
        """Change the state of a batch and set ``fields`` (report, error, version) in the same script.

        Raises NotFound, LostRace if the state is none of ``expected``, and StaleLease if ``lease`` has ended or another
        commit has the batch.
        """
        states = {expected} if isinstance(expected, BatchState) else expected
        outcome, status = self._connection.run(
            _MOVE,
            batch=batch,
            to=to,
            expected=sorted(states),
            unit=lease.unit if lease else "",
            token=lease.fence if lease else "",
            fields={name: _text(value) for name, value in fields.items() if value is not None},
        )
        if outcome == "stale":
            assert lease is not None
            raise stale(lease)
        if outcome == "unknown":
            raise NotFound(f"there is no batch {batch!r}: GET /batches lists those that are known")
        if outcome == "lost":
            raise LostRace(f"batch {batch} is {status}, not {' or '.join(sorted(states))}: it was not made {to}")

    def cancel(self, batch: str, *, author: str | None = None) -> BatchRecord:
        """Cancel a batch that is not past the state ``ready``. A repeated cancellation changes nothing.

        Raises BatchNotCancellable, NotFound.
        """
        try:
            self.move(batch, BatchState.CANCELLED, expected=CANCELLABLE_STATES, cancelled_by=author or "")
        except LostRace:
            record = self._batches.get(batch)
            if record.status == BatchState.CANCELLED:
                return record
            is_applied = record.status == BatchState.APPLIED
            way_out = (
                "promote an older version to undo it" if is_applied else "its record says how it ended or continues"
            )
            raise BatchNotCancellable(f"batch {batch} is {record.status}: {way_out}") from None
        return self._batches.get(batch)

    def begin_shard(self, batch: str, shard: int, lease: Lease) -> bool:
        """Begin a shard. Return False if it needs no work (done, cancelled, rejected). Raises StaleLease."""
        outcome = self._connection.run(_BEGIN_SHARD, unit=lease.unit, token=lease.fence, batch=batch, shard=shard)
        if outcome == "stale":
            raise stale(lease)
        return bool(outcome == "begun")

    def shard_done(self, batch: str, shard: int, lease: Lease) -> int:
        """Close a shard and return the number of open shards. Closing the last one makes the batch ready.

        Raises StaleLease.
        """
        remaining = int(self._connection.run(_SHARD_DONE, unit=lease.unit, token=lease.fence, batch=batch, shard=shard))
        if remaining < 0:
            raise stale(lease)
        return remaining

    def begin_commit(self, lease: Lease, batches: Sequence[str], *, max_attempts: int) -> list[str]:
        """Take ready batches, and batches of a commit that died, into this commit. Return the taken batches.

        This counts as an attempt of each batch, once per lease. A batch that has used up ``max_attempts`` fails with
        the last reason. Batches in another state, such as cancelled ones, are left out. Raises StaleLease.
        """
        outcome, *taken = self._connection.run(
            _BEGIN_COMMIT, token=lease.fence, max_attempts=max_attempts, batches=list(batches)
        )
        if outcome == "stale":
            raise stale(lease)
        return taken

    def explain_ready(self, error: str) -> None:
        """Record in every ready batch why no commit can begin. The next commit clears the reason."""
        with self._connection.client() as redis:
            ready = redis.zrange(self._connection.at(Key.READY), 0, -1)
        for batch in ready:
            with suppress(LostRace):
                self.move(batch, BatchState.READY, expected=BatchState.READY, error=error)

    def give_back(self, lease: Lease, batches: Sequence[str]) -> None:
        """Make the batches of this commit ready again without counting an attempt. Raises StaleLease."""
        if not self._connection.run(_GIVE_BACK, token=lease.fence, batches=list(batches)):
            raise stale(lease)

    def commit_attempts(self, batches: Sequence[str]) -> dict[str, int]:
        """Return the number of commit attempts of each batch."""
        with self._connection.client() as redis:
            counts = (
                redis.hmget(self._connection.at(Key.ATTEMPTS), [f"commit-{batch}" for batch in batches])
                if batches
                else []
            )
        return {batch: int(count or 0) for batch, count in zip(batches, counts, strict=True)}

    def progress(self, batches: Sequence[str], progress: Progress, lease: Lease) -> None:
        """Record the progress of batches. Raises StaleLease if none of them is under this lease."""
        told = _text(progress.to_json())
        if not self._connection.run(
            _PROGRESS, unit=lease.unit, token=lease.fence, progress=told, batches=list(batches)
        ):
            raise stale(lease)

    def shard_progress(self, batch: str, shard: int, done: int) -> int:
        """Record the number of computed edits of a shard, and return the number for the whole batch."""
        key = self._connection.at(Key.SHARD_PROGRESS, batch)
        with self._connection.client() as redis, redis.pipeline() as pipe:
            pipe.hset(key, str(shard), done)
            pipe.hvals(key)
            pipe.expire(key, 7 * 24 * 3600)
            return sum(int(count) for count in pipe.execute()[1])

    def add_stage_seconds(self, stage: str, seconds: float) -> None:
        """Add the time of one run of a stage (one of ``batches.STAGES``), for metrics."""
        with self._connection.client() as redis, redis.pipeline(transaction=False) as pipe:
            pipe.hincrbyfloat(self._connection.at(Key.STAGE_SECONDS), stage, seconds)
            pipe.hincrby(self._connection.at(Key.STAGE_COUNTS), stage, 1)
            pipe.execute()


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
