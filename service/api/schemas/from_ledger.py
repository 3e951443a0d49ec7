"""The ledger's records as the answers that ``service.api.schemas.answers`` promises."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from editing_core.versions.measures import recorded
from service.api.schemas.answers import (
    BatchEdits,
    BatchLine,
    BatchLinks,
    BatchOut,
    BatchSize,
    EditDetail,
    EditOut,
    ProgressOut,
    PromotionOut,
    VersionOut,
)
from worker.protocol.entities import BatchRecord, BatchState, EditRecord, Promotion, VersionRecord
from worker.protocol.ledger.ledger import Ledger

NUM_NOT_HOLDING = 20
"""Edits that do not hold, named with their batch."""
READ_AT_ONCE = 500
CHECKED_STATES = frozenset({BatchState.APPLIED, BatchState.REJECTED, BatchState.CANDIDATE, BatchState.REPORTED})


def edit_out(record: EditRecord) -> EditOut:
    """An edit of a list."""
    return EditOut.model_validate(_edit_fields(record))


def edit_detail(record: EditRecord) -> EditDetail:
    """An edit with its report."""
    return EditDetail.model_validate({**_edit_fields(record), "report": record.report})


def _edit_fields(record: EditRecord) -> dict[str, object]:
    accepted = record.accepted
    return {
        **accepted.edit.to_json(),
        "id": accepted.id,
        "batch": accepted.batch,
        "status": record.status,
        "version": record.version,
        "created": accepted.created,
        "author": accepted.author,
        "holds": recorded(record.report or {}, "holds"),
    }


def batch_links(batch: str) -> BatchLinks:
    """Where to go on from a batch."""
    return BatchLinks(self=f"/batches/{batch}", events=f"/batches/{batch}/events", edits=f"/edits?batch={batch}")


def batch_line(record: BatchRecord) -> BatchLine:
    """A batch of a list: without a look at each of its edits."""
    return BatchLine(**_batch_fields(record), edits=BatchSize(**_size(record)))


def batch_out(record: BatchRecord, ledger: Ledger) -> BatchOut:
    """A batch, with its edits in short."""
    return BatchOut(**_batch_fields(record), edits=_edits_in_short(record, ledger), report=record.report)


def _batch_fields(record: BatchRecord) -> dict[str, Any]:
    return {
        "id": record.spec.id,
        "status": record.status,
        "created": record.spec.created,
        "updated": record.updated,
        "author": record.spec.author,
        "progress": ProgressOut(**record.progress.to_json()) if record.progress and not record.is_settled else None,
        "version": record.version,
        "error": record.error,
        "links": batch_links(record.spec.id),
    }


def _edits_in_short(record: BatchRecord, ledger: Ledger) -> BatchEdits:
    if record.status not in CHECKED_STATES:
        return BatchEdits(**_size(record), holding=None, not_holding=[])
    num_holding = 0
    not_holding: list[EditOut] = []
    tested = False
    for edit in all_edits(ledger, record.spec.id):
        holds = recorded(edit.report or {}, "holds")
        tested = tested or holds is not None
        num_holding += holds is True
        if holds is False and len(not_holding) < NUM_NOT_HOLDING:
            not_holding.append(edit_out(edit))
    return BatchEdits(**_size(record), holding=num_holding if tested else None, not_holding=not_holding)


def _size(record: BatchRecord) -> dict[str, int]:
    return {"total": record.spec.num_edits, "removed": len(record.spec.remove)}


def all_edits(ledger: Ledger, batch: str) -> Iterator[EditRecord]:
    """Every edit of a batch, in its order."""
    ids = [accepted.id for accepted in ledger.batch_edits(batch)]
    for start in range(0, len(ids), READ_AT_ONCE):
        yield from ledger.edits(ids[start : start + READ_AT_ONCE])


def version_out(record: VersionRecord, model: dict[str, Any]) -> VersionOut:
    """A version of a list or alone."""
    return VersionOut.model_validate(_version_fields(record, model))


def _version_fields(record: VersionRecord, model: dict[str, Any]) -> dict[str, object]:
    fields = asdict(record)
    return {
        **fields,
        "model": {**model, **record.model},
        "edits": fields.pop("num_edits"),
        "batches": list(record.batches),
    }


def promotion_out(record: VersionRecord, promotion: Promotion, model: dict[str, Any]) -> PromotionOut:
    """The version that is live now, with what that changed."""
    return PromotionOut.model_validate({
        **_version_fields(record, model),
        "revision": promotion.pointer.revision,
        "previous": promotion.previous,
        "rolled_back": list(promotion.rolled_back),
        "restored": list(promotion.restored),
    })
