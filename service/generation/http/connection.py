"""Clients that go away, and answers that are sent while they are made."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, suppress
from typing import Any, TypeVar

from fastapi import Request, Response
from starlette.types import Receive, Scope, Send

T = TypeVar("T")
CLIENT_GONE = 499


class ClientGone(Exception):
    """Nobody waits for the answer any more."""


class EventStream(Response):
    """Server-sent events from an iterator; what ``held`` holds is let go when they end or the client goes."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[str], held: AsyncExitStack, *, headers: dict[str, str]) -> None:
        self._events = events
        self._held = held
        self.status_code = 200
        self.background = None
        self.init_headers({"Cache-Control": "no-store", "X-Accel-Buffering": "no", **headers})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send what there is as it comes."""
        async with self._held:
            with suppress(ClientGone):
                await while_connected(receive, self._send(send))

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for event in self._events:
            await send({"type": "http.response.body", "body": event.encode(), "more_body": True})
        await send({"type": "http.response.body", "body": b""})


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
