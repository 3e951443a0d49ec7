"""Reading the pointer, versions and which descends from which."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

from editing_core.errors import NotFound
from editing_core.versions.manifest import EMPTY_DIGEST
from worker.protocol.entities import ORIGINAL, Page, Pointer, VersionRecord, version_number
from worker.protocol.keys import Key
from worker.protocol.ledger.batches import BatchReading, next_cursor

ALWAYS = "1970-01-01T00:00:00.000Z"
"""When the original was made, as far as a ledger can tell."""

_LINEAGE = """
local version, floor = A(1), tonumber(A(2))
local line = {}
while version and tonumber(string.sub(version, 2)) >= floor do
  line[#line + 1] = version
  version = redis.call('HGET', PARENTS, version)
end
return line
"""


class VersionReading(BatchReading):
    """What the ledger says about versions."""

    def pointer(self) -> Pointer:
        """What is live; the original before anything was promoted."""
        return self.known_pointer() or Pointer(revision=0, version=ORIGINAL)

    def known_pointer(self) -> Pointer | None:
        """What Redis knows to be live; None when it has never been told (or has lost its memory)."""
        with self._reaching() as redis:
            revision, version = redis.hmget(self._at(Key.POINTER), "revision", "version")
        return None if revision is None else Pointer(revision=int(revision), version=version)

    def version(self, version: str) -> VersionRecord:
        """A published version, or the original. Raises NotFound."""
        records = self._version_records([version])
        if not records:
            raise NotFound(f"there is no version {version!r}: GET /versions lists those that are known")
        return records[0]

    def versions(self, cursor: str | None = None, limit: int = 50) -> Page[VersionRecord]:
        """All versions, newest first, the original last. Raises InvalidCursor."""
        rows = self._rows(Key.VERSIONS, cursor=cursor, limit=limit)
        records = self._version_records([row.id for row in rows])
        if len(rows) < limit:
            records += self._version_records([ORIGINAL])
        return Page(items=records, next=next_cursor(rows, limit))

    def live_edit_ids(self, version: str) -> frozenset[str]:
        """The ids of the edits in force in a version whose files are kept; none for the original."""
        with self._reaching() as redis:
            return frozenset(redis.smembers(self._at(Key.VERSION_EDITS, version)))

    def superseded_edit_ids(self, version: str) -> frozenset[str]:
        """The ids of the edits that a live one of this version supersedes or repeats."""
        with self._reaching() as redis:
            return frozenset(redis.smembers(self._at(Key.VERSION_HISTORY, version)))

    def candidates(self) -> dict[str, str]:
        """Versions that wait to be promoted, and until when."""
        with self._reaching() as redis:
            return dict(redis.hgetall(self._at(Key.CANDIDATES)))

    def _of_key(self, key: Key, edits: list[str], member: str = "") -> set[str]:
        """Those of the edits that the set holds."""
        if not edits:
            return set()
        with self._reaching() as redis:
            flags = redis.smismember(self._at(key, member), edits)
        return {edit for edit, flag in zip(edits, flags, strict=True) if flag}

    def descends(self, version: str, ancestor: str) -> bool:
        """Whether ``version`` is ``ancestor`` or was made, in one or more steps, from it."""
        return ancestor in self.lineage(version, floor=version_number(ancestor))

    def lineage(self, version: str, *, floor: int = 0) -> list[str]:
        """``version``, its parent, and so on, down to the number ``floor``."""
        return list(self._run(_LINEAGE, version, floor))

    def published(self, *, and_candidates: bool = True) -> frozenset[str]:
        """The ids of all versions that were ever published, and of candidates."""
        with self._reaching() as redis, redis.pipeline(transaction=True) as pipe:
            pipe.zrange(self._at(Key.VERSIONS), 0, -1)
            pipe.hkeys(self._at(Key.CANDIDATES))
            made, waiting = pipe.execute()
        return frozenset(made) if and_candidates else frozenset(made) - set(waiting)

    def set_sizes(self, version: str) -> tuple[int, int]:
        """How many edits are in force in a version whose files are kept, and how many those supersede or repeat.

        A version's set changes in one way alone: what is purged leaves it.
        """
        with self._reaching() as redis, redis.pipeline(transaction=True) as pipe:
            pipe.scard(self._at(Key.VERSION_EDITS, version))
            pipe.scard(self._at(Key.VERSION_HISTORY, version))
            live, superseded = pipe.execute()
        return int(live), int(superseded)

    def _version_records(self, versions: list[str]) -> list[VersionRecord]:
        live, candidates = self.pointer().version, self.candidates()
        with self._reaching() as redis, redis.pipeline(transaction=False) as pipe:
            for version in versions:
                pipe.hgetall(self._at(Key.VERSION, version or "-"))
            pipe.smembers(self._at(Key.PINS))
            *answers, pinned = pipe.execute()
        records = [
            _read_version(version, fields, expires=candidates.get(version))
            for version, fields in zip(versions, answers, strict=True)
            if fields or version == ORIGINAL
        ]
        records = [replace(record, pinned=True) if record.id in pinned else record for record in records]
        return [replace(record, status="live") if record.id == live else record for record in records]


def write_version(record: VersionRecord) -> str:
    """A version record as text; its status and whether it is removed or pinned are kept elsewhere."""
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
