"""Clients that go away, and answers that are sent while they are made."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, suppress
from typing import Any, TypeVar

from fastapi import Request, Response
from starlette.types import Receive, Scope, Send

from service.connections import abort
from service.generation.questions import Caller
from worker.protocol.logs import log_event

logger = logging.getLogger(__name__)

T = TypeVar("T")
READING_SECONDS = 10.0
"""How long after an answer's deadline the last of it may be read."""
CLIENT_GONE = 499
VERSION_HEADER = "X-Model-Version"


class ClientGone(Exception):
    """Nobody waits for the answer any more."""


class EventStream(Response):
    """Server-sent events from an iterator; what ``held`` holds is let go when they end or the client goes.

    A client that has not read all within ``most_seconds`` is cut off: what is written for it is held in memory.
    """

    media_type = "text/event-stream"

    def __init__(
        self, events: AsyncIterator[str], held: AsyncExitStack, *, headers: dict[str, str], most_seconds: float
    ) -> None:
        self._events = events
        self._held = held
        self._most_seconds = most_seconds
        self.status_code = 200
        self.background = None
        self.init_headers({"Cache-Control": "no-store", "X-Accel-Buffering": "no", **headers})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send what there is as it comes."""
        async with self._held:
            with suppress(ClientGone):
                try:
                    async with asyncio.timeout(self._most_seconds):
                        await while_connected(receive, self._send(send))
                except TimeoutError:
                    log_event(logger, "stream_not_read", level=logging.INFO, seconds=self._most_seconds)
                    if abort(scope):
                        await _disconnected(receive)

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for event in self._events:
            await send({"type": "http.response.body", "body": event.encode(), "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def event_stream(events: AsyncIterator[str], held: AsyncExitStack, version: str, caller: Caller) -> EventStream:
    """The events of one version's answers, for as long as the caller has time to read them."""
    most_seconds = caller.timeout_seconds + READING_SECONDS
    return EventStream(events, held, headers={VERSION_HEADER: version}, most_seconds=most_seconds)


async def answered(request: Request, work: Coroutine[Any, Any, Response]) -> Response:
    """The response that the work makes; nothing, when the client goes before."""
    try:
        return await while_connected(request.receive, work)
    except ClientGone:
        return Response(status_code=CLIENT_GONE)


async def while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """The work's result; the work is cancelled, and ClientGone raised, when the client goes before."""
    working = asyncio.create_task(work)
    going = asyncio.create_task(_disconnected(receive))
    try:
        await asyncio.wait({working, going}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientGone
        return working.result()
    finally:
        for task in (working, going):
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
