"""Moving the pointer: publishing a commit's version, promoting an older one or a candidate, discarding candidates."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from editing_core.errors import NotFound
from worker.protocol.entities import ORIGINAL, Lease, Pointer, Promotion, VersionRecord
from worker.protocol.errors import LostRace, StaleCandidate
from worker.protocol.keys import Key
from worker.protocol.ledger.leases import stale
from worker.protocol.ledger.versions import Versions, write_version
from worker.protocol.scripting.connection import Connection
from worker.protocol.scripting.prelude import COUNT_EDITS

_NEW_VERSION_NUMBER = """
local number = math.max(tonumber(redis.call('GET', VERSION_NUMBER) or '0'), tonumber(A(1))) + 1
redis.call('SET', VERSION_NUMBER, number)
return number
"""

_PUBLISH = (
    COUNT_EDITS
    + """
local token, expected_revision, version, number = A(1), tonumber(A(2)), A(3), A(4)
local parent, record, num_batches, num_live, expires = A(5), A(6), tonumber(A(7)), tonumber(A(8)), A(9)
local num_dropped = tonumber(A(10))
if not held(COMMIT_UNIT, token) then return {'stale', ''} end
local revision, live = live_version()
if revision ~= expected_revision then return {'lost', 'the live version is ' .. live .. ' now'} end
if redis.call('EXISTS', VERSION .. version) == 1 then return {'lost', version .. ' was published before'} end
local first_batch = 11 + 2 * num_dropped
local first_edit = first_batch + 2 * num_batches
for i = first_batch, first_edit - 1, 2 do
  local batch = redis.call('HMGET', BATCH .. A(i), 'status', 'token')
  if batch[1] ~= 'checking' or batch[2] ~= token then
    return {'lost', 'batch ' .. A(i) .. ' is ' .. (batch[1] or 'gone')}
  end
end
redis.call('HSET', VERSION .. version, 'record', record)
redis.call('ZADD', VERSIONS, number, version)
redis.call('HSET', PARENTS, version, parent)
for i = first_edit, NUM_ARGS do
  redis.call('SADD', (i < first_edit + num_live and VERSION_EDITS or VERSION_HISTORY) .. version, A(i))
end
for i = 11, first_batch - 1, 2 do
  redis.call('SADD', DROPPED, A(i))
  redis.call('HSET', EDIT_REPORTS, A(i), A(i + 1))
  redis.call('HINCRBY', BATCH .. cjson.decode(redis.call('HGET', EDITS, A(i))).batch, 'dropped', 1)
end
for i = first_batch, first_edit - 1, 2 do
  redis.call('HSET', BATCH .. A(i), 'version', version, 'report', A(i + 1))
  set_status(A(i), expires == '' and 'applied' or 'candidate')
  if expires == '' then count_edits(A(i), 'applied') end
end
if expires ~= '' then
  redis.call('HSET', CANDIDATES, version, expires)
  audit('version.candidate', WHO, {{'version', version}, {'parent', parent}})
  return {'published', tostring(revision)}
end
return {'published', tostring(point_at(version, 'commit'))}
"""
)

_PROMOTE = (
    COUNT_EDITS
    + """
local version, author = A(1), A(2)
local revision, previous = live_version()
if version == previous then
  local last = redis.call('LINDEX', PROMOTIONS, -1)
  local move = last and cjson.decode(last) or {}
  local asked_again = move.version == version and move.author == author
  return {'same', asked_again and move.previous or previous, revision}
end
if version ~= 'v0' then
  local known = redis.call('HMGET', VERSION .. version, 'record', 'removed')
  if not known[1] then return {'unknown', previous, revision} end
  if known[2] then return {'removed', previous, revision} end
  if redis.call('HEXISTS', CANDIDATES, version) == 1 then
    if redis.call('HGET', PARENTS, version) ~= previous then return {'stale', previous, revision} end
    redis.call('HDEL', CANDIDATES, version)
    redis.call('HSET', VERSION .. version, 'adopted', revision + 1)
    for _, batch in ipairs(cjson.decode(known[1]).batches) do
      set_status(batch, 'applied')
      count_edits(batch, 'applied')
    end
  end
end
return {'promoted', previous, point_at(version, author)}
"""
)

_DISCARD = (
    COUNT_EDITS
    + """
local reason = A(1)
local discarded = {'discarded'}
for i = 2, NUM_ARGS do
  local version = A(i)
  if redis.call('HDEL', CANDIDATES, version) == 1 then
    for _, batch in ipairs(cjson.decode(redis.call('HGET', VERSION .. version, 'record')).batches) do
      redis.call('HSET', BATCH .. batch, 'error', reason)
      set_status(batch, 'discarded')
      count_edits(batch, 'discarded')
    end
    redis.call('HSET', VERSION .. version, 'removed', NOW, 'discarded', reason)
    redis.call('ZREM', VERSIONS, version)
    redis.call('DEL', VERSION_EDITS .. version, VERSION_HISTORY .. version)
    audit('version.discarded', WHO, {{'version', version}})
    discarded[#discarded + 1] = version
  end
end
return discarded
"""
)

_MARK_REMOVED = """
local revision, live = live_version()
local marked = {}
for i = 1, NUM_ARGS do
  local version = A(i)
  local is_kept = version == live or redis.call('HEXISTS', CANDIDATES, version) == 1
    or redis.call('SISMEMBER', PINS, version) == 1
  if not is_kept and redis.call('HEXISTS', VERSION .. version, 'record') == 1 then
    if redis.call('HSET', VERSION .. version, 'removed', NOW) == 1 then
      audit('version.removed', WHO, {{'version', version}})
    end
    redis.call('DEL', VERSION_EDITS .. version, VERSION_HISTORY .. version)
    marked[#marked + 1] = version
  end
end
return marked
"""


class Publication:
    """The ledger's moves of the pointer."""

    def __init__(self, connection: Connection, versions: Versions) -> None:
        self._connection = connection
        self._versions = versions

    def new_version_number(self, *, above: int = 0) -> int:
        """A number that no version has had or will have; ``above``: the highest that was seen elsewhere (on disk)."""
        return int(self._connection.run(_NEW_VERSION_NUMBER, above))

    def publish(
        self,
        lease: Lease,
        *,
        expected_revision: int,
        version: VersionRecord,
        edit_ids: Collection[str],
        superseded_ids: Collection[str] = (),
        reports: Mapping[str, Mapping[str, Any]],
        candidate_until: str | None = None,
        dropped: Mapping[str, Mapping[str, Any]] = {},
    ) -> Pointer:
        """Move the pointer to ``version`` and its batches (the keys of ``reports``) to ``applied``, or nothing.

        With ``candidate_until`` the pointer stays: the version waits so long to be promoted. ``dropped``: reports of
        edits that the batches go in without. Only while the lease lasts, the revision is the expected one, and each
        batch is still ``checking`` under this lease. Raises StaleLease, LostRace.
        """
        parent = version.parent or ORIGINAL
        head = [lease.token, expected_revision, version.id, version.number, parent, write_version(version)]
        pairs = [part for batch, found in reports.items() for part in (batch, json.dumps(found, ensure_ascii=False))]
        without = [part for edit, found in dropped.items() for part in (edit, json.dumps(found, ensure_ascii=False))]
        sizes = [len(reports), len(edit_ids), candidate_until or "", len(dropped)]
        outcome, detail = self._connection.run(_PUBLISH, *head, *sizes, *without, *pairs, *edit_ids, *superseded_ids)
        if outcome == "stale":
            raise stale(lease)
        if outcome == "lost":
            raise LostRace(f"{version.id} was not published: {detail}")
        return Pointer(revision=int(detail), version=parent if candidate_until else version.id)

    def promote(self, version: str, *, author: str | None) -> Promotion:
        """Make an older version or a candidate live, at once. Raises NotFound, StaleCandidate.

        Promoting the live one changes nothing; when its author asks for the last promotion once more (its answer was
        lost), the answer is the same again.
        """
        outcome, previous, revision = self._connection.run(_PROMOTE, version, author or "", who=author or "")
        if outcome == "unknown":
            raise NotFound(f"there is no version {version!r}: GET /versions lists those that are known")
        if outcome == "removed":
            raise NotFound(f"version {version} is no longer kept (GET /versions says removed): promote another one")
        if outcome == "stale":
            raise StaleCandidate(
                f"{version} was made from {self._versions.get(version).parent}, and {previous} is live now: "
                "what it was tested against is not what it would replace"
            )
        pointer = Pointer(revision=int(revision), version=version)
        rolled_back, restored = self._what_changed(previous, pointer)
        return Promotion(pointer=pointer, previous=previous, rolled_back=rolled_back, restored=restored)

    def discard(self, versions: Sequence[str], *, reason: str, author: str | None = "worker") -> list[str]:
        """Give up those of these versions that are candidates, and return them; their batches are ``discarded``."""
        return list(self._connection.run(_DISCARD, reason, *versions, who=author or "")[1:])

    def expired_candidates(self) -> list[str]:
        """Candidates that were to be promoted before now."""
        return sorted(
            version for version, until in self._versions.candidates().items() if until <= self._connection.now()
        )

    def promotions(self) -> list[dict[str, Any]]:
        """Every move of the pointer, oldest first: revision, version, previous, author, at."""
        with self._connection.client() as redis:
            return [json.loads(text) for text in redis.lrange(self._connection.at(Key.PROMOTIONS), 0, -1)]

    def mark_removed(self, versions: Sequence[str]) -> list[str]:
        """Note, before it is done, that these versions' files go; return them without those live or pinned now."""
        return list(self._connection.run(_MARK_REMOVED, *versions))

    def _what_changed(self, previous: str, pointer: Pointer) -> tuple[tuple[str, ...], tuple[str, ...]]:
        version = pointer.version
        with self._connection.client() as redis:
            adopted = redis.hget(self._connection.at(Key.VERSION, version), "adopted")
        if previous == version or adopted == str(pointer.revision):  # what a candidate brings is new
            return (), ()
        now_live, was_live = self._versions.live_edit_ids(version), self._versions.live_edit_ids(previous)
        undone = set(self._versions.lineage(previous)) - set(self._versions.lineage(version)) - {ORIGINAL}
        batches = [batch for record in self._versions.records(sorted(undone)) for batch in record.batches]
        with self._connection.client() as redis, redis.pipeline(transaction=False) as pipe:
            for batch in batches:
                pipe.zrange(self._connection.at(Key.BATCH_EDITS, batch), 0, -1)
            since = {edit for edits in pipe.execute() for edit in edits}
        since -= self._versions.members_of(Key.DROPPED, list(since))
        return tuple(sorted(since - now_live)), tuple(sorted(now_live - was_live))
