"""Dumps the ledger as lines of JSON while the service runs, and loads a dump into an empty Redis.

One script takes a consistent snapshot of everything that can change: the pointer, the batches without a final state,
and the versions that have files. Data that never changes (edits, ended batches, the audit chain) follows in pieces, up
to the state of the snapshot. Memory therefore does not grow with the ledger. Loading a dump rebuilds the indices.
Leases, heartbeats and progress are not dumped.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from worker.protocol.audit.chain import read_line
from worker.protocol.errors import BackupRefused
from worker.protocol.keys import Key, subject_hash
from worker.protocol.ledger.audit import Audit
from worker.protocol.scripting.connection import Connection

SCAN_AT_ONCE = 1_000
PIECE = 500
"""Members, or fields with their values, in one line."""
FOLLOWING = frozenset({Key.EDITS, Key.EDIT_REPORTS, Key.EDIT_ORDER, Key.AUDIT, Key.BATCH_EDITS, Key.IDEMPOTENCY})
"""Keys that are read after the snapshot, up to its state, like ended batches and versions without files."""
PARTLY = frozenset({Key.BATCH, Key.SHARDS, Key.VERSION, Key.VERSION_EDITS, Key.VERSION_HISTORY})
"""Keys with only some members in the snapshot: open batches, candidates, versions with files."""
DERIVED = frozenset({Key.SUBJECT_EDITS, Key.AUDIT_OF})
EXPORTED = frozenset({Key.EXPORT, Key.EXPORTS, Key.EXPORT_SEQUENCE, Key.OPEN_EXPORTS})
"""Keys of exports. Backups do not contain the files of exports, because exports can be made again."""
LEFT_OUT = EXPORTED | {Key.LEASE, Key.BEAT, Key.SHARD_PROGRESS, Key.RESTORING}
AT_ONCE = tuple(sorted(set(Key) - FOLLOWING - PARTLY - DERIVED - LEFT_OUT))

_MOMENT = """
local found = {}
local function take(name)
  local key = P .. name
  local kind = redis.call('TYPE', key).ok
  if kind == 'string' then found[#found + 1] = {name, kind, {redis.call('GET', key)}}
  elseif kind == 'hash' then found[#found + 1] = {name, kind, redis.call('HGETALL', key)}
  elseif kind == 'set' then found[#found + 1] = {name, kind, redis.call('SMEMBERS', key)}
  elseif kind == 'zset' then found[#found + 1] = {name, kind, redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')}
  elseif kind == 'list' then found[#found + 1] = {name, kind, redis.call('LRANGE', key, 0, -1)} end
end
for _, name in ipairs(ARG.names) do take(name) end
for _, batch in ipairs(redis.call('SMEMBERS', OPEN)) do
  take('batch:' .. batch)
  take('shards:' .. batch)
end
for _, version in ipairs(redis.call('ZRANGE', VERSIONS, 0, -1)) do
  if redis.call('HEXISTS', VERSION .. version, 'removed') == 0 then
    take('version:' .. version)
    take('version-edits:' .. version)
    take('version-history:' .. version)
  end
end
for _, version in ipairs(redis.call('HKEYS', CANDIDATES)) do
  for _, batch in ipairs(cjson.decode(redis.call('HGET', VERSION .. version, 'record')).batches) do
    take('batch:' .. batch)
  end
end
return {found, redis.call('LLEN', AUDIT)}
"""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of the content of one key."""

    key: str
    """The key without the store's prefix."""
    kind: str
    """``string``, ``hash``, ``set``, ``zset`` or ``list``, as Redis names them."""
    items: Sequence[str]
    """The members. A hash alternates fields and values, a sorted set alternates members and scores."""
    expires_ms: int | None = None

    def to_line(self) -> str:
        """Return the line that ``from_line`` reads."""
        record = {"key": self.key, "kind": self.kind, "items": list(self.items)}
        return json.dumps(record | ({"expires_ms": self.expires_ms} if self.expires_ms else {}), ensure_ascii=False)

    @classmethod
    def from_line(cls, line: str) -> Piece:
        """Read a line from ``to_line``."""
        record = json.loads(line)
        return cls(record["key"], record["kind"], record["items"], record.get("expires_ms"))


@dataclass(slots=True)
class Moment:
    """A snapshot of everything in the ledger that can change."""

    pieces: list[Piece]
    audit_length: int
    by_key: dict[str, Piece] = field(init=False)

    def __post_init__(self) -> None:
        """Index the pieces."""
        self.by_key = {piece.key: piece for piece in self.pieces}

    def pointer(self) -> tuple[int, str] | None:
        """Return revision and live version; None if the pointer is missing."""
        fields = self._pairs(Key.POINTER)
        return (int(fields["revision"]), fields["version"]) if fields else None

    def members(self, key: Key) -> list[str]:
        """Return the members of a set or sorted set."""
        piece = self.by_key.get(key)
        if piece is None:
            return []
        return list(piece.items[::2] if piece.kind == "zset" else piece.items)

    def kept_versions(self) -> list[str]:
        """Return the versions that have files."""
        return [version for version in self.members(Key.VERSIONS) if f"{Key.VERSION}{version}" in self.by_key]

    def candidates(self) -> frozenset[str]:
        """Return the versions that wait for promotion."""
        return frozenset(self._pairs(Key.CANDIDATES))

    def last_place(self) -> int:
        """Return the place of the last accepted edit."""
        piece = self.by_key.get(Key.EDIT_SEQUENCE)
        return int(piece.items[0]) if piece else 0

    def _pairs(self, key: Key) -> dict[str, str]:
        piece = self.by_key.get(key)
        return dict(zip(piece.items[::2], piece.items[1::2], strict=True)) if piece else {}


class Backup:
    """Takes a dump of the ledger, and loads a dump into a Redis without data of the store."""

    def __init__(self, connection: Connection, audit: Audit) -> None:
        self._connection = connection
        self._audit = audit

    def moment(self) -> Moment:
        """Take a snapshot."""
        found, audit_length = self._connection.run(_MOMENT, names=AT_ONCE)
        return Moment([Piece(name, kind, items) for name, kind, items in found], int(audit_length))

    def dump(self, moment: Moment) -> Iterator[Piece]:
        """Yield the pieces of the snapshot and everything before it, in the order for loading."""
        for piece in moment.pieces:
            yield from _cut(piece)
        known: set[str] = set()
        for piece in self._order(moment):
            known.update(piece.items[::2])
            yield piece
        yield from self._rows_of(Key.EDITS, known)
        yield from self._rows_of(Key.EDIT_REPORTS, known)
        for batch in moment.members(Key.BATCHES):
            if f"{Key.BATCH}{batch}" not in moment.by_key:
                yield from self._member_hash(Key.BATCH, batch)
            yield from self._places(Key.BATCH_EDITS, batch)
        yield from self._other_versions(moment)
        yield from self._requests(set(moment.members(Key.BATCHES)))
        yield from self._chain(moment.audit_length)

    def _order(self, moment: Moment) -> Iterator[Piece]:
        with self._connection.client() as redis:
            start = 0
            while rows := redis.zrangebyscore(
                self._connection.at(Key.EDIT_ORDER),
                "-inf",
                moment.last_place(),
                start=start,
                num=PIECE,
                withscores=True,
            ):
                yield Piece(Key.EDIT_ORDER, "zset", [text for edit, place in rows for text in (edit, str(int(place)))])
                start += len(rows)

    def _rows_of(self, key: Key, known: set[str]) -> Iterator[Piece]:
        """Yield the pieces of a hash by edit, without edits accepted after the snapshot."""
        with self._connection.client() as redis:
            items: list[str] = []
            for name, value in redis.hscan_iter(self._connection.at(key), count=PIECE):
                if name in known:
                    items += (name, value)
                if len(items) >= 2 * PIECE:
                    yield Piece(key, "hash", items)
                    items = []
        if items:
            yield Piece(key, "hash", items)

    def _member_hash(self, key: Key, member: str) -> Iterator[Piece]:
        with self._connection.client() as redis:
            fields = redis.hgetall(self._connection.at(key, member))
        if fields:
            yield Piece(f"{key}{member}", "hash", [text for pair in fields.items() for text in pair])

    def _other_versions(self, moment: Moment) -> Iterator[Piece]:
        """Yield the pieces of versions without files, which are removed or discarded."""
        listed = set(moment.members(Key.VERSIONS))
        with self._connection.client() as redis:
            for key in redis.scan_iter(match=self._connection.at(Key.VERSION, "*"), count=PIECE):
                fields, name = redis.hgetall(key), key.removeprefix(self._connection.keys.prefix)
                known = name.removeprefix(Key.VERSION) in listed or "discarded" in fields
                if known and name not in moment.by_key and "removed" in fields:
                    yield Piece(name, "hash", [text for pair in fields.items() for text in pair])

    def _places(self, key: Key, member: str) -> Iterator[Piece]:
        with self._connection.client() as redis:
            rows = redis.zrange(self._connection.at(key, member), 0, -1, withscores=True)
        items = [text for edit, place in rows for text in (edit, str(int(place)))]
        yield from _cut(Piece(f"{key}{member}", "zset", items))

    def _requests(self, batches: set[str]) -> Iterator[Piece]:
        with self._connection.client() as redis:
            for key in redis.scan_iter(match=self._connection.at(Key.IDEMPOTENCY, "*"), count=PIECE):
                fields, expires_ms = redis.hgetall(key), redis.pttl(key)
                if fields.get("batch") in batches and expires_ms > 0:
                    items = [text for pair in fields.items() for text in pair]
                    yield Piece(key.removeprefix(self._connection.keys.prefix), "hash", items, expires_ms)

    def _chain(self, length: int) -> Iterator[Piece]:
        with self._connection.client() as redis:
            for start in range(0, length, PIECE):
                lines = redis.lrange(self._connection.at(Key.AUDIT), start, min(start + PIECE, length) - 1)
                yield Piece(Key.AUDIT, "list", lines)

    def require_empty(self, *, backup: str) -> None:
        """Raise BackupRefused unless Redis has no key of this store, or only those of an interrupted restore.

        ``backup``: the digest of the backup to restore. Remains of an interrupted restore of this backup are removed.
        """
        with self._connection.client() as redis:
            left = redis.get(self._connection.at(Key.RESTORING))
            found = next(redis.scan_iter(match=f"{self._connection.keys.prefix}*", count=SCAN_AT_ONCE), None)
        if found is None:
            return
        if left != backup:
            what = "is being restored from another backup" if left else "already exists there"
            raise BackupRefused(
                f"the ledger of store {self._connection.keys.store_id} {what} (key {found}): restore into an empty "
                "Redis, with --redis, or without it into the embedded Redis of a new data folder"
            )
        self._forget_all()

    def load(self, pieces: Iterable[Piece], *, backup: str) -> None:
        """Load a dump. The pointer comes last, so an incomplete ledger is never used.

        The store stays marked as being restored until ``end_loading``.
        """
        with self._connection.client() as redis:
            redis.set(self._connection.at(Key.RESTORING), backup)
        pointer: Piece | None = None
        for piece in pieces:
            if piece.key == Key.POINTER:
                pointer = piece
            else:
                self._load_piece(piece)
        self._audit.note("ledger.restored", who="errata restore", note=f"restored {backup[:16]}", backup=backup)
        if pointer is not None:
            self._load_piece(pointer)

    def end_loading(self) -> None:
        """Record that both ledger and files are restored."""
        with self._connection.client() as redis:
            redis.delete(self._connection.at(Key.RESTORING))

    def _load_piece(self, piece: Piece) -> None:
        name = f"{self._connection.keys.prefix}{piece.key}"
        with self._connection.client() as redis, redis.pipeline(transaction=False) as pipe:
            _put(pipe, name, piece)
            if piece.expires_ms is not None:
                pipe.pexpire(name, piece.expires_ms)
            if piece.key == Key.AUDIT:
                self._index_audit(pipe, piece)
            elif piece.key == Key.EDITS:
                self._index_subjects(pipe, piece, redis)
            pipe.execute()

    def _index_audit(self, pipe: Any, piece: Piece) -> None:
        for entry in map(read_line, piece.items):
            for member in entry.ids():
                pipe.zadd(self._connection.at(Key.AUDIT_OF, member), {str(entry.number): entry.number})

    def _index_subjects(self, pipe: Any, piece: Piece, redis: Any) -> None:
        """Index the subjects. The places come from the list of all edits, which precedes the edits in a dump."""
        rows = [(edit, json.loads(text)) for edit, text in zip(piece.items[::2], piece.items[1::2], strict=True)]
        places = redis.zmscore(self._connection.at(Key.EDIT_ORDER), [edit for edit, _ in rows])
        for (edit, row), place in zip(rows, places, strict=True):
            if "purged" not in row and place is not None:
                pipe.zadd(self._connection.at(Key.SUBJECT_EDITS, subject_hash(row["edit"]["subject"])), {edit: place})

    def _forget_all(self) -> None:
        with self._connection.client() as redis:
            keys = list(redis.scan_iter(match=f"{self._connection.keys.prefix}*", count=SCAN_AT_ONCE))
            marker = self._connection.at(Key.RESTORING)
            for start in range(0, len(keys), SCAN_AT_ONCE):
                doomed = [key for key in keys[start : start + SCAN_AT_ONCE] if key != marker]
                if doomed:
                    redis.delete(*doomed)


def _cut(piece: Piece) -> Iterator[Piece]:
    step = 2 * PIECE
    for start in range(0, max(1, len(piece.items)), step):
        if part := piece.items[start : start + step]:
            yield Piece(piece.key, piece.kind, part, piece.expires_ms)


def _put(pipe: Any, name: str, piece: Piece) -> None:
    items = list(piece.items)
    pairs: Mapping[str, str] = dict(zip(items[::2], items[1::2], strict=False))
    match piece.kind:
        case "string":
            pipe.set(name, items[0])
        case "hash":
            pipe.hset(name, mapping=pairs)
        case "set":
            pipe.sadd(name, *items)
        case "zset":
            pipe.zadd(name, {member: float(score) for member, score in pairs.items()})
        case "list":
            pipe.rpush(name, *items)
        case _:
            raise BackupRefused(f"the backup contains a key of kind {piece.kind!r}: a later Errata made it")
