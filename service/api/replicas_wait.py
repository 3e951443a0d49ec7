"""Waits until every ready replica serves a new version, so that a client that was told "live" gets its answers."""

from __future__ import annotations

import time
from collections.abc import Callable

from service.api.state import ApiState

POLL_SECONDS = 0.01


def behind_after_wait(
    state: ApiState, revision: int, *, seconds: float, clock: Callable[[], float] = time.monotonic
) -> list[str]:
    """Return the ready replicas that still serve an older revision of the pointer after at most ``seconds``.

    Blocks the calling thread.
    """
    deadline = clock() + seconds
    if state.generation is not None:
        state.generation.follow_pointer()
    while (behind := state.ledger.replicas.behind(revision)) and clock() < deadline:
        time.sleep(POLL_SECONDS)
    return behind
