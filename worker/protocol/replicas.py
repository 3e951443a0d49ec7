"""The processes that answer prompts, and the revision of the pointer that each serves.

An entry expires unless its process renews it, because a process may be killed. A process that is not ready has none.
"""

from __future__ import annotations

from worker.protocol.keys import Key
from worker.protocol.scripting.connection import Connection

TTL_SECONDS = 30.0
"""Time after which an entry that was not renewed no longer counts. Longer than loading a version takes."""
RENEW_SECONDS = 10.0
"""Pause between two renewals."""

_REPORT = """
local time = redis.call('TIME')
local expires = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000) + ARG.ttl_milliseconds
redis.call('HSET', REPLICAS, ARG.name, ARG.revision .. ' ' .. string.format('%.0f', expires))
"""

_BEHIND = """
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local behind = {}
local entries = redis.call('HGETALL', REPLICAS)
for i = 1, #entries, 2 do
  local revision, expires = string.match(entries[i + 1], '^(%d+) (%d+)$')
  if not revision or tonumber(expires) <= now then
    redis.call('HDEL', REPLICAS, entries[i])
  elseif tonumber(revision) < ARG.revision then
    behind[#behind + 1] = entries[i]
  end
end
table.sort(behind)
return behind
"""


class Replicas:
    """Reads and writes the entries of one store. Every method raises LedgerDown if Redis does not answer."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def report(self, name: str, revision: int) -> None:
        """Record that the process ``name`` is ready and serves the version of this revision of the pointer."""
        self._connection.run(_REPORT, name=name, revision=revision, ttl_milliseconds=round(TTL_SECONDS * 1000))

    def withdraw(self, name: str) -> None:
        """Record that the process is not ready."""
        with self._connection.client() as redis:
            redis.hdel(self._connection.at(Key.REPLICAS), name)

    def behind(self, revision: int) -> list[str]:
        """Return the names of ready processes that serve an older revision, sorted."""
        return list(self._connection.run(_BEHIND, revision=revision))
