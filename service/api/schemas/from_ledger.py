"""Converts records of the ledger to the bodies in ``service.api.schemas.responses``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from editing_core.edits import AcceptedEdit
from editing_core.versions.measures import recorded
from service.api.schemas.responses import (
    BatchEditOut,
    BatchLine,
    BatchLinks,
    BatchOut,
    EditCounts,
    EditCountsByStatus,
    EditDetail,
    EditOut,
    ProgressOut,
    PromotionOut,
    RemovedEditOut,
    VersionOut,
    WarningOut,
)
from worker.protocol.entities import BatchRecord, EditRecord, EditStatus, Promotion, VersionRecord
from worker.protocol.ledger.ledger import Ledger

READ_AT_ONCE = 500


def edit_out(record: EditRecord) -> EditOut:
    """Return an edit without its report."""
    return EditOut.model_validate(_edit_fields(record))


def edit_detail(record: EditRecord) -> EditDetail:
    """Return an edit with its report."""
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
    """Return the links of a batch."""
    return BatchLinks(self=f"/batches/{batch}", events=f"/batches/{batch}/events", edits=f"/edits?batch={batch}")


def batch_line(record: BatchRecord) -> BatchLine:
    """Return a batch without its edits. Reads nothing from the ledger."""
    return BatchLine(**_batch_fields(record), edit_counts=EditCounts(**_sizes(record)))


def batch_out(record: BatchRecord, ledger: Ledger) -> BatchOut:
    """Return a batch with the current state of all its edits."""
    return batch_with(
        record,
        edits=[batch_edit(row.accepted, row) for row in all_edits(ledger, record.spec.id)],
        removed=[removed_edit(row.accepted) for row in ledger.edits.get_many(list(record.spec.remove))],
    )


def batch_with(
    record: BatchRecord,
    *,
    edits: list[BatchEditOut],
    removed: list[RemovedEditOut],
    warnings: Sequence[WarningOut] = (),
) -> BatchOut:
    """Return a batch with edits that the caller already has."""
    tested = [edit.holds for edit in edits if edit.holds is not None]
    counts = EditCountsByStatus(
        **_sizes(record),
        by_status=dict(Counter(edit.status for edit in edits)),
        holding=sum(tested) if tested else None,
    )
    return BatchOut(
        **_batch_fields(record),
        edit_counts=counts,
        edits=edits,
        removed=removed,
        warnings=list(warnings),
        report=record.report,
    )


def batch_edit(
    accepted: AcceptedEdit,
    record: EditRecord | None = None,
    *,
    supersedes: str | None = None,
    same_as: str | None = None,
) -> BatchEditOut:
    """Return an edit of a batch. ``record`` is its state in the ledger; None if the edit was just accepted."""
    report = (record.report if record else None) or {}
    return BatchEditOut(
        **_named(accepted),
        status=record.status if record else EditStatus.PENDING,
        holds=recorded(report, "holds"),
        supersedes=supersedes,
        same_as=same_as or report.get("same_as"),
    )


def removed_edit(accepted: AcceptedEdit, *, restores: str | None = None) -> RemovedEditOut:
    """Return an edit that a batch removes from the set."""
    return RemovedEditOut(**_named(accepted), restores=restores)


def _named(accepted: AcceptedEdit) -> dict[str, Any]:
    edit = accepted.edit
    return {
        "id": accepted.id,
        "subject": edit.subject,
        "prompt": edit.prompt,
        "target_new": edit.target_new,
        "relation": edit.relation,
    }


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


def _sizes(record: BatchRecord) -> dict[str, int]:
    return {"total": record.spec.num_edits, "removed": len(record.spec.remove)}


def all_edits(ledger: Ledger, batch: str) -> Iterator[EditRecord]:
    """Yield every edit of a batch, in its order."""
    ids = [accepted.id for accepted in ledger.batches.edits(batch)]
    for start in range(0, len(ids), READ_AT_ONCE):
        yield from ledger.edits.get_many(ids[start : start + READ_AT_ONCE])


def version_out(record: VersionRecord, model: dict[str, Any]) -> VersionOut:
    """Return a version."""
    return VersionOut.model_validate(_version_fields(record, model))


def _version_fields(record: VersionRecord, model: dict[str, Any]) -> dict[str, object]:
    fields = asdict(record)
    return {
        **fields,
        "model": {**model, **record.model},
        "edits": fields.pop("num_edits"),
        "batches": list(record.batches),
    }


def promotion_out(
    record: VersionRecord, promotion: Promotion, model: dict[str, Any], *, behind: Sequence[str] = ()
) -> PromotionOut:
    """Return the version that is live now, with the changes of its promotion."""
    return PromotionOut.model_validate({
        **_version_fields(record, model),
        "revision": promotion.pointer.revision,
        "previous": promotion.previous,
        "rolled_back": list(promotion.rolled_back),
        "restored": list(promotion.restored),
        "behind": list(behind),
    })
