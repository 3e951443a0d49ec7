"""Routes about the process itself: health, readiness, metrics, and the explanation of problems."""

from __future__ import annotations

from functools import partial
from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, Field

from editing_core.errors import ErrataError, NotFound
from service.api.access.keys import Scope
from service.api.access.security import Reader, from_here
from service.api.openapi import refusals
from service.api.problems.statuses import all_problems, next_step, status_of
from service.api.state import ApiState, State
from service.ledger_calls import LEDGER_TIMEOUT_SECONDS, call_with_timeout
from worker.protocol.errors import LedgerDown

router = APIRouter(tags=["system"])


class Root(BaseModel):
    """Links to the other routes."""

    name: str
    role: str
    links: dict[str, str]


class Health(BaseModel):
    """The process is alive."""

    status: str = "ok"


class Readiness(BaseModel):
    """Whether the process can answer requests, and the state of each part."""

    ready: bool
    degraded: bool = Field(description="ready, but a part does not work fully; see parts")
    parts: dict[str, Any]


class Sender(BaseModel):
    """The sender of the request, as Errata knows it."""

    name: str | None = Field(description="name of the API key; null: a local client without a key")
    scope: Scope = Field(description="the widest scope of the key; it includes those before it: read, edit, admin")


class ProblemKind(BaseModel):
    """One kind of refusal, explained."""

    type: str
    title: str
    status: int
    explanation: str
    next_step: str


@router.get(
    "/", response_model=Root, responses={307: {"description": "To the console, for clients that prefer text/html"}}
)
def root(state: State, request: Request) -> Root | Response:
    """Links to the other routes. Browsers are redirected to the console."""
    has_console = state.settings.console and state.settings.role != "generation"
    if has_console and "text/html" in request.headers.get("accept", ""):
        return Response(status_code=307, headers={"Location": "/console", "Vary": "Accept"})
    links = {name: f"/{name}" for name in ("docs", "openapi.json", "healthz", "readyz", "metrics", "problems")}
    if state.settings.role != "generation":
        listed = ("edits", "batches", "versions", "exports", "audit", "retention")
        links |= {name: f"/{name}" for name in listed}
    if has_console:
        links["console"] = "/console"
    if state.settings.grafana_url:
        links["grafana"] = state.settings.grafana_url
    return Root(name="errata", role=state.settings.role, links=links)


@router.get("/whoami", responses=refusals())
async def whoami(principal: Reader) -> Sender:
    """Report whose key this is and what it may do, so that a client offers nothing that would be refused."""
    return Sender(name=principal.name, scope=principal.scope)


@router.get("/healthz")
async def healthz() -> Health:
    """Report that the process is alive."""
    return Health()


@router.get(
    "/readyz",
    dependencies=[Depends(from_here)],
    response_model=Readiness,
    responses={503: {"model": Readiness, "description": "Not ready; parts has the reasons"}},
)
async def readyz(state: State) -> JSONResponse:
    """Report whether the process can answer requests: the API needs Redis, generation its live version."""
    readiness = _readiness(state, await _ledger_within_timeout(state))
    return JSONResponse(readiness.model_dump(), status_code=200 if readiness.ready else 503)


async def _ledger_within_timeout(state: ApiState) -> dict[str, Any]:
    """Return the state of the ledger. A hanging Redis counts as not ready."""
    try:
        return await call_with_timeout(partial(_ledger_part, state))
    except TimeoutError:
        return {"ready": False, "reason": f"Redis has not answered for {LEDGER_TIMEOUT_SECONDS:g} s"}


def _readiness(state: ApiState, ledger: dict[str, Any]) -> Readiness:
    parts: dict[str, Any] = {"ledger": ledger}
    needed = [] if state.settings.role == "generation" else ["ledger"]
    if state.generation is not None:
        parts["generation"] = dict(state.generation.readiness())
        needed.append("generation")
    ready = all(parts[name]["ready"] for name in needed)
    degraded = ready and any(not part["ready"] or part.get("degraded") for part in parts.values())
    return Readiness(ready=ready, degraded=degraded, parts=parts)


def _ledger_part(state: ApiState) -> dict[str, Any]:
    try:
        state.ledger.connection.ping()
    except LedgerDown as error:
        return {"ready": False, "reason": str(error)}
    if state.durability is not None and not state.durability.ok:
        return {"ready": True, "degraded": True, "reason": state.durability.reason}
    return {"ready": True}


@router.get(
    "/metrics",
    dependencies=[Depends(from_here)],
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}}},
)
def metrics(state: State) -> Response:
    """Metrics in Prometheus' text format."""
    return Response(state.metrics.render(), media_type=CONTENT_TYPE_LATEST)


@router.get("/problems")
def list_problems() -> list[ProblemKind]:
    """Every kind of refusal, explained."""
    return [_explain(kind) for _, kind in sorted(all_problems().items())]


@router.get("/problems/{slug}", responses=refusals(404, guarded=False))
def get_problem(slug: str) -> ProblemKind:
    """One kind of refusal, explained; its path is the ``type`` of the refusals."""
    kind = all_problems().get(slug)
    if kind is None:
        raise NotFound(f"there is no problem named {slug!r}: GET /problems lists them")
    return _explain(kind)


def _explain(kind: type[ErrataError]) -> ProblemKind:
    explanation = " ".join((kind.__doc__ or kind.title).split())
    return ProblemKind(
        type=f"/problems/{kind.slug}",
        title=kind.title,
        status=status_of(kind),
        explanation=explanation,
        next_step=next_step(kind),
    )
