"""Reads the records and edits of batches."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from editing_core.edits import AcceptedEdit, Edit
from editing_core.errors import NotFound
from worker.protocol.entities import BatchRecord, BatchSpec, BatchState, Page, Progress
from worker.protocol.keys import COMMIT_UNIT, Key, targets_unit
from worker.protocol.scripting.connection import Connection
from worker.protocol.scripting.paging import next_cursor, read_rows

STAGES = (
    "queued",
    "computing",
    "applying",
    "keys",
    "solve",
    "checking",
    "finding_culprits",
    "publishing",
    "exporting",
)
"""Stages of the work with recorded times. ``applying`` includes ``keys`` and ``solve``."""


class Batches:
    """Reads batches."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, batch: str) -> BatchRecord:
        """Return the current record of a batch. Raises NotFound."""
        with self._connection.client() as redis:
            fields = redis.hgetall(self._connection.at(Key.BATCH, batch)) if batch else {}
        if not fields:
            raise NotFound(f"there is no batch {batch!r}: GET /batches lists those that are known")
        return _read_batch(batch, fields)

    def page(self, cursor: str | None = None, limit: int = 50) -> Page[BatchRecord]:
        """Return a page of all batches, newest first. Raises InvalidCursor."""
        rows = read_rows(self._connection, Key.BATCHES, cursor=cursor, limit=limit)
        records = self.records([row.id for row in rows])
        return Page(items=[records[row.id] for row in rows], next=next_cursor(rows, limit))

    def edits(self, batch: str) -> tuple[AcceptedEdit, ...]:
        """Return the edits of a batch in the order of the request. Raises NotFound."""
        spec = self.get(batch).spec
        with self._connection.client() as redis:
            ids = redis.zrevrange(self._connection.at(Key.BATCH_EDITS, batch), 0, -1)
            texts = redis.hmget(self._connection.at(Key.EDITS), ids) if ids else []
        return tuple(accepted_edit(edit, json.loads(text), spec) for edit, text in zip(ids, texts, strict=True))

    def open(self) -> list[BatchRecord]:
        """Return all batches without a final state, in order of acceptance."""
        with self._connection.client() as redis:
            ids = redis.smembers(self._connection.at(Key.OPEN))
        return sorted(self.records(ids).values(), key=lambda record: record.spec.acceptance)

    def count_open(self) -> int:
        """Return the number of batches without a final state."""
        with self._connection.client() as redis:
            return int(redis.scard(self._connection.at(Key.OPEN)))

    def edit_outcomes(self) -> dict[str, int]:
        """Return the number of edits by final state, without states that have no edits."""
        with self._connection.client() as redis:
            return {
                outcome: int(count) for outcome, count in redis.hgetall(self._connection.at(Key.EDIT_OUTCOMES)).items()
            }

    def stage_times(self) -> dict[str, tuple[int, float]]:
        """Return the number of runs and their total seconds for each stage, over all workers."""
        with self._connection.client() as redis:
            counts = redis.hgetall(self._connection.at(Key.STAGE_COUNTS))
            seconds = redis.hgetall(self._connection.at(Key.STAGE_SECONDS))
        return {stage: (int(count), float(seconds.get(stage, 0))) for stage, count in counts.items()}

    def commit_queue(self) -> list[BatchRecord]:
        """Return the batches for the next commit in order of acceptance: ready, or left by a commit that died."""
        with self._connection.client() as redis:
            ids = {
                *redis.zrange(self._connection.at(Key.READY), 0, -1),
                *redis.smembers(self._connection.at(Key.COMMITTING)),
            }
        return sorted(self.records(ids).values(), key=lambda record: record.spec.acceptance)

    def open_shards(self, batch: str) -> list[int]:
        """Return the shards of a batch that still need targets."""
        with self._connection.client() as redis:
            return sorted(int(shard) for shard in redis.smembers(self._connection.at(Key.SHARDS, batch)))

    def open_units(self, batch: str) -> list[str]:
        """Return the units of work that the batch waits for. Empty if the batch has a final state."""
        record = self.get(batch)
        if record.is_final:
            return []
        if record.status in {BatchState.QUEUED, BatchState.COMPUTING}:
            return [targets_unit(batch, shard) for shard in self.open_shards(batch)]
        return [COMMIT_UNIT]

    def records(self, ids: Iterable[str]) -> dict[str, BatchRecord]:
        """Return the batches with these ids, without unknown ids."""
        wanted = list(ids)
        with self._connection.client() as redis, redis.pipeline(transaction=False) as pipe:
            for batch in wanted:
                pipe.hgetall(self._connection.at(Key.BATCH, batch))
            answers = pipe.execute()
        return {batch: _read_batch(batch, fields) for batch, fields in zip(wanted, answers, strict=True) if fields}


def accepted_edit(edit: str, row: dict[str, Any], spec: BatchSpec) -> AcceptedEdit:
    """Return a stored edit with the values of its batch."""
    return AcceptedEdit(
        id=edit,
        edit=Edit.from_json(row["edit"]),
        batch=spec.id,
        acceptance=spec.acceptance,
        created=spec.created,
        author=spec.author,
    )


def _read_batch(batch: str, fields: dict[str, str]) -> BatchRecord:
    spec = json.loads(fields["spec"])
    progress, report = fields.get("progress"), fields.get("report")
    return BatchRecord(
        spec=BatchSpec.from_summary(batch, {**spec, "acceptance": int(fields["acceptance"])}),
        status=BatchState(fields["status"]),
        updated=fields["updated"],
        progress=Progress(**json.loads(progress)) if progress else None,
        progress_number=int(fields["progress_number"]),
        version=fields.get("version"),
        report=json.loads(report) if report else None,
        error=fields.get("error"),
    )
