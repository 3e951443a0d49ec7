"""Responses that end when the client disconnects, which cancels their work. Streams are sent piece by piece."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, suppress
from typing import Any, TypeVar

from fastapi import Request, Response
from starlette.types import Receive, Scope, Send

from service.connections import abort
from service.generation.messages import Caller
from worker.protocol.logs import log_event

logger = logging.getLogger(__name__)

T = TypeVar("T")
CLIENT_GONE = 499
VERSION_HEADER = "X-Model-Version"


class ClientDisconnected(Exception):
    """The client has closed the connection and no longer waits for the answer."""


class EventStream(Response):
    """Sends server-sent events from an iterator. Closes ``resources`` at their end or if the client disconnects.

    A client that has not read everything within ``max_seconds`` is disconnected, because unread events take memory.
    """

    media_type = "text/event-stream"

    def __init__(
        self, events: AsyncIterator[str], resources: AsyncExitStack, *, headers: dict[str, str], max_seconds: float
    ) -> None:
        self._events = events
        self._resources = resources
        self._max_seconds = max_seconds
        self.status_code = 200
        self.background = None
        self.init_headers({"Cache-Control": "no-store", "X-Accel-Buffering": "no", **headers})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send each event as soon as the iterator yields it."""
        async with self._resources:
            with suppress(ClientDisconnected):
                try:
                    async with asyncio.timeout(self._max_seconds):
                        await run_while_connected(receive, self._send(send))
                except TimeoutError:
                    log_event(logger, "stream_not_read", level=logging.INFO, seconds=self._max_seconds)
                    if abort(scope):
                        await _wait_for_disconnect(receive)

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for event in self._events:
            await send({"type": "http.response.body", "body": event.encode(), "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def event_stream(events: AsyncIterator[str], resources: AsyncExitStack, version: str, caller: Caller) -> EventStream:
    """Return a response with the events of one version's answers. It ends when the caller may no longer read them."""
    return EventStream(events, resources, headers={VERSION_HEADER: version}, max_seconds=caller.read_seconds)


async def respond_while_connected(request: Request, work: Coroutine[Any, Any, Response]) -> Response:
    """Return the response of the work, or an empty one if the client disconnects first."""
    try:
        return await run_while_connected(request.receive, work)
    except ClientDisconnected:
        return Response(status_code=CLIENT_GONE)


async def run_while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Return the work's result. If the client disconnects first, cancel the work and raise ClientDisconnected."""
    working = asyncio.create_task(work)
    disconnecting = asyncio.create_task(_wait_for_disconnect(receive))
    try:
        await asyncio.wait({working, disconnecting}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnected
        return working.result()
    finally:
        for task in (working, disconnecting):
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
