"""Middleware around every request: an id, a response for uncaught errors, and a limit on the body.

It is plain ASGI, so a body is counted while it arrives and never takes more memory than the limit.
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
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.bodies import largest_body
from service.api.problems.kinds import BodyTooLarge, InternalError, ServiceStopping
from service.api.problems.rendering import problem_response
from worker.protocol.logs import log_context, log_event

logger = logging.getLogger(__name__)

DRAIN_SECONDS = 1.0
"""Time during which the rest of a refused body is read and dropped, so clients that still send can read the answer."""
CLIENT_GONE = 499
"""The status that is counted if the client disconnected before the answer."""
USABLE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")

Observer = Callable[[Scope, int, float], None]
"""Called with the scope, the status and the duration in seconds of every finished request."""


class RequestGuard:
    """Gives each request an id, answers uncaught errors with a problem, and reports each request to the observer."""

    def __init__(self, app: ASGIApp, *, observe: Observer) -> None:
        self._app = app
        self._observe = observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        status, extra = 0, {}
        started = perf_counter()

        async def send_with_id(message: Message) -> None:
            nonlocal status, extra
            if message["type"] == "http.response.start":
                status, headers = message["status"], MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                extra = {"version": version} if (version := headers.get("X-Model-Version")) else {}
            await send(message)

        try:
            with log_context(request=request_id):
                await self._app(scope, receive, send_with_id)
        except asyncio.CancelledError:  # the server stops, and its grace period is over
            if not status:
                await _stopping(scope)(scope, receive, send_with_id)
            raise
        except ClientDisconnect:  # in the middle of its body
            pass
        except Exception:
            log_event(logger, "request_failed", level=logging.ERROR, request=request_id, path=scope["path"])
            if status:
                raise
            await _failed(scope, request_id)(scope, receive, send_with_id)
        finally:
            self._note(scope, status or CLIENT_GONE, perf_counter() - started, request=request_id, **extra)

    def _note(self, scope: Scope, status: int, seconds: float, **extra: str) -> None:
        self._observe(scope, status, seconds)
        level = logging.DEBUG if scope["method"] == "GET" else logging.INFO
        known = {"method": scope["method"], "path": scope["path"], "status": status, "seconds": round(seconds, 4)}
        log_event(logger, "request", level=level, **known, **extra)


def _failed(scope: Scope, request_id: str) -> Response:
    detail = f"this request failed; the log has it as {request_id}"
    return problem_response(InternalError(detail, extra={"request_id": request_id}), instance=scope["path"])


def _stopping(scope: Scope) -> Response:
    detail = "the service is stopping: send the request to another replica, or again later"
    return problem_response(ServiceStopping(detail), instance=scope["path"])


def _request_id(scope: Scope) -> str:
    given = Headers(scope=scope).get("x-request-id", "")
    return given if USABLE_ID.fullmatch(given) else uuid.uuid4().hex


class BodyLimit:
    """Refuses bodies that are larger than their route takes, at once if their declared length is larger."""

    def __init__(self, app: ASGIApp, *, max_body_bytes: int) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = largest_body(scope["path"], max_body_bytes=self._max_body_bytes)
        declared = Headers(scope=scope).get("content-length", "0")
        if not declared.isdecimal() or int(declared) > limit:
            await self._refuse(scope, receive, send, limit=limit)
            return
        num_bytes = 0
        started = exceeded = False

        async def counted() -> Message:
            nonlocal num_bytes, exceeded
            message = await receive()
            num_bytes += len(message.get("body", b""))
            exceeded = exceeded or num_bytes > limit
            if exceeded:
                raise HTTPException(413)  # the only exception that the framework passes on while it reads a body
            return message

        async def unless_exceeded(message: Message) -> None:
            nonlocal started
            if started or not exceeded:
                started = True
                await send(message)

        await self._app(scope, counted, unless_exceeded)
        if exceeded and not started:
            await self._refuse(scope, receive, send, limit=limit)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send, *, limit: int) -> None:
        log_event(logger, "body_refused", path=scope["path"], max_body_bytes=limit)
        error = BodyTooLarge(f"a body may hold {limit} bytes here", headers={"Connection": "close"})

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
