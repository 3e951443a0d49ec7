"""Changes the pointer: publishes the version of a commit and promotes versions. Also discards candidates."""

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
local number = math.max(tonumber(redis.call('GET', VERSION_NUMBER) or '0'), ARG.above) + 1
redis.call('SET', VERSION_NUMBER, number)
return number
"""

_PUBLISH = (
    COUNT_EDITS
    + """
local token, version, parent, expires = ARG.token, ARG.version, ARG.parent, ARG.expires
if not held(COMMIT_UNIT, token) then return {'stale', ''} end
local revision, live = live_version()
if revision ~= ARG.expected_revision then return {'lost', 'the live version is ' .. live .. ' now'} end
if redis.call('EXISTS', VERSION .. version) == 1 then return {'lost', version .. ' was published before'} end
for _, batch in ipairs(ARG.batches) do
  local found = redis.call('HMGET', BATCH .. batch.id, 'status', 'token')
  if found[1] ~= 'checking' or found[2] ~= token then
    return {'lost', 'batch ' .. batch.id .. ' is ' .. (found[1] or 'gone')}
  end
end
redis.call('HSET', VERSION .. version, 'record', ARG.record)
redis.call('ZADD', VERSIONS, ARG.number, version)
redis.call('HSET', PARENTS, version, parent)
for _, edit in ipairs(ARG.live) do redis.call('SADD', VERSION_EDITS .. version, edit) end
for _, edit in ipairs(ARG.superseded) do redis.call('SADD', VERSION_HISTORY .. version, edit) end
for _, edit in ipairs(ARG.dropped) do
  redis.call('SADD', DROPPED, edit.id)
  redis.call('HSET', EDIT_REPORTS, edit.id, edit.report)
  redis.call('HINCRBY', BATCH .. cjson.decode(redis.call('HGET', EDITS, edit.id)).batch, 'dropped', 1)
end
for _, batch in ipairs(ARG.batches) do
  redis.call('HSET', BATCH .. batch.id, 'version', version, 'report', batch.report)
  set_status(batch.id, expires == '' and 'applied' or 'candidate')
  if expires == '' then count_edits(batch.id, 'applied') end
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
local version, author = ARG.version, ARG.author
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
local discarded = {'discarded'}
for _, version in ipairs(ARG.versions) do
  if redis.call('HDEL', CANDIDATES, version) == 1 then
    for _, batch in ipairs(cjson.decode(redis.call('HGET', VERSION .. version, 'record')).batches) do
      redis.call('HSET', BATCH .. batch, 'error', ARG.reason)
      set_status(batch, 'discarded')
      count_edits(batch, 'discarded')
    end
    redis.call('HSET', VERSION .. version, 'removed', NOW, 'discarded', ARG.reason)
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
for _, version in ipairs(ARG.versions) do
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
    """Publishes, promotes and discards versions."""

    def __init__(self, connection: Connection, versions: Versions) -> None:
        self._connection = connection
        self._versions = versions

    def new_version_number(self, *, above: int = 0) -> int:
        """Return a version number that was never used, greater than ``above`` (the highest number on disk)."""
        return int(self._connection.run(_NEW_VERSION_NUMBER, above=above))

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
        """Point at ``version`` and set its batches (the keys of ``reports``) to ``applied``, or change nothing.

        With ``candidate_until``, the pointer does not change, and the version waits until then for promotion.
        ``dropped``: reports of edits that are left out. Requires a valid lease, the expected revision, and that each
        batch is ``checking`` under this lease. Raises StaleLease, LostRace.
        """
        parent = version.parent or ORIGINAL
        outcome, detail = self._connection.run(
            _PUBLISH,
            token=lease.fence,
            expected_revision=expected_revision,
            version=version.id,
            number=version.number,
            parent=parent,
            record=write_version(version),
            expires=candidate_until or "",
            batches=_reported(reports),
            dropped=_reported(dropped),
            live=list(edit_ids),
            superseded=list(superseded_ids),
        )
        if outcome == "stale":
            raise stale(lease)
        if outcome == "lost":
            raise LostRace(f"{version.id} was not published: {detail}")
        return Pointer(revision=int(detail), version=parent if candidate_until else version.id)

    def promote(self, version: str, *, author: str | None) -> Promotion:
        """Make an older version or a candidate live. Raises NotFound, StaleCandidate.

        Promoting the live version changes nothing. If the author repeats the last promotion, for example after a lost
        answer, the result is the same.
        """
        outcome, previous, revision = self._connection.run(
            _PROMOTE, version=version, author=author or "", who=author or ""
        )
        if outcome == "unknown":
            raise NotFound(f"there is no version {version!r}: GET /versions lists those that are known")
        if outcome == "removed":
            raise NotFound(f"version {version} is no longer kept (GET /versions says removed): promote another one")
        if outcome == "stale":
            raise StaleCandidate(
                f"{version} was made from {self._versions.get(version).parent}, and {previous} is live now: "
                "it was checked against another version than the one that it would replace"
            )
        pointer = Pointer(revision=int(revision), version=version)
        rolled_back, restored = self._what_changed(previous, pointer)
        return Promotion(pointer=pointer, previous=previous, rolled_back=rolled_back, restored=restored)

    def discard(self, versions: Sequence[str], *, reason: str, author: str | None = "worker") -> list[str]:
        """Discard the candidates among these versions and return them. Their batches become ``discarded``."""
        return list(self._connection.run(_DISCARD, reason=reason, versions=list(versions), who=author or "")[1:])

    def expired_candidates(self) -> list[str]:
        """Return the candidates that have expired."""
        return sorted(
            version for version, until in self._versions.candidates().items() if until <= self._connection.now()
        )

    def promotions(self) -> list[dict[str, Any]]:
        """Return every change of the pointer, oldest first: revision, version, previous, author, at."""
        with self._connection.client() as redis:
            return [json.loads(text) for text in redis.lrange(self._connection.at(Key.PROMOTIONS), 0, -1)]

    def mark_removed(self, versions: Sequence[str]) -> list[str]:
        """Mark versions as removed before their files are deleted.

        Live and pinned versions and candidates are left out. Returns the marked versions.
        """
        return list(self._connection.run(_MARK_REMOVED, versions=list(versions)))

    def _what_changed(self, previous: str, pointer: Pointer) -> tuple[tuple[str, ...], tuple[str, ...]]:
        version = pointer.version
        with self._connection.client() as redis:
            adopted = redis.hget(self._connection.at(Key.VERSION, version), "adopted")
        if previous == version or adopted == str(pointer.revision):  # the edits of a candidate are new
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


def _reported(reports: Mapping[str, Mapping[str, Any]]) -> list[dict[str, str]]:
    return [{"id": name, "report": json.dumps(found, ensure_ascii=False)} for name, found in reports.items()]
