"""What surrounds every request: an id, a place to catch what nobody caught, and a limit on the body.

Plain ASGI, so that a body is counted while it streams in and is never held beyond the limit.
"""

from __future__ import annotations

import asyncio
import logging
import re
import uuid
from collections.abc import Callable
from contextlib import suppress
from time import perf_counter

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.problems.kinds import BodyTooLarge, InternalError, ServiceStopping
from service.api.problems.rendering import problem_response
from worker.protocol.logs import log_context, log_event

logger = logging.getLogger(__name__)

DRAIN_SECONDS = 1.0
"""How long the rest of a refused body is thrown away, so that a client that is still sending can read the answer."""
CLIENT_GONE = 499
"""What is counted when nobody waited for an answer."""
USABLE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")

Observer = Callable[[Scope, int, float], None]
"""Told of every finished request: its scope, its status, its duration in seconds."""


class RequestGuard:
    """Gives each request an id, answers what nobody caught with a problem, tells the observer how it went."""

    def __init__(self, app: ASGIApp, *, observe: Observer) -> None:
        self._app = app
        self._observe = observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        status, told = 0, {}
        started = perf_counter()

        async def send_with_id(message: Message) -> None:
            nonlocal status, told
            if message["type"] == "http.response.start":
                status, headers = message["status"], MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                told = {"version": version} if (version := headers.get("X-Model-Version")) else {}
            await send(message)

        try:
            with log_context(request=request_id):
                await self._app(scope, receive, send_with_id)
        except asyncio.CancelledError:  # the server stops, and has waited as long as it may
            if not status:
                await _stopping(scope)(scope, receive, send_with_id)
            raise
        except Exception:
            log_event(logger, "request_failed", level=logging.ERROR, request=request_id, path=scope["path"])
            if status:
                raise
            await _failed(scope, request_id)(scope, receive, send_with_id)
        finally:
            self._note(scope, status or CLIENT_GONE, perf_counter() - started, request=request_id, **told)

    def _note(self, scope: Scope, status: int, seconds: float, **told: str) -> None:
        self._observe(scope, status, seconds)
        level = logging.DEBUG if scope["method"] == "GET" else logging.INFO
        known = {"method": scope["method"], "path": scope["path"], "status": status, "seconds": round(seconds, 4)}
        log_event(logger, "request", level=level, **known, **told)


def _failed(scope: Scope, request_id: str) -> Response:
    told = f"this request failed; the log has it as {request_id}"
    return problem_response(InternalError(told, extra={"request_id": request_id}), instance=scope["path"])


def _stopping(scope: Scope) -> Response:
    told = "the service is stopping: ask another replica, or again later"
    return problem_response(ServiceStopping(told), instance=scope["path"])


def _request_id(scope: Scope) -> str:
    given = Headers(scope=scope).get("x-request-id", "")
    return given if USABLE_ID.fullmatch(given) else uuid.uuid4().hex


class BodyLimit:
    """Refuses bodies of more than ``max_body_bytes``: by their declared length at once, otherwise while they stream."""

    def __init__(self, app: ASGIApp, *, max_body_bytes: int) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "0")
        if not declared.isdecimal() or int(declared) > self._max_body_bytes:
            await self._refuse(scope, receive, send)
            return
        num_bytes = 0
        started = exceeded = False

        async def counted() -> Message:
            nonlocal num_bytes, exceeded
            message = await receive()
            num_bytes += len(message.get("body", b""))
            exceeded = exceeded or num_bytes > self._max_body_bytes
            if exceeded:
                raise HTTPException(413)  # the one exception that the framework lets through while it reads a body
            return message

        async def unless_exceeded(message: Message) -> None:
            nonlocal started
            if started or not exceeded:
                started = True
                await send(message)

        await self._app(scope, counted, unless_exceeded)
        if exceeded and not started:
            await self._refuse(scope, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        log_event(logger, "body_refused", path=scope["path"], max_body_bytes=self._max_body_bytes)
        error = BodyTooLarge(f"a body may hold {self._max_body_bytes} bytes", headers={"Connection": "close"})

        async def send_then_drain(message: Message) -> None:
            last = message["type"] == "http.response.body"
            await send({**message, "more_body": True} if last else message)
            if last:
                with suppress(TimeoutError):
                    await asyncio.wait_for(_drain(receive), DRAIN_SECONDS)
                await send({"type": "http.response.body", "body": b""})

        await problem_response(error, instance=scope["path"])(scope, receive, send_then_drain)


async def _drain(receive: Receive) -> None:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            return
