"""The HTTP application: composed from parts that the composition root of the process creates."""

from __future__ import annotations

from functools import partial
from importlib.metadata import PackageNotFoundError, version

from fastapi import Depends, FastAPI
from fastapi_offline import FastAPIOffline
from prometheus_client import CollectorRegistry
from starlette.middleware import Middleware

from editing_core.versions.layout import StoreLayout
from service.api.access.security import scoped
from service.api.limits import BodyLimit, RequestGuard
from service.api.metrics import ApiMetrics
from service.api.openapi import install_openapi
from service.api.problems.forgotten import unless_forgotten
from service.api.problems.handlers import install_error_handlers
from service.api.routes import audit, batches, edits, exports, guards, retention, system, versions
from service.api.state import ApiState, Generation, make_state
from service.console import routes as console
from worker.protocol.connections import Durability
from worker.protocol.ledger.ledger import Ledger
from worker.protocol.queue import WorkQueue
from worker.protocol.settings import Settings


def create_app(
    settings: Settings,
    ledger: Ledger,
    queue: WorkQueue,
    *,
    generation: Generation | None = None,
    durability: Durability | None = None,
    registry: CollectorRegistry | None = None,
) -> FastAPI:
    """Create the application of one process: the routes of its role, and ``app.state.errata`` for them.

    ``registry`` contains the metrics of other parts of the process, which ``/metrics`` also shows.
    Raises InvalidSettings if the application would serve other machines without a key.
    """
    metrics = ApiMetrics(ledger, queue, registry=registry or CollectorRegistry(), durability=durability)
    state = make_state(settings, ledger, queue, metrics=metrics, generation=generation, durability=durability)
    state.gatekeeper.require_safe_binding(settings.host)
    app = FastAPIOffline(
        title="Errata",
        version=_version(),
        redirect_slashes=False,
        middleware=[
            Middleware(RequestGuard, observe=state.metrics.observe),
            Middleware(BodyLimit, max_body_bytes=settings.max_body_bytes),
        ],
    )
    app.state.errata = state
    layout = StoreLayout(settings.data)
    install_error_handlers(app, reconsider=partial(unless_forgotten, ledger=ledger, layout=layout))
    _include_routes(app, state)
    install_openapi(app)
    metrics.begin_at_zero(app.openapi()["paths"])
    return app


def _include_routes(app: FastAPI, state: ApiState) -> None:
    app.include_router(system.router)
    if state.settings.console and state.settings.role != "generation":
        app.include_router(console.router)
    if state.settings.role != "generation":
        for part in (edits, batches, versions, guards, exports, audit, retention):
            app.include_router(part.router)
    if state.generation is not None:
        app.include_router(state.generation.router, dependencies=[Depends(scoped("read"))], tags=["model"])


def _version() -> str:
    try:
        return version("errata")
    except PackageNotFoundError:
        return "0+source"
