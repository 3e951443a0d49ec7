"""Reads the pointer and versions, pins versions, and decides which versions are kept."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from editing_core.errors import NotFound
from editing_core.versions.manifest import EMPTY_DIGEST
from worker.protocol.entities import ORIGINAL, Page, Pointer, VersionRecord, version_number
from worker.protocol.keys import Key
from worker.protocol.scripting.connection import Connection
from worker.protocol.scripting.paging import next_cursor, read_rows

ALWAYS = "1970-01-01T00:00:00.000Z"
"""Creation time reported for the original model, because the ledger does not store one."""

_LINEAGE = """
local version, floor = ARG.version, ARG.floor
local line = {}
while version and tonumber(string.sub(version, 2)) >= floor do
  line[#line + 1] = version
  version = redis.call('HGET', PARENTS, version)
end
return line
"""


_PIN = """
local version = ARG.version
if version ~= 'v0' then
  local known = redis.call('HMGET', VERSION .. version, 'record', 'removed')
  if not known[1] then return 'unknown' end
  if known[2] then return 'removed' end
end
if redis.call('SADD', PINS, version) == 1 then audit('version.pinned', WHO, {{'version', version}}) end
return 'pinned'
"""

_UNPIN = """
local version = ARG.version
if version ~= 'v0' and redis.call('EXISTS', VERSION .. version) == 0 then return 'unknown' end
if redis.call('SREM', PINS, version) == 1 then audit('version.unpinned', WHO, {{'version', version}}) end
return 'unpinned'
"""


_LIVE_SIZES = """
local revision, live = live_version()
return {live, redis.call('SCARD', VERSION_EDITS .. live), redis.call('SCARD', VERSION_HISTORY .. live)}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retained:
    """The decision of retention about one version."""

    version: str
    why: str | None
    """Why the version is kept; None if it is removed."""


class Versions:
    """Reads versions, and pins them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def pointer(self) -> Pointer:
        """Return the pointer. Before the first publication, it names the original."""
        return self.known_pointer() or Pointer(revision=0, version=ORIGINAL)

    def known_pointer(self) -> Pointer | None:
        """Return the pointer; None if Redis has none yet, or has lost its data."""
        with self._connection.client() as redis:
            revision, version = redis.hmget(self._connection.at(Key.POINTER), "revision", "version")
        return None if revision is None else Pointer(revision=int(revision), version=version)

    def get(self, version: str) -> VersionRecord:
        """Return a published version or the original. Raises NotFound."""
        records = self.records([version])
        if not records:
            raise NotFound(f"there is no version {version!r}: GET /versions lists those that are known")
        return records[0]

    def page(self, cursor: str | None = None, limit: int = 50) -> Page[VersionRecord]:
        """Return a page of all versions, newest first, the original last. Raises InvalidCursor."""
        rows = read_rows(self._connection, Key.VERSIONS, cursor=cursor, limit=limit)
        records = self.records([row.id for row in rows])
        if len(rows) < limit:
            records += self.records([ORIGINAL])
        return Page(items=records, next=next_cursor(rows, limit))

    def live_edit_ids(self, version: str) -> frozenset[str]:
        """Return the ids of the live edits of a version with files. Empty for the original."""
        with self._connection.client() as redis:
            return frozenset(redis.smembers(self._connection.at(Key.VERSION_EDITS, version)))

    def superseded_edit_ids(self, version: str) -> frozenset[str]:
        """Return the ids of the edits that live edits of this version supersede or repeat."""
        with self._connection.client() as redis:
            return frozenset(redis.smembers(self._connection.at(Key.VERSION_HISTORY, version)))

    def candidates(self) -> dict[str, str]:
        """Return the versions that wait for promotion, with their expiry."""
        with self._connection.client() as redis:
            return dict(redis.hgetall(self._connection.at(Key.CANDIDATES)))

    def members_of(self, key: Key, edits: list[str], member: str = "") -> set[str]:
        """Return the edits that are members of the set ``key`` (of ``member``, if it is a family)."""
        if not edits:
            return set()
        with self._connection.client() as redis:
            flags = redis.smismember(self._connection.at(key, member), edits)
        return {edit for edit, flag in zip(edits, flags, strict=True) if flag}

    def descends(self, version: str, ancestor: str) -> bool:
        """Return whether ``version`` is ``ancestor`` or descends from it."""
        return ancestor in self.lineage(version, floor=version_number(ancestor))

    def lineage(self, version: str, *, floor: int = 0) -> list[str]:
        """Return ``version``, its parent, and so on, down to the number ``floor``."""
        return list(self._connection.run(_LINEAGE, version=version, floor=floor))

    def published(self, *, and_candidates: bool = True) -> frozenset[str]:
        """Return the ids of all published versions and, with ``and_candidates``, of candidates."""
        with self._connection.client() as redis, redis.pipeline(transaction=True) as pipe:
            pipe.zrange(self._connection.at(Key.VERSIONS), 0, -1)
            pipe.hkeys(self._connection.at(Key.CANDIDATES))
            made, waiting = pipe.execute()
        return frozenset(made) if and_candidates else frozenset(made) - set(waiting)

    def live_sizes(self) -> tuple[str, int, int]:
        """Return the live version, the number of its live edits, and the number of edits they supersede or repeat.

        The set of a version changes only when an edit is purged from it.
        """
        version, live, superseded = self._connection.run(_LIVE_SIZES)
        return version, int(live), int(superseded)

    def pin(self, version: str, *, author: str | None) -> None:
        """Keep a version until it is unpinned. Raises NotFound, also if its files are removed."""
        outcome = self._connection.run(_PIN, version=version, who=author or "")
        if outcome == "removed":
            raise NotFound(f"version {version} is no longer kept: its files are removed, so it cannot be pinned")
        _require_known(version, outcome)

    def unpin(self, version: str, *, author: str | None) -> None:
        """Unpin a version. Retention may then remove it. Raises NotFound."""
        _require_known(version, self._connection.run(_UNPIN, version=version, who=author or ""))

    def pinned(self) -> frozenset[str]:
        """Return the pinned versions."""
        with self._connection.client() as redis:
            return frozenset(redis.smembers(self._connection.at(Key.PINS)))

    def retention(self, *, keep: int, among: Collection[str] | None = None) -> list[Retained]:
        """Decide which versions are kept: live, pinned and the last ``keep`` versions, candidates and their parents.

        Returns decisions newest first, without the original. ``among``: consider only these versions (those with
        files). A version that is marked as removed is removed again, because its removal may have been interrupted.
        """
        live = self.pointer().version
        with self._connection.client() as redis:
            known = redis.zrevrange(self._connection.at(Key.VERSIONS), 0, -1)
        wanted = [version for version in known if among is None or version in among]
        records = [record for record in self.records(wanted) if among is not None or not record.removed]
        return retention_plan(records, live=live, keep=keep)

    def records(self, versions: list[str]) -> list[VersionRecord]:
        """Return the versions with these ids in the same order, including the original. Unknown ids are left out."""
        live, candidates = self.pointer().version, self.candidates()
        with self._connection.client() as redis, redis.pipeline(transaction=False) as pipe:
            for version in versions:
                pipe.hgetall(self._connection.at(Key.VERSION, version or "-"))
            pipe.smembers(self._connection.at(Key.PINS))
            *answers, pinned = pipe.execute()
        records = [
            _read_version(version, fields, expires=candidates.get(version))
            for version, fields in zip(versions, answers, strict=True)
            if fields or version == ORIGINAL
        ]
        records = [replace(record, pinned=True) if record.id in pinned else record for record in records]
        return [replace(record, status="live") if record.id == live else record for record in records]


def write_version(record: VersionRecord) -> str:
    """Return the stored text of a version record. Its status, removal and pin are stored elsewhere."""
    elsewhere = {"status", "removed", "expires", "pinned"}
    fields = {name: value for name, value in asdict(record).items() if name not in elsewhere}
    return json.dumps(fields, ensure_ascii=False)


def _read_version(version: str, fields: dict[str, str], *, expires: str | None) -> VersionRecord:
    if not fields:
        return VersionRecord(id=ORIGINAL, parent=None, created=ALWAYS, num_edits=0, digest=EMPTY_DIGEST)
    record: dict[str, Any] = json.loads(fields["record"])
    record["batches"] = tuple(record["batches"])
    status: Any = "candidate" if expires else "discarded" if "discarded" in fields else "retired"
    return VersionRecord(**record, removed="removed" in fields, status=status, expires=expires)


def retention_plan(records: Sequence[VersionRecord], *, live: str, keep: int) -> list[Retained]:
    """Decide which versions are kept. Returns decisions newest first."""
    numbered = sorted((record for record in records if record.id != ORIGINAL), key=lambda r: r.number, reverse=True)
    published = [record.id for record in numbered if not record.removed and record.status != "candidate"]
    last = set(published[:keep])
    candidate_of = {record.parent: record.id for record in numbered if record.status == "candidate"}

    def why(record: VersionRecord) -> str | None:
        reasons = (
            (record.id == live, "live"),
            (record.pinned, "pinned"),
            (record.status == "candidate", "a candidate"),
            (record.id in candidate_of, f"the candidate {candidate_of.get(record.id)} was made from it"),
            (record.id in last, f"one of the last {keep}"),
        )
        return None if record.removed else next((reason for holds, reason in reasons if holds), None)

    return [Retained(version=record.id, why=why(record)) for record in numbered]


def _require_known(version: str, outcome: str) -> None:
    if outcome == "unknown":
        raise NotFound(f"there is no version {version!r}: GET /versions lists those that are known")
