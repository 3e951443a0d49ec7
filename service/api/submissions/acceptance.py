"""Taking a batch in: the ledger writes it, the workers are woken, and the answer tells what it will do."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from service.api.access.security import Principal
from service.api.schemas.answers import AcceptedEditOut, AcceptedOut, RemovedEditOut, WarningOut
from service.api.schemas.from_ledger import batch_links
from service.api.schemas.requests import Submission
from service.api.state import ApiState
from service.api.submissions.live_index import Removal, same_as
from service.api.submissions.reading import MAX_LISTED, fingerprint, usable_edits, warnings_about
from worker.protocol.entities import Accepted, BatchOptions, EditStatus
from worker.protocol.errors import LedgerDown
from worker.protocol.logs import context_id, log_event

logger = logging.getLogger(__name__)
NOT_TOLD = "the ledger went away after it took the batch: which live edits are superseded is not told"


def take(
    state: ApiState, principal: Principal, submission: Submission, *, idempotency_key: str | None
) -> tuple[Accepted, AcceptedOut]:
    """Take a batch. Raises InvalidEdit, EditConflict, NotFound, EditNotLive, QueueFull, IdempotencyMismatch."""
    edits = usable_edits(submission)
    request_hash = fingerprint(submission)
    idempotency = None if idempotency_key is None else (principal.name or "", idempotency_key)
    known = state.ledger.acceptance.accepted_before(idempotency, request_hash) if idempotency else None
    if known is not None:
        return known, _answer(state, known, (), [])
    removals = state.live.removals(submission.remove) if submission.remove else []
    accepted = state.ledger.acceptance.accept(
        edits,
        author=principal.name,
        idempotency=idempotency,
        request_hash=request_hash,
        options=BatchOptions(promote=submission.promote, on_failure=submission.on_failure, dry_run=submission.dry_run),
        shard_size=state.settings.shard_size,
        max_open=state.settings.max_open_batches,
        remove=[removal.accepted.id for removal in removals],
        request=context_id("request"),
    )
    if not accepted.replayed:
        _wake_workers(state, accepted)
    return accepted, _answer(state, accepted, removals, warnings_about(edits))


def _wake_workers(state: ApiState, accepted: Accepted) -> None:
    spec = accepted.record.spec
    state.metrics.edits_accepted.inc(len(accepted.edits))
    log_event(
        logger,
        "batch_accepted",
        batch=spec.id,
        num_edits=spec.num_edits,
        num_removed=len(spec.remove),
        author=spec.author,
    )
    try:
        state.queue.enqueue_units(state.ledger.batches.open_units(spec.id))
    except LedgerDown as error:
        log_event(logger, "enqueue_left_to_reconciler", level=logging.WARNING, batch=spec.id, reason=str(error))


def _answer(
    state: ApiState, accepted: Accepted, removals: Sequence[Removal], warnings: list[WarningOut]
) -> AcceptedOut:
    record = accepted.record
    try:
        rows = _rows(state, accepted)
        if accepted.replayed:
            removals = _known_removals(state, accepted)
        if not accepted.replayed:
            warnings = [*warnings, *_companions(state, accepted, removals)][:MAX_LISTED]
    except LedgerDown:  # the batch is on disk: the answer is 202, not a refusal
        rows = [_row(accepted, i) for i in range(len(accepted.edits))]
        warnings = [*warnings, WarningOut(loc=["body"], msg=NOT_TOLD)]
    return AcceptedOut(
        id=record.spec.id,
        status=record.status,
        edits=rows,
        removed=[_removed(removal) for removal in removals],
        warnings=warnings,
        links=batch_links(record.spec.id),
    )


def _companions(state: ApiState, accepted: Accepted, removals: Sequence[Removal]) -> list[WarningOut]:
    """A word on each live edit about a subject of the batch under another relation."""
    removed = {removal.accepted.id for removal in removals}
    found = state.live.companions([row.edit for row in accepted.edits], without=removed)
    return [
        WarningOut(
            loc=["body", "edits", i, "subject"],
            msg=f"edit {row.id} about this subject is live under the relation {row.edit.relation!r}: the model looks "
            "both up at one place, so they are searched for together, and each may weaken the other",
        )
        for i, rows in enumerate(found)
        for row in rows
    ]


def _rows(state: ApiState, accepted: Accepted) -> list[AcceptedEditOut]:
    if accepted.replayed:  # what it superseded when it was new is no longer told
        statuses = {
            found.accepted.id: found.status for found in state.ledger.edits.get_many([row.id for row in accepted.edits])
        }
        return [_row(accepted, i, status=statuses.get(row.id)) for i, row in enumerate(accepted.edits)]
    live = state.live.superseded_by([row.edit for row in accepted.edits])
    rows = []
    for i, (row, held) in enumerate(zip(accepted.edits, live, strict=True)):
        alike = same_as(row.edit, held)
        supersedes = held.id if held is not None and held.id != row.id and alike is None else None
        rows.append(_row(accepted, i, supersedes=supersedes, alike=alike if alike != row.id else None))
    return rows


def _row(
    accepted: Accepted,
    index: int,
    *,
    status: EditStatus | None = None,
    supersedes: str | None = None,
    alike: str | None = None,
) -> AcceptedEditOut:
    row = accepted.edits[index]
    return AcceptedEditOut(
        id=row.id,
        subject=row.edit.subject,
        prompt=row.edit.prompt,
        target_new=row.edit.target_new,
        relation=row.edit.relation,
        status=status or EditStatus.PENDING,
        supersedes=supersedes,
        same_as=alike,
    )


def _known_removals(state: ApiState, accepted: Accepted) -> list[Removal]:
    """What the batch took out; what came back instead when it was new is no longer told."""
    rows = state.ledger.edits.get_many(list(accepted.record.spec.remove))
    return [Removal(accepted=row.accepted, restores=None) for row in rows]


def _removed(removal: Removal) -> RemovedEditOut:
    edit = removal.accepted.edit
    return RemovedEditOut(
        id=removal.accepted.id,
        subject=edit.subject,
        prompt=edit.prompt,
        target_new=edit.target_new,
        relation=edit.relation,
        restores=removal.restores,
    )
