"""Reading batches."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from editing_core.edits import AcceptedEdit, Edit
from editing_core.errors import NotFound
from worker.protocol.entities import BatchRecord, BatchSpec, BatchState, Page, Progress
from worker.protocol.errors import InvalidCursor
from worker.protocol.keys import COMMIT_UNIT, Key, targets_unit
from worker.protocol.ledger.connection import LedgerBase

LARGEST_PAGE = 500
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
"""Of the work, whose times are kept; applying is keys and solve together."""


class Row(NamedTuple):
    """A member of a list, and its place in it."""

    id: str
    place: int


class BatchReading(LedgerBase):
    """What the ledger says about batches."""

    def ping(self) -> None:
        """Raise LedgerDown unless Redis answers."""
        with self._reaching() as redis:
            redis.ping()

    def redis_info(self, section: str) -> dict[str, str]:
        """A section of what Redis says about itself, as text."""
        with self._reaching() as redis:
            return {str(name): str(value) for name, value in redis.info(section).items()}

    def batch(self, batch: str) -> BatchRecord:
        """The batch as it stands. Raises NotFound."""
        with self._reaching() as redis:
            fields = redis.hgetall(self._at(Key.BATCH, batch)) if batch else {}
        if not fields:
            raise NotFound(f"there is no batch {batch!r}: GET /batches lists those that are known")
        return _read_batch(batch, fields)

    def batches(self, cursor: str | None = None, limit: int = 50) -> Page[BatchRecord]:
        """All batches, newest first. Raises InvalidCursor."""
        rows = self._rows(Key.BATCHES, cursor=cursor, limit=limit)
        records = self._batch_records([row.id for row in rows])
        return Page(items=[records[row.id] for row in rows], next=next_cursor(rows, limit))

    def batch_edits(self, batch: str) -> tuple[AcceptedEdit, ...]:
        """A batch's edits in the order in which they were sent. Raises NotFound."""
        spec = self.batch(batch).spec
        with self._reaching() as redis:
            ids = redis.zrevrange(self._at(Key.BATCH_EDITS, batch), 0, -1)
            texts = redis.hmget(self._at(Key.EDITS), ids) if ids else []
        return tuple(accepted_edit(edit, json.loads(text), spec) for edit, text in zip(ids, texts, strict=True))

    def open_batches(self) -> list[BatchRecord]:
        """All batches without a final state, in order of acceptance."""
        with self._reaching() as redis:
            ids = redis.smembers(self._at(Key.OPEN))
        return sorted(self._batch_records(ids).values(), key=lambda record: record.spec.acceptance)

    def open_count(self) -> int:
        """How many batches have no final state."""
        with self._reaching() as redis:
            return int(redis.scard(self._at(Key.OPEN)))

    def edit_outcomes(self) -> dict[str, int]:
        """How many edits reached each final state; states that none reached are left out."""
        with self._reaching() as redis:
            return {outcome: int(count) for outcome, count in redis.hgetall(self._at(Key.EDIT_OUTCOMES)).items()}

    def stage_times(self) -> dict[str, tuple[int, float]]:
        """How often each stage was gone through, by all workers, and the seconds that took."""
        with self._reaching() as redis:
            counts = redis.hgetall(self._at(Key.STAGE_COUNTS))
            seconds = redis.hgetall(self._at(Key.STAGE_SECONDS))
        return {stage: (int(count), float(seconds.get(stage, 0))) for stage, count in counts.items()}

    def commit_queue(self) -> list[BatchRecord]:
        """The batches that a commit should take: ready, or left behind by one that died; in order of acceptance."""
        with self._reaching() as redis:
            ids = {*redis.zrange(self._at(Key.READY), 0, -1), *redis.smembers(self._at(Key.COMMITTING))}
        return sorted(self._batch_records(ids).values(), key=lambda record: record.spec.acceptance)

    def open_shards(self, batch: str) -> list[int]:
        """The shards of a batch whose targets are not computed yet."""
        with self._reaching() as redis:
            return sorted(int(shard) for shard in redis.smembers(self._at(Key.SHARDS, batch)))

    def open_units(self, batch: str) -> list[str]:
        """The units of work that the batch waits for; none when it has its final state."""
        record = self.batch(batch)
        if record.is_final:
            return []
        if record.status in {BatchState.QUEUED, BatchState.COMPUTING}:
            return [targets_unit(batch, shard) for shard in self.open_shards(batch)]
        return [COMMIT_UNIT]

    def _batch_records(self, ids: Iterable[str]) -> dict[str, BatchRecord]:
        wanted = list(ids)
        with self._reaching() as redis, redis.pipeline(transaction=False) as pipe:
            for batch in wanted:
                pipe.hgetall(self._at(Key.BATCH, batch))
            answers = pipe.execute()
        return {batch: _read_batch(batch, fields) for batch, fields in zip(wanted, answers, strict=True) if fields}

    def _rows(self, key: Key, member: str = "", *, cursor: str | None, limit: int) -> list[Row]:
        """A piece of a sorted set from its end, after ``cursor``."""
        assert 1 <= limit <= LARGEST_PAGE, limit
        below = f"({read_cursor(cursor)}" if cursor is not None else "+inf"
        with self._reaching() as redis:
            found = redis.zrevrangebyscore(self._at(key, member), below, "-inf", start=0, num=limit, withscores=True)
        return [Row(member, int(score)) for member, score in found]


def next_cursor(rows: Sequence[Row], limit: int) -> str | None:
    """The cursor after these rows; None when they are the last."""
    return write_cursor(rows[-1].place) if len(rows) == limit else None


def write_cursor(place: int) -> str:
    """A place as opaque text."""
    return base64.urlsafe_b64encode(str(place).encode()).decode().rstrip("=")


def read_cursor(cursor: str) -> int:
    """The inverse of ``write_cursor``. Raises InvalidCursor."""
    try:
        return int(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    except ValueError:
        raise InvalidCursor(f"{cursor!r} is no cursor of this list: send the `next` of the page before") from None


def accepted_edit(edit: str, row: dict[str, Any], spec: BatchSpec) -> AcceptedEdit:
    """An edit as stored, with what it has from its batch."""
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
