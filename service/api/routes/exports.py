"""``/versions/{v}/export`` and ``/exports``: request exports, which a worker writes into the data folder."""

from __future__ import annotations

import logging
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from starlette.concurrency import run_in_threadpool

from editing_core.errors import ExportRefused, InvalidSettings, NotFound
from editing_core.versions.layout import StoreLayout
from service.api.access.security import Admin, Principal, Reader
from service.api.bodies import SMALL_BODY_BYTES, body_schema, json_body, read_as
from service.api.openapi import refusals
from service.api.problems.kinds import InvalidInput, RequestProblem
from service.api.routes.batches import Paging
from service.api.schemas.exports import ExportIn, ExportOut
from service.api.schemas.responses import Page
from service.api.state import ApiState, State
from worker.protocol.errors import LedgerDown
from worker.protocol.keys import export_unit
from worker.protocol.ledger.exports import Requested
from worker.protocol.logs import context_id, log_event

logger = logging.getLogger(__name__)
router = APIRouter(tags=["exports"])


class NothingToExport(RequestProblem):
    """The original differs from itself in nothing: there is no adapter of it."""

    status = 409
    slug = "nothing-to-export"
    title = "There is nothing to export"
    next_step_hint = "Export another version, or v0 in the format hf."


@router.post(
    "/versions/{version}/export",
    status_code=202,
    response_model=None,
    responses={
        200: {"model": ExportOut, "description": "The same export exists already"},
        202: {"model": ExportOut, "description": "The export is queued; its record reports its progress"},
        **refusals(404, 409, 413, 415, 429, 503),
    },
    openapi_extra=body_schema(ExportIn),
)
async def export_version(
    state: State, principal: Admin, version: str, body: Annotated[bytes, Depends(json_body)]
) -> Response:
    """Export a version as a Hugging Face checkpoint or a PEFT adapter; a repeated request returns the same export."""
    requested = await run_in_threadpool(_request_export, state, principal, version, body=body)
    return Response(
        ExportOut.of(requested.record).model_dump_json(),
        status_code=200 if requested.record.is_final else 202,
        headers={"Location": f"/exports/{requested.record.id}"},
        media_type="application/json",
    )


def _request_export(state: ApiState, principal: Principal, version: str, *, body: bytes) -> Requested:
    wanted = read_as(ExportIn, body, max_bytes=SMALL_BODY_BYTES)
    if state.ledger.versions.get(version).removed:
        raise NotFound(f"version {version} is no longer kept (GET /versions reports it as removed): export another one")
    request = wanted.to_request(version)
    try:
        request.require_sense()
    except InvalidSettings as error:
        raise InvalidInput(f"body: {error.detail}", errors=[{"loc": ["body"], "msg": error.detail}]) from None
    except ExportRefused as error:
        raise NothingToExport(error.detail) from None
    folder = StoreLayout(state.settings.data).exports_dir / request.id
    requested = state.ledger.exports.request(
        request, author=principal.name, is_lost=not folder.is_dir(), asked_by=context_id("request")
    )
    if requested.is_new:
        log_event(logger, "export_requested", export=request.id, author=principal.name)
        _wake_worker(state, request.id)
    return requested


def _wake_worker(state: ApiState, export: str) -> None:
    try:
        state.queue.enqueue_unit(export_unit(export))
    except LedgerDown as error:
        log_event(logger, "enqueue_left_to_reconciler", level=logging.WARNING, export=export, reason=str(error))


@router.get("/exports", responses=refusals(503))
def list_exports(state: State, principal: Reader, paging: Annotated[Paging, Query()]) -> Page[ExportOut]:
    """List exports, the one requested last first."""
    page = state.ledger.exports.page(paging.cursor, paging.limit)
    return Page(items=[ExportOut.of(record) for record in page.items], next=page.next)


@router.get("/exports/{export}", responses=refusals(404, 503))
def get_export(state: State, principal: Reader, export: str) -> ExportOut:
    """One export: its progress and, at its end, its result or the reason of its failure."""
    return ExportOut.of(state.ledger.exports.get(export))
