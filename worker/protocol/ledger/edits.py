"""Reads edits and derives their status from their batch and the live version."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from editing_core.errors import NotFound
from worker.protocol.entities import BatchRecord, BatchState, EditRecord, EditStatus, Page, version_number
from worker.protocol.keys import Key, subject_hash
from worker.protocol.ledger.batches import Batches, accepted_edit
from worker.protocol.ledger.versions import Versions
from worker.protocol.scripting.connection import Connection
from worker.protocol.scripting.paging import LARGEST_PAGE, IndexRow, read_rows, write_cursor

STATUS_IN: dict[BatchState, EditStatus] = {
    BatchState.QUEUED: EditStatus.PENDING,
    BatchState.COMPUTING: EditStatus.PENDING,
    BatchState.READY: EditStatus.PENDING,
    BatchState.APPLYING: EditStatus.PENDING,
    BatchState.CHECKING: EditStatus.PENDING,
    BatchState.CANDIDATE: EditStatus.CANDIDATE,
    BatchState.REJECTED: EditStatus.REJECTED,
    BatchState.FAILED: EditStatus.FAILED,
    BatchState.CANCELLED: EditStatus.CANCELLED,
    BatchState.REPORTED: EditStatus.DROPPED,
    BatchState.DISCARDED: EditStatus.CANCELLED,
}
"""Status of an edit by the state of its batch. In an applied batch, the status depends on the live version."""
IN_A_VERSION = frozenset({BatchState.APPLIED, BatchState.CANDIDATE})


class Edits:
    """Reads edits."""

    def __init__(self, connection: Connection, batches: Batches, versions: Versions) -> None:
        self._connection = connection
        self._batches = batches
        self._versions = versions

    def get(self, edit: str) -> EditRecord:
        """Return one edit. Raises NotFound."""
        found = self.get_many([edit])
        if not found:
            raise NotFound(f"there is no edit {edit!r}: GET /edits lists those that are known")
        return found[0]

    def get_many(self, ids: Sequence[str]) -> list[EditRecord]:
        """Return edits in the order of ``ids``, without unknown ids."""
        if not ids:
            return []
        with self._connection.client() as redis, redis.pipeline(transaction=False) as pipe:
            pipe.hmget(self._connection.at(Key.EDITS), ids)
            pipe.hmget(self._connection.at(Key.EDIT_REPORTS), ids)
            texts, reports = pipe.execute()
        rows = {edit: json.loads(text) for edit, text in zip(ids, texts, strict=True) if text}
        batches = self._batches.records({row["batch"] for row in rows.values()})
        found_reports = {edit: json.loads(report) for edit, report in zip(ids, reports, strict=True) if report}
        repeats = {edit for edit, report in found_reports.items() if "same_as" in report}
        status = self._statuses({edit: batches[row["batch"]] for edit, row in rows.items()}, repeats)
        return [
            EditRecord(
                accepted=accepted_edit(edit, rows[edit], batches[rows[edit]["batch"]].spec),
                status=status[edit],
                version=batches[rows[edit]["batch"]].version,
                report=found_reports.get(edit),
                purged=rows[edit].get("purged"),
            )
            for edit in ids
            if edit in rows
        ]

    def about(self, subject: str) -> list[str]:
        """Return the ids of all edits about a subject (compared after normalisation), newest first."""
        with self._connection.client() as redis:
            return list(redis.zrevrange(self._connection.at(Key.SUBJECT_EDITS, subject_hash(subject)), 0, -1))

    def find(
        self,
        *,
        subject: str | None = None,
        batch: str | None = None,
        status: EditStatus | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[EditRecord]:
        """Return a page of the edits that match all filters, newest first.

        Raises InvalidCursor, and NotFound for an unknown batch.
        """
        if batch is not None:
            self._batches.get(batch)
        found: list[tuple[EditRecord, int]] = []
        for record, place in self._walk(subject, batch, cursor=cursor):
            fits = (batch is None or record.accepted.batch == batch) and (status is None or record.status == status)
            if not fits:
                continue
            if len(found) == limit:
                return Page(items=[item for item, _ in found], next=write_cursor(found[-1][1]))
            found.append((record, place))
        return Page(items=[item for item, _ in found], next=None)

    def row(self, edit: str) -> dict[str, Any]:
        """Return the stored row of an edit: ``batch``, ``edit``, and ``purged`` if it is erased. Raises NotFound."""
        with self._connection.client() as redis:
            text = redis.hget(self._connection.at(Key.EDITS), edit)
        if text is None:
            raise NotFound(f"there is no edit {edit!r}: GET /edits lists those that are known")
        row: dict[str, Any] = json.loads(text)
        return row

    def set_reports(self, reports: Mapping[str, Mapping[str, Any]]) -> None:
        """Store the check results of each edit."""
        if reports:
            with self._connection.client() as redis:
                redis.hset(
                    self._connection.at(Key.EDIT_REPORTS),
                    mapping={edit: json.dumps(found, ensure_ascii=False) for edit, found in reports.items()},
                )

    def _walk(self, subject: str | None, batch: str | None, *, cursor: str | None) -> Iterator[tuple[EditRecord, int]]:
        key, member = _narrowest(subject, batch)
        rows: list[IndexRow] = []
        while not rows or len(rows) == LARGEST_PAGE:
            rows = read_rows(self._connection, key, member, cursor=cursor, limit=LARGEST_PAGE)
            if not rows:
                return
            cursor = write_cursor(rows[-1].place)
            places = dict(rows)
            for record in self.get_many([row.id for row in rows]):
                yield record, places[record.accepted.id]

    def _statuses(self, batch_of: dict[str, BatchRecord], repeats: Collection[str]) -> dict[str, EditStatus]:
        applied = {edit: record for edit, record in batch_of.items() if record.status == BatchState.APPLIED}
        status = {edit: STATUS_IN[record.status] for edit, record in batch_of.items() if edit not in applied}
        live = self._versions.pointer().version
        in_force = self._versions.members_of(Key.VERSION_EDITS, list(applied), live)
        beneath = self._versions.members_of(Key.VERSION_HISTORY, list(applied), live)
        versions = {record.version for record in applied.values() if record.version}
        line = self._line(live, versions)
        for edit, record in applied.items():
            if edit in in_force:
                status[edit] = EditStatus.LIVE
            elif record.version not in line:
                status[edit] = EditStatus.ROLLED_BACK
            elif edit in repeats:
                status[edit] = EditStatus.DROPPED
            else:
                status[edit] = EditStatus.SUPERSEDED if edit in beneath else EditStatus.TAKEN_OUT
        return status | dict.fromkeys(self._dropped(batch_of), EditStatus.DROPPED)

    def _dropped(self, batch_of: dict[str, BatchRecord]) -> set[str]:
        """Return the edits that were left out of the version of their batch."""
        return self._versions.members_of(
            Key.DROPPED, [edit for edit, batch in batch_of.items() if batch.status in IN_A_VERSION]
        )

    def _line(self, live: str, versions: Iterable[str]) -> set[str]:
        numbers = [version_number(version) for version in versions]
        return set(self._versions.lineage(live, floor=min(numbers))) if numbers else set()


def _narrowest(subject: str | None, batch: str | None) -> tuple[Key, str]:
    if subject is not None:
        return Key.SUBJECT_EDITS, subject_hash(subject)
    if batch is not None:
        return Key.BATCH_EDITS, batch
    return Key.EDIT_ORDER, ""
