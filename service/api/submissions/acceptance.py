"""Accepts a batch: stores it in the ledger, notifies the workers, and returns the effects of the batch."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from service.api.access.security import Principal
from service.api.live_index import LiveSet, Removal, same_as
from service.api.schemas.from_ledger import batch_edit, batch_out, batch_with, removed_edit
from service.api.schemas.requests import Submission
from service.api.schemas.responses import BatchEditOut, BatchOut, WarningOut
from service.api.state import ApiState
from service.api.submissions.reading import MAX_LISTED, fingerprint, usable_edits, warnings_about
from worker.protocol.entities import Accepted, BatchOptions
from worker.protocol.errors import LedgerDown
from worker.protocol.keys import COMMIT_UNIT, targets_unit
from worker.protocol.logs import context_id, log_event

logger = logging.getLogger(__name__)
LEDGER_LOST = "the ledger became unreachable after it accepted the batch: the superseded live edits are unknown"


def accept_batch(
    state: ApiState, principal: Principal, submission: Submission, *, idempotency_key: str | None
) -> tuple[Accepted, BatchOut]:
    """Accept a batch. Raises InvalidEdit, EditConflict, NotFound, EditNotLive, QueueFull, IdempotencyMismatch."""
    edits = usable_edits(submission)
    request_hash = fingerprint(submission)
    idempotency = None if idempotency_key is None else (principal.name or "", idempotency_key)
    live, removals = None, list[Removal]()
    if submission.remove:  # a repeated request removes edits that are no longer live: look for the first request before
        known = state.ledger.acceptance.accepted_before(idempotency, request_hash) if idempotency else None
        if known is not None:
            return known, batch_out(known.record, state.ledger)
        live = state.live.current()
        removals = state.live.removals(submission.remove, live)
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
    if accepted.replayed:
        return accepted, batch_out(accepted.record, state.ledger)
    _wake_workers(state, accepted)
    return accepted, _answer(state, accepted, removals, warnings_about(edits), live=live)


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
        shards = [targets_unit(spec.id, shard) for shard in range(spec.num_shards)]
        state.queue.enqueue_units(shards or [COMMIT_UNIT])
    except LedgerDown as error:
        log_event(logger, "enqueue_left_to_reconciler", level=logging.WARNING, batch=spec.id, reason=str(error))


def _answer(
    state: ApiState,
    accepted: Accepted,
    removals: Sequence[Removal],
    warnings: list[WarningOut],
    *,
    live: LiveSet | None,
) -> BatchOut:
    try:
        live = live or state.live.current()
        edits = _edits(live, accepted)
        warnings = [*warnings, *_companions(live, accepted, removals)][:MAX_LISTED]
    except LedgerDown:  # the batch is on disk: the answer is 202, not a refusal
        edits = [batch_edit(row) for row in accepted.edits]
        warnings = [*warnings, WarningOut(loc=["body"], msg=LEDGER_LOST)]
    removed = [removed_edit(removal.accepted, restores=removal.restores) for removal in removals]
    return batch_with(accepted.record, edits=edits, removed=removed, warnings=warnings)


def _companions(live: LiveSet, accepted: Accepted, removals: Sequence[Removal]) -> list[WarningOut]:
    """Return a warning for each live edit that has a subject of the batch under another relation."""
    removed = {removal.accepted.id for removal in removals}
    found = live.companions([row.edit for row in accepted.edits], without=removed)
    return [
        WarningOut(
            loc=["body", "edits", i, "subject"],
            msg=f"edit {row.id} about this subject is live under the relation {row.edit.relation!r}: the model stores "
            "both in one place, so one search covers both, and each may weaken the other",
        )
        for i, rows in enumerate(found)
        for row in rows
    ]


def _edits(live: LiveSet, accepted: Accepted) -> list[BatchEditOut]:
    superseded = live.superseded_by([row.edit for row in accepted.edits])
    edits = []
    for row, held in zip(accepted.edits, superseded, strict=True):
        alike = same_as(row.edit, held)
        supersedes = held.id if held is not None and held.id != row.id and alike is None else None
        edits.append(batch_edit(row, supersedes=supersedes, same_as=alike if alike != row.id else None))
    return edits
