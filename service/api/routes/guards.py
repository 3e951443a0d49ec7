"""``/guards``: facts that no edit may change. They belong to no version and apply from the next version on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.concurrency import run_in_threadpool

from editing_core.errors import InvalidEdit
from editing_core.guards import AcceptedGuard, Guard, validate_guard
from service.api.access.security import Admin, Principal, Reader
from service.api.bodies import json_body, read_as
from service.api.openapi import refusals
from service.api.problems.kinds import FieldError, InvalidInput, TooManyEdits
from service.api.routes.batches import Paging
from service.api.schemas.guards import GuardList, GuardOut, GuardsOut
from service.api.schemas.responses import Page
from service.api.state import ApiState, State
from worker.protocol.errors import GuardConflict, InvalidCursor
from worker.protocol.logs import log_event

logger = logging.getLogger(__name__)
router = APIRouter(tags=["guards"])
MAX_LISTED = 100
"""Largest number of errors in one response."""


class ConflictingGuards(GuardConflict):
    """Guards of one request that contradict each other; the errors name each pair."""

    def __init__(self, detail: str, *, errors: Sequence[FieldError]) -> None:
        super().__init__(detail)
        self.errors = tuple(errors)


@router.get("/guards", responses=refusals(503))
def list_guards(state: State, principal: Reader, paging: Annotated[Paging, Query()]) -> Page[GuardOut]:
    """List the guards, by id."""
    guards = state.ledger.guards.all()
    if paging.cursor is not None and not paging.cursor.startswith("g"):
        raise InvalidCursor(f"{paging.cursor!r} is not a cursor of this list: send the `next` of the page before")
    rest = [guard for guard in guards if paging.cursor is None or guard.id > paging.cursor]
    shown = rest[: paging.limit]
    return Page(items=[_out(guard) for guard in shown], next=shown[-1].id if len(rest) > len(shown) else None)


@router.post(
    "/guards",
    status_code=201,
    responses=refusals(409, 413, 415, 503),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/GuardList"}}},
        }
    },
)
async def post_guards(state: State, principal: Admin, body: Annotated[bytes, Depends(json_body)]) -> GuardsOut:
    """Add facts that must not change: all of them, or none. A guard that exists already stays as it is."""
    return await run_in_threadpool(_add, state, principal, body)


@router.delete("/guards/{guard}", responses=refusals(404, 503))
def delete_guard(state: State, principal: Admin, guard: str) -> GuardOut:
    """Remove a guard, and return it."""
    removed = state.ledger.guards.remove(guard, author=principal.name)
    log_event(logger, "guard_removed", guard=guard, author=principal.name)
    return _out(removed)


def _add(state: ApiState, principal: Principal, body: bytes) -> GuardsOut:
    listed = read_as(GuardList, body, max_bytes=state.settings.max_body_bytes).guards
    if len(listed) > state.settings.max_edits:
        msg = f"{len(listed)} guards; one request may hold {state.settings.max_edits}"
        raise TooManyEdits(msg, errors=[FieldError(loc=["body", "guards"], msg=msg)])
    guards = [item.to_guard() for item in listed]
    _require_valid(guards)
    _require_agreement(guards)
    added = state.ledger.guards.add(guards, author=principal.name)
    log_event(logger, "guards_kept", num_guards=len(added), author=principal.name)
    return GuardsOut(guards=[_out(guard) for guard in added])


def _require_valid(guards: Sequence[Guard]) -> None:
    errors = []
    for i, guard in enumerate(guards):
        try:
            validate_guard(guard)
        except InvalidEdit as error:
            errors.append(FieldError(loc=["body", "guards", i, *error.loc], msg=error.detail))
    if errors:
        raise InvalidInput(errors[0]["msg"], errors=errors[:MAX_LISTED])


def _require_agreement(guards: Sequence[Guard]) -> None:
    first_at: dict[str, int] = {}
    errors = []
    for i, guard in enumerate(guards):
        j = first_at.setdefault(guard.id, i)
        if guards[j].target != guard.target:
            msg = f"guards {j} and {i} give {guard.prompt!r} two answers: {guards[j].target!r} and {guard.target!r}"
            errors += [FieldError(loc=["body", "guards", k, "target"], msg=msg) for k in (j, i)]
    if errors:
        raise ConflictingGuards(errors[0]["msg"], errors=errors[:MAX_LISTED])


def _out(accepted: AcceptedGuard) -> GuardOut:
    return GuardOut(id=accepted.id, **accepted.guard.to_json(), created=accepted.created, author=accepted.author)
