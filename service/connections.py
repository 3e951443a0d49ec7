"""The HTTP protocol of the service: uvicorn's, with limits, and with connections that a request can abort. Torch-free.

A connection whose client does not read cannot be closed in the ordinary way: closing waits until everything is sent.
ASGI has no message for aborting, so the protocol puts the transport into each request's scope.
"""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import Any

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.connection_limits import ConnectionLimits, Deadline, limits_of_process, refusal

_EXTENSION = "errata.connection"
_DISCARD_UNSENT = struct.pack("ii", 1, 0)


class LimitedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with bounded headers, times and numbers; its requests can abort their connection."""

    def __init__(self, *args: Any, limits: ConnectionLimits, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._limits = limits
        self._deadline = Deadline(self.loop)
        self._address: str | None = None
        self._in_headers = True
        self._head_bytes = 0
        """Bytes received since the last request ended, as long as its headers are incomplete."""

    def connection_made(self, transport: Any) -> None:
        """Admit the connection, or answer 503 and close it."""
        super().connection_made(transport)
        address = self.client[0] if self.client else ""
        if not self._limits.admit(address):
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "there are too many connections: close some, or try again")
            return
        self._address = address
        self._deadline.set(self._limits.header_seconds, self._headers_late)

    def connection_lost(self, exc: Exception | None) -> None:
        """Release the connection's place."""
        self._deadline.cancel()
        if self._address is not None:
            self._limits.release(self._address)
            self._address = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser; after a refusal, drop what still comes.

        The parser collects a header's value before it reports it, so the bytes are counted here.
        """
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self._in_headers:
            self._head_bytes += len(data)
            if self._head_bytes > self._limits.url_bytes + self._limits.header_bytes:
                detail = f"the request's headers are longer than {self._limits.header_bytes} bytes"
                self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, detail)

    def send_400_response(self, msg: str) -> None:
        """Answer what the parser cannot read, unless the request was refused already."""
        if not self.transport.is_closing():
            super().send_400_response(msg)

    def on_message_begin(self) -> None:
        """A request begins: make its scope."""
        super().on_message_begin()
        self.scope["extensions"] = {_EXTENSION: {"transport": self.transport}}
        self._in_headers, self._head_bytes = True, 0
        self._deadline.set(self._limits.header_seconds, self._headers_late)

    def on_url(self, url: bytes) -> None:
        """Collect the target, of bounded length."""
        super().on_url(url)
        if len(self.url) > self._limits.url_bytes:
            detail = f"the URL is longer than {self._limits.url_bytes} bytes: send the text in a body (POST)"
            self._refuse(HTTPStatus.REQUEST_URI_TOO_LONG, detail)

    def on_headers_complete(self) -> None:
        """The application takes over; the body has its own time limit."""
        self._in_headers = False
        if self.transport.is_closing():
            return
        self._deadline.set(self._limits.body_seconds, self._body_late)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of the body came: the time limit starts again."""
        if self.transport.is_closing():
            return
        self._deadline.set(self._limits.body_seconds, self._body_late)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is complete, and its answer may take as long as it takes."""
        self._deadline.cancel()
        if not self.transport.is_closing():
            super().on_message_complete()

    def _headers_late(self) -> None:
        if not self._head_bytes:  # a spare connection of a pool: a response would be taken for that of the next request
            self.transport.close()
            return
        self._refuse(HTTPStatus.REQUEST_TIMEOUT, f"no complete request came within {self._limits.header_seconds:g} s")

    def _body_late(self) -> None:
        if self.flow.read_paused:  # the application is slow, not the client
            self._deadline.set(self._limits.body_seconds, self._body_late)
        elif self.cycle is not None and self.cycle.response_started:
            self.transport.abort()
        else:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, f"no byte of the body came for {self._limits.body_seconds:g} s")

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        self._deadline.cancel()
        if not self.transport.is_closing():
            self.transport.write(refusal(status, detail))
            self.transport.close()


def limited_protocol(limits: ConnectionLimits | None = None) -> Any:
    """What uvicorn calls for each connection; without ``limits`` those of this process."""
    return partial(LimitedProtocol, limits=limits or limits_of_process())


def abort(scope: Scope) -> bool:
    """Abort the request's connection; False under another protocol, whose server closes it after sending everything."""
    known = scope.get("extensions", {}).get(_EXTENSION)
    if known is None:
        return False
    transport = known["transport"]
    with suppress(OSError):  # it has just ended by itself
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _DISCARD_UNSENT)  # otherwise the kernel goes on
    transport.abort()
    return True
