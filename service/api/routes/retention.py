"""Retention of versions and its exceptions (pins), and the erasure of an edit's text."""

from __future__ import annotations

import logging
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from service.api.access.security import Admin, Reader
from service.api.openapi import refusals
from service.api.routes.provenance import model_of
from service.api.schemas.from_ledger import version_out
from service.api.schemas.responses import VersionOut
from service.api.state import State
from worker.protocol.ledger.erasure import Purge
from worker.protocol.logs import log_event

logger = logging.getLogger(__name__)
router = APIRouter(tags=["retention"])


class RetainedOut(BaseModel):
    """Whether retention keeps one version."""

    version: str
    kept: bool
    why: str | None = Field(description="why it is kept; null: the next commit removes it")


class RetentionOut(BaseModel):
    """What retention would do now."""

    keep_versions: int = Field(description="number of latest versions that are always kept")
    versions: list[RetainedOut] = Field(description="all versions that have files, newest first")


class PurgeOut(BaseModel):
    """How far the erasure of an edit's text is."""

    edit: str
    state: Literal["asked", "done"]
    at: str = Field(description="when it was requested")
    author: str | None = Field(description="name of the API key; null: a local client")
    hash: str = Field(description="sha256 of subject, prompt and new object; it stays, with the id")
    versions: list[str] = Field(description="versions that are removed because they hold the edit; empty once done")


@router.get("/retention", responses=refusals(503))
def show_retention(state: State, principal: Reader) -> RetentionOut:
    """List the versions that the next commit would remove, and those that stay and why; changes nothing."""
    keep = state.settings.keep_versions
    rows = state.ledger.versions.retention(keep=keep)
    versions = [RetainedOut(version=row.version, kept=row.why is not None, why=row.why) for row in rows]
    return RetentionOut(keep_versions=keep, versions=versions)


@router.put("/versions/{version}/pin", responses=refusals(404, 503))
def pin_version(state: State, principal: Admin, version: str) -> VersionOut:
    """Exempt a version from retention."""
    state.ledger.versions.pin(version, author=principal.name)
    log_event(logger, "version_pinned", version=version, author=principal.name)
    return version_out(state.ledger.versions.get(version), model_of(state))


@router.delete("/versions/{version}/pin", responses=refusals(404, 503))
def unpin_version(state: State, principal: Admin, version: str) -> VersionOut:
    """Let retention decide about a version again."""
    state.ledger.versions.unpin(version, author=principal.name)
    log_event(logger, "version_unpinned", version=version, author=principal.name)
    return version_out(state.ledger.versions.get(version), model_of(state))


@router.post(
    "/edits/{edit}/purge",
    status_code=202,
    responses={200: {"model": PurgeOut, "description": "The text is erased"}, **refusals(404, 409, 503)},
)
def purge_edit(
    state: State,
    principal: Admin,
    response: Response,
    edit: str,
    reason: Annotated[
        str | None, Query(max_length=200, description="stored in the audit; name no person and no fact in it")
    ] = None,
) -> PurgeOut:
    """Erase an edit's text from ledger, manifests and reports, and the versions that hold it; its id and hash stay.

    The worker erases it within seconds; repeat the request, or GET /edits/{edit}, to see whether it is done.
    """
    purge = state.ledger.erasure.ask(edit, author=principal.name, reason=reason)
    log_event(logger, "purge_asked", edit=edit, author=principal.name, state=purge.state)
    if purge.state == "done":
        response.status_code = 200
    return _purge_out(purge)


def _purge_out(purge: Purge) -> PurgeOut:
    return PurgeOut.model_validate({
        "edit": purge.edit,
        "state": purge.state,
        "at": purge.at,
        "author": purge.author,
        "hash": purge.hash,
        "versions": list(purge.versions),
    })
