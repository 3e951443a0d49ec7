"""``/edits``: taking edits, and telling what became of them."""

from __future__ import annotations

import logging
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from service.api.access.security import Editor, Principal, Reader
from service.api.bodies import json_body
from service.api.problems import InvalidInput
from service.api.routes.answers import batch_links, batch_out
from service.api.routes.documented import refusals
from service.api.routes.events import wait_for_end
from service.api.routes.records.provenance import TracedEdit, TracedEditDetail, traced, traced_detail
from service.api.routes.submission import fingerprint, read_submission, usable_edits, warnings_about
from service.api.schemas import AcceptedEditOut, AcceptedOut, BatchOut, Page, WarningOut
from service.api.state import ApiState, State
from worker.protocol.errors import LedgerDown
from worker.protocol.jobs import Accepted, BatchRecord, EditStatus
from worker.protocol.logs import log_event

logger = logging.getLogger(__name__)
router = APIRouter(tags=["edits"])

NOT_TOLD = "the ledger went away after it took the batch: which live edits are superseded is not told"

IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        pattern=r"^[ -~]+$",
        description="the same key and body give the same batch again; kept for 7 days",
    ),
]
Wait = Annotated[
    float,
    Query(ge=0, allow_inf_nan=False, description="seconds to hold the answer for the batch's end (then 200)"),
]


@router.post(
    "/edits",
    status_code=202,
    response_model=None,
    responses={
        200: {"model": AcceptedOut | BatchOut, "description": "The same batch again, or (with ?wait=) its end"},
        202: {"model": AcceptedOut, "description": "The batch is on disk and queued"},
        **refusals(409, 413, 415, 429, 503),
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Submission"}}},
        }
    },
)
async def post_edits(
    request: Request,
    state: State,
    principal: Editor,
    body: Annotated[bytes, Depends(json_body)],
    idempotency_key: IdempotencyKey = None,
    wait: Wait = 0.0,
) -> Response:
    """Take a batch of edits: all go live together, or none does."""
    if wait > state.settings.max_wait_seconds:
        msg = f"the answer is held for at most {state.settings.max_wait_seconds:g} seconds"
        raise InvalidInput(f"wait: {msg}", errors=[{"loc": ["query", "wait"], "msg": msg}])
    accepted, answer = await run_in_threadpool(_take, state, principal, body, idempotency_key=idempotency_key)
    batch = accepted.record.spec.id
    if wait and (ended := await _end_of(state, batch, request, timeout_seconds=wait)) is not None:
        return ended
    headers = {"Location": f"/batches/{batch}"}
    if accepted.replayed:
        headers["Idempotent-Replayed"] = "true"
    return _json(answer, 200 if accepted.replayed else 202, headers)


def _take(state: ApiState, principal: Principal, body: bytes, *, idempotency_key: str | None) -> tuple[Accepted, bytes]:
    submission = read_submission(body, max_edits=state.settings.max_edits)
    edits = usable_edits(submission)
    accepted = state.ledger.accept(
        edits,
        author=principal.name,
        idempotency=None if idempotency_key is None else (principal.name or "", idempotency_key),
        request_hash=fingerprint(submission),
        shard_size=state.settings.shard_size,
        max_open=state.settings.max_open_batches,
    )
    if not accepted.replayed:
        _wake_workers(state, accepted)
    return accepted, _accepted_out(state, accepted, warnings_about(edits)).model_dump_json().encode()


def _wake_workers(state: ApiState, accepted: Accepted) -> None:
    batch = accepted.record.spec.id
    state.metrics.edits_accepted.inc(len(accepted.edits))
    log_event(logger, "batch_accepted", batch=batch, num_edits=len(accepted.edits), author=accepted.record.spec.author)
    try:
        state.queue.enqueue_units(state.ledger.open_units(batch))
    except LedgerDown as error:
        log_event(logger, "enqueue_left_to_reconciler", level=logging.WARNING, batch=batch, reason=str(error))


async def _end_of(state: ApiState, batch: str, request: Request, *, timeout_seconds: float) -> Response | None:
    """The batch at its end; None when it has none within the time, or when the ledger went away meanwhile."""
    try:
        record = await wait_for_end(state, batch, request, timeout_seconds=timeout_seconds)
        return await run_in_threadpool(_ended, record, state) if record.is_final else None
    except LedgerDown:
        return None  # the batch is on disk: the answer is 202, not a refusal


def _accepted_out(state: ApiState, accepted: Accepted, warnings: list[WarningOut]) -> AcceptedOut:
    try:
        superseded = _superseded(state, accepted)
        statuses = _statuses(state, accepted)
    except LedgerDown:  # the batch is on disk: the answer is 202, not a refusal
        superseded, statuses = [None] * len(accepted.edits), {}
        warnings = [
            *warnings,
            WarningOut(loc=["body"], msg=NOT_TOLD),
        ]
    rows = [
        AcceptedEditOut(
            id=row.id,
            subject=row.edit.subject,
            prompt=row.edit.prompt,
            target_new=row.edit.target_new,
            relation=row.edit.relation,
            status=statuses.get(row.id, EditStatus.PENDING),
            supersedes=live if live != row.id else None,
        )
        for row, live in zip(accepted.edits, superseded, strict=True)
    ]
    record = accepted.record
    return AcceptedOut(
        id=record.spec.id, status=record.status, edits=rows, warnings=warnings, links=batch_links(record.spec.id)
    )


def _superseded(state: ApiState, accepted: Accepted) -> list[str | None]:
    """The live edits that these will take the place of; of a batch that was taken before it is no longer told."""
    if accepted.replayed:
        return [None] * len(accepted.edits)
    return state.live.superseded_by([row.edit for row in accepted.edits])


def _statuses(state: ApiState, accepted: Accepted) -> dict[str, EditStatus]:
    if not accepted.replayed:
        return {}
    return {record.accepted.id: record.status for record in state.ledger.edits([row.id for row in accepted.edits])}


def _ended(record: BatchRecord, state: ApiState) -> Response:
    return _json(
        batch_out(record, state.ledger).model_dump_json().encode(), 200, {"Location": f"/batches/{record.spec.id}"}
    )


def _json(body: bytes, status: int, headers: dict[str, str]) -> Response:
    return Response(body, status_code=status, headers=headers, media_type="application/json")


class EditFilter(BaseModel):
    """Which edits to list; a parameter that is not known is refused."""

    model_config = ConfigDict(extra="forbid")

    subject: str | None = Field(None, min_length=1, max_length=2_000, description="exactly, but for white space")
    batch: str | None = Field(None, max_length=200)
    status: EditStatus | None = None
    cursor: str | None = Field(None, max_length=500)
    limit: int = Field(50, ge=1, le=500)


@router.get("/edits", responses=refusals(404, 503))
def list_edits(state: State, principal: Reader, wanted: Annotated[EditFilter, Query()]) -> Page[TracedEdit]:
    """Edits, newest first: what is in force and what became of the rest."""
    page = state.ledger.find_edits(
        subject=wanted.subject, batch=wanted.batch, status=wanted.status, cursor=wanted.cursor, limit=wanted.limit
    )
    return Page(items=traced(state, list(page.items)), next=page.next)


@router.get("/edits/{edit}", responses=refusals(404, 503))
def get_edit(state: State, principal: Reader, edit: str) -> TracedEditDetail:
    """One edit with the report of its checks."""
    return traced_detail(state, state.ledger.edit(edit))
