"""Writing a dump back into a Redis that knows nothing of this store."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from worker.protocol.audit.chain import read_line
from worker.protocol.errors import BackupRefused
from worker.protocol.keys import Key, subject_hash
from worker.protocol.ledger.audit import AuditReading
from worker.protocol.ledger.dump import Piece

SCAN_AT_ONCE = 1_000


class Loading(AuditReading):
    """The ledger's way back from a dump."""

    def require_empty(self, *, backup: str) -> None:
        """Raise BackupRefused unless Redis knows nothing of this store, or only what a broken restore left of it.

        ``backup``: the digest of the backup that is to be restored; remains of the same one are removed.
        """
        with self._reaching() as redis:
            left = redis.get(self._at(Key.RESTORING))
            found = next(redis.scan_iter(match=f"{self.keys.prefix}*", count=SCAN_AT_ONCE), None)
        if found is None:
            return
        if left != backup:
            what = "is being restored from another backup" if left else "is known there already"
            raise BackupRefused(
                f"the ledger of store {self.keys.store_id} {what} (key {found}): restore into an empty Redis, by "
                "--redis or without it into one of the data folder's own"
            )
        self._forget_all()

    def load(self, pieces: Iterable[Piece], *, backup: str) -> None:
        """Write a dump; the pointer last, so that nothing half-written is taken for a ledger.

        The store stays marked as being restored until ``end_loading``.
        """
        with self._reaching() as redis:
            redis.set(self._at(Key.RESTORING), backup)
        pointer: Piece | None = None
        for piece in pieces:
            if piece.key == Key.POINTER:
                pointer = piece
            else:
                self._load_piece(piece)
        self.note("ledger.restored", who="errata restore", note=f"restored {backup[:16]}", backup=backup)
        if pointer is not None:
            self._load_piece(pointer)

    def end_loading(self) -> None:
        """Say that ledger and files are both in their place."""
        with self._reaching() as redis:
            redis.delete(self._at(Key.RESTORING))

    def _load_piece(self, piece: Piece) -> None:
        name = f"{self.keys.prefix}{piece.key}"
        with self._reaching() as redis, redis.pipeline(transaction=False) as pipe:
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
                pipe.zadd(self._at(Key.AUDIT_OF, member), {str(entry.number): entry.number})

    def _index_subjects(self, pipe: Any, piece: Piece, redis: Any) -> None:
        """The places come from the list of all edits, which a dump holds before the edits."""
        rows = [(edit, json.loads(text)) for edit, text in zip(piece.items[::2], piece.items[1::2], strict=True)]
        places = redis.zmscore(self._at(Key.EDIT_ORDER), [edit for edit, _ in rows])
        for (edit, row), place in zip(rows, places, strict=True):
            if "purged" not in row and place is not None:
                pipe.zadd(self._at(Key.SUBJECT_EDITS, subject_hash(row["edit"]["subject"])), {edit: place})

    def _forget_all(self) -> None:
        with self._reaching() as redis:
            keys = list(redis.scan_iter(match=f"{self.keys.prefix}*", count=SCAN_AT_ONCE))
            marker = self._at(Key.RESTORING)
            for start in range(0, len(keys), SCAN_AT_ONCE):
                doomed = [key for key in keys[start : start + SCAN_AT_ONCE] if key != marker]
                if doomed:
                    redis.delete(*doomed)


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
            raise BackupRefused(f"the backup holds a key of kind {piece.kind!r}: it was made by a later Errata")
