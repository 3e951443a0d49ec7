"""Restores the ledger from the files on disk after Redis has lost its data."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from redis.exceptions import WatchError

from editing_core.edits import AcceptedEdit
from editing_core.guards import AcceptedGuard
from worker.protocol.entities import BatchSpec, BatchState, Pointer, VersionRecord
from worker.protocol.errors import LostRace
from worker.protocol.keys import Key, subject_hash
from worker.protocol.ledger.audit import write_chain
from worker.protocol.ledger.versions import write_version
from worker.protocol.scripting.connection import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoredBatch:
    """A batch as the manifests record it."""

    spec: BatchSpec
    version: str
    """The version that contains it."""
    edits: tuple[AcceptedEdit, ...]
    """The edits that the manifest of a kept version records."""
    dropped: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Reports of the edits that were left out of the version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoredVersion:
    """A version as its manifest records it."""

    record: VersionRecord
    edit_ids: tuple[str, ...]
    superseded_ids: tuple[str, ...] = ()


class Restoring:
    """Restores the ledger."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def restore(
        self,
        pointer: Pointer,
        *,
        versions: Sequence[RestoredVersion],
        batches: Sequence[RestoredBatch],
        parents: Mapping[str, str],
        guards: Sequence[AcceptedGuard] = (),
        expected: Pointer | None = None,
        chain: Callable[[Sequence[str]], Sequence[str]] | None = None,
        pinned: Collection[str] = (),
    ) -> None:
        """Add these versions and batches to the ledger and set the pointer, in one transaction.

        New edits are listed before all others: their places are below zero. ``parents`` may name versions that are no
        longer kept. ``chain`` returns the new audit chain for the current lines; None keeps the chain. ``pinned``: the
        versions to pin. Stored guards do not change. Raises LostRace if the current pointer is not ``expected``.
        """
        with self._connection.client() as redis, redis.pipeline(transaction=True) as pipe:
            pipe.watch(self._connection.at(Key.POINTER), self._connection.at(Key.AUDIT))
            revision, version = pipe.hmget(self._connection.at(Key.POINTER), "revision", "version")
            if (revision, version) != ((str(expected.revision), expected.version) if expected else (None, None)):
                raise LostRace(f"the pointer is at {version} (revision {revision}) now: nothing was restored")
            lines = chain(pipe.lrange(self._connection.at(Key.AUDIT), 0, -1)) if chain is not None else ()
            pipe.multi()
            self._write(pipe, versions, batches)
            if lines:
                write_chain(pipe, self._connection.keys, lines)
            if pinned:
                pipe.sadd(self._connection.at(Key.PINS), *pinned)
            for guard in guards:
                pipe.hsetnx(self._connection.at(Key.GUARDS), guard.id, json.dumps(guard.to_json(), ensure_ascii=False))
            if parents:
                pipe.hset(self._connection.at(Key.PARENTS), mapping=parents)
            pipe.hset(
                self._connection.at(Key.POINTER), mapping={"revision": pointer.revision, "version": pointer.version}
            )
            try:
                pipe.execute()
            except WatchError:
                raise LostRace("the ledger has changed: nothing was restored") from None

    def _write(self, pipe: Any, versions: Sequence[RestoredVersion], batches: Sequence[RestoredBatch]) -> None:
        for version in versions:
            self._restore_version(pipe, version)
        place = -sum(len(batch.edits) for batch in batches)
        for batch in sorted(batches, key=lambda known: known.spec.acceptance):
            self._restore_batch(pipe, batch, place + len(batch.edits))
            place += len(batch.edits)

    def _restore_version(self, pipe: Any, version: RestoredVersion) -> None:
        record = version.record
        pipe.hset(self._connection.at(Key.VERSION, record.id), "record", write_version(record))
        pipe.zadd(self._connection.at(Key.VERSIONS), {record.id: record.number})
        if version.edit_ids:
            pipe.sadd(self._connection.at(Key.VERSION_EDITS, record.id), *version.edit_ids)
        if version.superseded_ids:
            pipe.sadd(self._connection.at(Key.VERSION_HISTORY, record.id), *version.superseded_ids)

    def _restore_batch(self, pipe: Any, batch: RestoredBatch, place: int) -> None:
        spec = batch.spec
        fields = {
            "spec": json.dumps(spec.summary(), ensure_ascii=False),
            "acceptance": spec.acceptance,
            "status": BatchState.APPLIED.value,
            "version": batch.version,
            "updated": self._connection.now(),
            "progress_number": 1,
        }
        if batch.dropped:
            fields["dropped"] = len(batch.dropped)
            pipe.sadd(self._connection.at(Key.DROPPED), *batch.dropped)
        for edit, report in batch.dropped.items():
            pipe.hsetnx(self._connection.at(Key.EDIT_REPORTS), edit, json.dumps(report, ensure_ascii=False))
        pipe.hset(self._connection.at(Key.BATCH, spec.id), mapping=fields)
        pipe.zadd(self._connection.at(Key.BATCHES), {spec.id: spec.acceptance})
        pipe.srem(self._connection.at(Key.OPEN), spec.id)
        pipe.zrem(self._connection.at(Key.READY), spec.id)
        pipe.srem(self._connection.at(Key.COMMITTING), spec.id)
        pipe.delete(self._connection.at(Key.SHARDS, spec.id))
        for index, accepted in enumerate(sorted(batch.edits, key=lambda edit: edit.id)):
            text = json.dumps({"batch": spec.id, "edit": accepted.edit.to_json()}, ensure_ascii=False)
            pipe.hset(self._connection.at(Key.EDITS), accepted.id, text)
            for key, member in (
                (Key.EDIT_ORDER, ""),
                (Key.BATCH_EDITS, spec.id),
                (Key.SUBJECT_EDITS, subject_hash(accepted.edit.subject)),
            ):
                pipe.zadd(self._connection.at(key, member), {accepted.id: place - index}, nx=True)
