"""What the routes work with: made once per process by the composition root, reached by a dependency."""

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
    """The resident model as the API sees it: routes to serve and a word on whether they can."""

    @property
    def router(self) -> APIRouter:
        """The routes that ask the model."""
        ...

    async def generate_texts(
        self, prompts: Sequence[str], *, version: str, max_new_tokens: int, client: str
    ) -> list[str]:
        """What a version writes after each prompt."""
        ...

    def end_answers(self) -> None:
        """Answer what is still open with an error that says that the service is stopping."""
        ...

    def readiness(self) -> Mapping[str, Any]:
        """``{"ready": bool, ...}``; a degraded part is ready and says so."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiState:
    """Everything a route may need."""

    settings: Settings
    ledger: Ledger
    queue: WorkQueue
    gatekeeper: Gatekeeper
    metrics: ApiMetrics
    live: LiveIndex
    generation: Generation | None
    durability: Durability | None
    """What Redis said about itself at start; None: it was not asked."""
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the process goes down: whoever holds a connection open lets go."""


def make_state(
    settings: Settings,
    ledger: Ledger,
    queue: WorkQueue,
    *,
    metrics: ApiMetrics,
    generation: Generation | None,
    durability: Durability | None,
) -> ApiState:
    """Put the parts together."""
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
