"""Follows a batch, by waiting for its end or with server-sent events. Both poll its record.

Polling instead of publish/subscribe gives a client that connects late, or again, the same view as all others.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from time import monotonic

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from editing_core.errors import ErrataError
from service.api.problems.kinds import ServiceStopping
from service.api.problems.rendering import problem_document
from service.api.schemas.from_ledger import batch_line, batch_out
from service.api.state import ApiState
from worker.protocol.entities import BatchRecord

POLL_SECONDS = 0.2
KEEP_ALIVE_SECONDS = 15.0
RETRY_MS = 1_000


async def wait_for_end(state: ApiState, batch: str, request: Request, *, timeout_seconds: float) -> BatchRecord:
    """Return the batch's record at its end, at the timeout, or if the client disconnects or the service stops."""
    deadline = monotonic() + timeout_seconds
    while True:
        record = await run_in_threadpool(state.ledger.batches.get, batch)
        left = deadline - monotonic()
        if record.is_settled or left <= 0 or state.stopping.is_set() or await request.is_disconnected():
            return record
        await _pause(state, min(POLL_SECONDS, left))


async def events_of(state: ApiState, batch: str, *, last_seen: int | None) -> AsyncIterator[str]:
    """Yield the events of a batch from its current state to its end, without those up to ``last_seen``."""
    seen = last_seen
    silent_since = monotonic()
    yield f"retry: {RETRY_MS}\n\n"
    while not state.stopping.is_set():
        try:
            record = await run_in_threadpool(state.ledger.batches.get, batch)
            if seen is None or record.progress_number > seen:
                yield await run_in_threadpool(_event, record, state)
                seen, silent_since = record.progress_number, monotonic()
        except ErrataError as error:
            yield _problem_event(error)
            return
        if record.is_settled:
            return
        if monotonic() - silent_since > KEEP_ALIVE_SECONDS:
            yield ": keep-alive\n\n"
            silent_since = monotonic()
        await _pause(state, POLL_SECONDS)
    yield _problem_event(ServiceStopping("this service is stopping; the batch continues"))


async def _pause(state: ApiState, seconds: float) -> None:
    try:
        await asyncio.wait_for(state.stopping.wait(), seconds)
    except TimeoutError:
        return


def _event(record: BatchRecord, state: ApiState) -> str:
    shown = batch_out(record, state.ledger) if record.is_settled else batch_line(record)
    data = shown.model_dump_json()
    return f"id: {record.progress_number}\nevent: batch\ndata: {data}\n\n"


def _problem_event(error: ErrataError) -> str:
    return f"event: problem\ndata: {json.dumps(problem_document(error))}\n\n"
