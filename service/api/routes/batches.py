"""``/batches``: show the progress of batches, as answers or as events, and cancel them."""

from __future__ import annotations

import logging
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from service.api.access.security import Editor, Reader
from service.api.openapi import refusals
from service.api.routes.events import events_of
from service.api.schemas.from_ledger import batch_line, batch_out
from service.api.schemas.responses import BatchLine, BatchOut, Page
from service.api.state import State
from worker.protocol.logs import log_event

logger = logging.getLogger(__name__)
router = APIRouter(tags=["batches"])

WithEdits = Annotated[
    bool, Query(description="false: answer without edits and report, for clients that poll the status of a large batch")
]


class Paging(BaseModel):
    """Which page of a list."""

    model_config = ConfigDict(extra="forbid")

    cursor: str | None = Field(None, max_length=500, description="next of the page before")
    limit: int = Field(50, ge=1, le=500)


@router.get("/batches", responses=refusals(503))
def list_batches(state: State, principal: Reader, paging: Annotated[Paging, Query()]) -> Page[BatchLine]:
    """List batches, newest first."""
    page = state.ledger.batches.page(paging.cursor, paging.limit)
    return Page(items=[batch_line(record) for record in page.items], next=page.next)


@router.get("/batches/{batch}", responses=refusals(404, 503))
def get_batch(state: State, principal: Reader, batch: str, edits: WithEdits = True) -> BatchOut | BatchLine:
    """A batch: its status, its progress, its edits and, after the checks, what they found."""
    record = state.ledger.batches.get(batch)
    return batch_out(record, state.ledger) if edits else batch_line(record)


@router.get(
    "/batches/{batch}/events",
    response_class=Response,
    responses={
        200: {
            "description": "Events `batch` with the progress number as id. The data is the batch without its edits "
            "(`BatchLine`), and the whole batch (`BatchOut`) in the last event, whose status is final or "
            "`candidate`. An event `problem` says why the stream ends early.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
        204: {"description": "The client has already received the last event"},
        **refusals(404, 503),
    },
)
async def follow_batch(
    state: State,
    principal: Reader,
    batch: str,
    last_event_id: Annotated[int | None, Header(ge=0, description="progress number of the last event received")] = None,
) -> Response:
    """Follow a batch to its end with server-sent events."""
    record = await run_in_threadpool(state.ledger.batches.get, batch)
    if record.is_settled and last_event_id is not None and last_event_id >= record.progress_number:
        return Response(status_code=204)
    return StreamingResponse(
        events_of(state, batch, last_seen=last_event_id),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


@router.delete("/batches/{batch}", responses=refusals(404, 409, 503))
def cancel_batch(state: State, principal: Editor, batch: str) -> BatchOut:
    """Cancel a batch; possible until its commit begins."""
    record = state.ledger.transitions.cancel(batch, author=principal.name)
    log_event(logger, "batch_cancelled", batch=batch, author=principal.name)
    return batch_out(record, state.ledger)
