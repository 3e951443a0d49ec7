"""``/edits``: submit, remove and list edits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from editing_core.errors import NotFound
from editing_core.formats.own import LONGEST_ID
from service.api.access.security import Editor, Reader
from service.api.bodies import json_body
from service.api.openapi import refusals
from service.api.problems.kinds import InvalidInput
from service.api.replicas_wait import behind_after_wait
from service.api.routes.events import wait_for_end
from service.api.routes.provenance import TracedEdit, TracedEditDetail, traced, traced_detail
from service.api.schemas.from_ledger import batch_out
from service.api.schemas.requests import Submission
from service.api.schemas.responses import BatchOut, Page, WarningOut
from service.api.state import ApiState, State
from service.api.submissions.acceptance import accept_batch
from service.api.submissions.reading import read_submission
from worker.protocol.entities import Accepted, BatchRecord, BatchState, EditStatus
from worker.protocol.errors import LedgerDown

router = APIRouter(tags=["edits"])

IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        pattern=r"^[ -~]+$",
        description="the same key and body return the same batch again; kept for 7 days",
    ),
]
Wait = Annotated[
    float,
    Query(ge=0, allow_inf_nan=False, description="seconds to hold the answer until the batch ends (then 200)"),
]


@router.post(
    "/edits",
    status_code=202,
    response_model=None,
    responses={
        200: {"model": BatchOut, "description": "The same batch again, or (with ?wait=) the batch at its end"},
        202: {"model": BatchOut, "description": "The batch is on disk and queued"},
        **refusals(404, 409, 413, 415, 429, 503),
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
    """Submit a batch of edits and removals: all of it goes live together, or nothing does."""
    _require_wait_within_limit(wait, state)

    def accept() -> tuple[Accepted, bytes]:
        submission = read_submission(body, max_edits=state.settings.max_edits)
        accepted, answer = accept_batch(state, principal, submission, idempotency_key=idempotency_key)
        return accepted, answer.model_dump_json().encode()

    return await _accepted_response(accept, state, request, wait_seconds=wait)


@router.delete(
    "/edits/{edit}",
    status_code=202,
    response_model=None,
    responses={
        200: {"model": BatchOut, "description": "The same batch again, or (with ?wait=) the batch at its end"},
        202: {"model": BatchOut, "description": "The batch that removes the edit is on disk and queued"},
        **refusals(404, 409, 429, 503),
    },
)
async def remove_edit(
    request: Request,
    state: State,
    principal: Editor,
    edit: str,
    idempotency_key: IdempotencyKey = None,
    wait: Wait = 0.0,
) -> Response:
    """Remove one edit: the resulting version is the same as if the edit had never been made."""
    _require_wait_within_limit(wait, state)
    if len(edit) > LONGEST_ID:
        raise NotFound(f"there is no edit {edit[:LONGEST_ID]!r}…: GET /edits lists those that are known")

    def accept() -> tuple[Accepted, bytes]:
        accepted, answer = accept_batch(state, principal, Submission(remove=[edit]), idempotency_key=idempotency_key)
        return accepted, answer.model_dump_json().encode()

    return await _accepted_response(accept, state, request, wait_seconds=wait)


def _require_wait_within_limit(wait_seconds: float, state: ApiState) -> None:
    if wait_seconds > state.settings.max_wait_seconds:
        msg = f"the service holds an answer for at most {state.settings.max_wait_seconds:g} seconds"
        raise InvalidInput(f"wait: {msg}", errors=[{"loc": ["query", "wait"], "msg": msg}])


async def _accepted_response(
    accept: Callable[[], tuple[Accepted, bytes]], state: ApiState, request: Request, *, wait_seconds: float
) -> Response:
    accepted, answer = await run_in_threadpool(accept)
    batch = accepted.record.spec.id
    if wait_seconds and (ended := await _end_of(state, batch, request, timeout_seconds=wait_seconds)) is not None:
        return ended
    headers = {"Location": f"/batches/{batch}"}
    if accepted.replayed:
        headers["Idempotent-Replayed"] = "true"
    return _json(answer, 200 if accepted.replayed else 202, headers)


async def _end_of(state: ApiState, batch: str, request: Request, *, timeout_seconds: float) -> Response | None:
    """Return the batch at its end; None if it does not end in time or if the ledger becomes unreachable.

    An applied batch is answered with 200 once every ready replica serves it, and with 202 if some do not in time.
    """
    deadline = monotonic() + timeout_seconds
    try:
        record = await wait_for_end(state, batch, request, timeout_seconds=timeout_seconds)
        if not record.is_settled:
            return None
        behind: list[str] = []
        if record.status == BatchState.APPLIED:
            pointer = await run_in_threadpool(state.ledger.versions.pointer)
            seconds = min(state.settings.promotion_wait_seconds, deadline - monotonic())
            behind = await behind_after_wait(state, pointer.revision, seconds=seconds)
        return await run_in_threadpool(_ended_response, record, state, behind)
    except LedgerDown:
        return None  # the batch is on disk: the answer is 202, not a refusal


def _ended_response(record: BatchRecord, state: ApiState, behind: Sequence[str]) -> Response:
    answer, status = batch_out(record, state.ledger), 200
    if behind:
        msg = f"the version is live, but these replicas do not serve it yet: {', '.join(behind)}"
        warning = WarningOut(loc=["query", "wait"], msg=msg)
        answer, status = answer.model_copy(update={"warnings": [*answer.warnings, warning]}), 202
    return _json(answer.model_dump_json().encode(), status, {"Location": f"/batches/{record.spec.id}"})


def _json(body: bytes, status: int, headers: dict[str, str]) -> Response:
    return Response(body, status_code=status, headers=headers, media_type="application/json")


class EditFilter(BaseModel):
    """Filter and page of a list of edits; unknown parameters are refused."""

    model_config = ConfigDict(extra="forbid")

    subject: str | None = Field(
        None,
        min_length=1,
        max_length=2_000,
        description="exact match after Unicode normalisation (NFC) and of white space",
    )
    batch: str | None = Field(None, max_length=200)
    status: EditStatus | None = None
    cursor: str | None = Field(None, max_length=500)
    limit: int = Field(50, ge=1, le=500)


@router.get("/edits", responses=refusals(404, 503))
def list_edits(state: State, principal: Reader, wanted: Annotated[EditFilter, Query()]) -> Page[TracedEdit]:
    """List edits, newest first: those in force, and what became of the rest."""
    page = state.ledger.edits.find(
        subject=wanted.subject, batch=wanted.batch, status=wanted.status, cursor=wanted.cursor, limit=wanted.limit
    )
    return Page(items=traced(state, list(page.items)), next=page.next)


@router.get("/edits/{edit}", responses=refusals(404, 503))
def get_edit(state: State, principal: Reader, edit: str) -> TracedEditDetail:
    """One edit with the report of its checks."""
    return traced_detail(state, state.ledger.edits.get(edit))
