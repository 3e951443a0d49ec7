"""Waits until every ready replica serves a new version, so that the next read is never older than this answer."""

from __future__ import annotations

import asyncio
from time import monotonic

from starlette.concurrency import run_in_threadpool

from service.api.state import ApiState

POLL_SECONDS = 0.02


async def behind_after_wait(state: ApiState, revision: int, *, seconds: float) -> list[str]:
    """Return the ready replicas that still serve an older revision of the pointer after at most ``seconds``.

    Waiting holds no thread. It ends early if the service stops.
    """
    deadline = monotonic() + seconds
    if state.generation is not None:
        state.generation.follow_pointer()
    while True:
        behind = await run_in_threadpool(state.ledger.replicas.behind, revision)
        if not behind or state.stopping.is_set() or monotonic() >= deadline:
            return behind
        await asyncio.sleep(POLL_SECONDS)
