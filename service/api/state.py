"""The collaborators of the routes: created once per process, and passed to routes by a dependency."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Protocol

from fastapi import APIRouter, Depends, Request

from editing_core.versions.layout import StoreLayout
from service.api.access.keys import KeyFile
from service.api.access.security import Gatekeeper
from service.api.live_index import LiveIndex
from service.api.metrics import ApiMetrics
from worker.protocol.connections import Durability
from worker.protocol.ledger.ledger import Ledger
from worker.protocol.queue import WorkQueue
from worker.protocol.settings import Settings


class Generation(Protocol):
    """The resident model as the API sees it: its routes, and whether they can answer."""

    @property
    def router(self) -> APIRouter:
        """Return the routes that run the model."""
        ...

    async def generate_texts(
        self, prompts: Sequence[str], *, version: str, max_new_tokens: int, client: str
    ) -> list[str]:
        """Return the continuation of each prompt by a version."""
        ...

    def follow_pointer(self) -> None:
        """Look for a new live version now, and do not wait for it."""
        ...

    def end_answers(self) -> None:
        """End open requests with an error that says that the service is stopping."""
        ...

    def readiness(self) -> Mapping[str, Any]:
        """Return ``{"ready": bool, ...}``. A degraded part is ready and has ``degraded``."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiState:
    """The collaborators that routes use."""

    settings: Settings
    ledger: Ledger
    queue: WorkQueue
    gatekeeper: Gatekeeper
    metrics: ApiMetrics
    live: LiveIndex
    generation: Generation | None
    durability: Durability | None
    """The report of Redis about its persistence at startup; None if it was not asked."""
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the process shuts down, which ends waits and event streams."""


def make_state(
    settings: Settings,
    ledger: Ledger,
    queue: WorkQueue,
    *,
    metrics: ApiMetrics,
    generation: Generation | None,
    durability: Durability | None,
) -> ApiState:
    """Create the state from its parts."""
    return ApiState(
        settings=settings,
        ledger=ledger,
        queue=queue,
        gatekeeper=Gatekeeper(KeyFile(StoreLayout(settings.data).api_keys), host=settings.host),
        metrics=metrics,
        live=LiveIndex(ledger),
        generation=generation,
        durability=durability,
    )


async def _state_of(request: Request) -> ApiState:
    state: ApiState = request.app.state.errata
    return state


State = Annotated[ApiState, Depends(_state_of)]
