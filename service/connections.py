"""The HTTP protocol of the service: uvicorn's, with limits and with connections that a request can abort. Torch-free.

If the client does not read, a normal close of the connection waits until everything is sent. ASGI has no message for
aborting, so the protocol puts the transport into each request's scope.
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
        self._header_bytes = 0
        """Names and values of the present request's headers."""
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
        """Stop counting the connection."""
        self._deadline.cancel()
        if self._address is not None:
            self._limits.release(self._address)
            self._address = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser. After a refusal, drop further data.

        The parser collects a header's value before it reports it, so the bytes are counted here.
        """
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self._in_headers:
            self._head_bytes += len(data)
            if self._head_bytes > self._limits.url_bytes + self._limits.header_bytes:
                self._refuse_headers()

    def send_400_response(self, msg: str) -> None:
        """Answer a request that the parser cannot read, unless it was refused already."""
        if not self.transport.is_closing():
            super().send_400_response(msg)

    def on_message_begin(self) -> None:
        """Create the scope of a new request and start the time limit of its headers."""
        super().on_message_begin()
        self.scope["extensions"] = {_EXTENSION: {"transport": self.transport}}
        self._in_headers, self._head_bytes, self._header_bytes = True, 0, 0
        self._deadline.set(self._limits.header_seconds, self._headers_late)

    def on_url(self, url: bytes) -> None:
        """Collect the request's target and refuse it if it is too long."""
        super().on_url(url)
        if len(self.url) > self._limits.url_bytes:
            detail = f"the URL is longer than {self._limits.url_bytes} bytes: send the text in a body (POST)"
            self._refuse(HTTPStatus.REQUEST_URI_TOO_LONG, detail)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header, while all of them together are within the limit."""
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > self._limits.header_bytes:
            self._refuse_headers()
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Pass the request to the application and start the time limit of the body."""
        self._in_headers = False
        if self.transport.is_closing():
            return
        self._deadline.set(self._limits.body_seconds, self._body_late)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Pass on a piece of the body and restart the time limit."""
        if self.transport.is_closing():
            return
        self._deadline.set(self._limits.body_seconds, self._body_late)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Stop the time limit: the request is complete, and its answer has no limit here."""
        self._deadline.cancel()
        if not self.transport.is_closing():
            super().on_message_complete()

    def _refuse_headers(self) -> None:
        detail = f"the request's headers are longer than {self._limits.header_bytes} bytes"
        self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, detail)

    def _headers_late(self) -> None:
        if not self._head_bytes:  # idle in a pool: the client would take a response for its next request's
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
    """Return the protocol factory for uvicorn. Without ``limits``, the limits of this process apply."""
    return partial(LimitedProtocol, limits=limits or limits_of_process())


def abort(scope: Scope) -> bool:
    """Abort the request's connection. Returns False under another protocol, which closes it after sending all."""
    known = scope.get("extensions", {}).get(_EXTENSION)
    if known is None:
        return False
    transport = known["transport"]
    with suppress(OSError):  # the connection has just ended by itself
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _DISCARD_UNSENT)  # else the kernel keeps sending
    transport.abort()
    return True
