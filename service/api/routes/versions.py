"""``/versions``: list, compare, promote and discard versions."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field, field_validator
from starlette.concurrency import run_in_threadpool

from service.api.access.security import Admin, Reader
from service.api.openapi import refusals
from service.api.problems.kinds import InvalidInput
from service.api.replicas_wait import behind_after_wait
from service.api.routes.batches import Paging
from service.api.routes.comparing import difference
from service.api.routes.provenance import SettingsOut, model_of, settings_of
from service.api.schemas.from_ledger import promotion_out, version_out
from service.api.schemas.responses import DiffAnswer, DiffOut, Page, PromotionOut, VersionOut
from service.api.state import ApiState, State
from worker.protocol.entities import Promotion
from worker.protocol.errors import LedgerDown, NotACandidate
from worker.protocol.keys import COMMIT_UNIT
from worker.protocol.logs import log_event

logger = logging.getLogger(__name__)
router = APIRouter(tags=["versions"])


class PromotionEntry(BaseModel):
    """One promotion of a version."""

    revision: int = Field(description="number of the promotion")
    at: str
    author: str | None = Field(description="name of the API key, or commit; null: a local client")

    @field_validator("author", mode="before")
    @classmethod
    def _nobody_is_null(cls, author: str | None) -> str | None:
        return author or None


class VersionDetail(VersionOut):
    """A version with its promotions and settings."""

    promotions: list[PromotionEntry] = Field(description="the promotions of this version, oldest first")
    settings: SettingsOut | None = Field(description="the settings of its solve; null: no worker has run yet")


@router.get("/versions", responses=refusals(503))
def list_versions(state: State, principal: Reader, paging: Annotated[Paging, Query()]) -> Page[VersionOut]:
    """List versions, newest first; v0, the original model, is always the last."""
    page = state.ledger.versions.page(paging.cursor, paging.limit)
    model = model_of(state)
    return Page(items=[version_out(record, model) for record in page.items], next=page.next)


@router.get("/versions/{version}", responses=refusals(404, 503))
def get_version(state: State, principal: Reader, version: str) -> VersionDetail:
    """One version with the results of its checks and its promotions."""
    shown = version_out(state.ledger.versions.get(version), model_of(state))
    promotions = [move for move in state.ledger.publication.promotions() if move["version"] == version]
    return VersionDetail.model_validate({
        **shown.model_dump(),
        "promotions": promotions,
        "settings": settings_of(state),
    })


class Comparison(BaseModel):
    """Prompts for two versions."""

    model_config = ConfigDict(extra="forbid")

    prompt: list[Annotated[str, Field(min_length=1, max_length=20_000)]] = Field(
        default=[], max_length=20, description="show how each version continues this prompt; repeatable"
    )
    max_new_tokens: int = Field(24, ge=1, le=256, description="maximum length of each continuation")


@router.get("/versions/{a}/diff/{b}", responses=refusals(400, 404, 429, 503, 504))
async def compare_versions(
    state: State, principal: Reader, a: str, b: str, wanted: Annotated[Comparison, Query()]
) -> DiffOut:
    """Compare the edits in force in versions `a` and `b`, and how each continues the prompts."""
    found = await run_in_threadpool(difference, state.ledger, a, b)
    if not wanted.prompt:
        return found
    if state.generation is None:
        msg = "this process holds no model (role api): send /generate to a process that does, with version="
        raise InvalidInput(f"prompt: {msg}", errors=[{"loc": ["query", "prompt"], "msg": msg}])
    client, tokens = f"key {principal.name}", wanted.max_new_tokens
    of_a, of_b = [
        await state.generation.generate_texts(wanted.prompt, version=version, max_new_tokens=tokens, client=client)
        for version in (a, b)
    ]
    answers = [DiffAnswer(prompt=text, a=x, b=y) for text, x, y in zip(wanted.prompt, of_a, of_b, strict=True)]
    return found.model_copy(update={"answers": answers})


@router.delete("/versions/{version}", responses=refusals(404, 409, 503))
def discard_version(state: State, principal: Admin, version: str) -> VersionOut:
    """Discard a candidate: its batch ends as `discarded`."""
    known = state.ledger.versions.get(version)
    reason = f"discarded by {principal.name or 'a local client'}"
    if not state.ledger.publication.discard([version], reason=reason, author=principal.name):
        raise NotACandidate(f"version {version} is {known.status}: only a candidate can be discarded")
    log_event(logger, "version_discarded", version=version, author=principal.name)
    with suppress(LedgerDown):  # the next commit removes the files
        state.queue.enqueue_unit(COMMIT_UNIT)
    return version_out(state.ledger.versions.get(version), model_of(state))


@router.post(
    "/versions/{version}/promote",
    responses={
        202: {"model": PromotionOut, "description": "The version is live, and the replicas in `behind` follow later"},
        **refusals(404, 409, 503),
    },
)
async def promote_version(state: State, principal: Admin, version: str, response: Response) -> PromotionOut:
    """Make a version live, without any computation: a candidate, or an older version, which is the rollback.

    The answer is 200 when every ready replica serves the version, and 202 if some do not within
    `ERRATA_PROMOTION_WAIT_SECONDS`.
    """
    promotion = await run_in_threadpool(state.ledger.publication.promote, version, author=principal.name)
    log_event(
        logger,
        "version_promoted",
        version=version,
        previous=promotion.previous,
        revision=promotion.pointer.revision,
        author=principal.name,
    )
    behind = await behind_after_wait(state, promotion.pointer.revision, seconds=state.settings.promotion_wait_seconds)
    if behind:
        response.status_code = 202
        log_event(logger, "replicas_behind", level=logging.WARNING, version=version, replicas=behind)
    return await run_in_threadpool(_promoted, state, promotion, behind)


def _promoted(state: ApiState, promotion: Promotion, behind: list[str]) -> PromotionOut:
    record = state.ledger.versions.get(promotion.pointer.version)
    return promotion_out(record, promotion, model_of(state), behind=behind)
