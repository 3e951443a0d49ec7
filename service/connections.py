"""Connections that are ended at once, whatever was not read of them: closing one waits for its reader.

ASGI has no word for it, so the protocol puts one into each request's scope. Torch-free.
"""

from __future__ import annotations

import socket
import struct
from contextlib import suppress

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_EXTENSION = "errata.connection"
_DISCARD_UNSENT = struct.pack("ii", 1, 0)


class AbortableProtocol(HttpToolsProtocol):
    """uvicorn's, whose requests can end their connection."""

    def on_message_begin(self) -> None:
        """A request begins: its scope is there."""
        super().on_message_begin()
        self.scope["extensions"] = {_EXTENSION: {"transport": self.transport}}


def abort(scope: Scope) -> bool:
    """End the request's connection; False under another protocol: the server closes it when all was read."""
    known = scope.get("extensions", {}).get(_EXTENSION)
    if known is None:
        return False
    transport = known["transport"]
    with suppress(OSError):  # it has just ended by itself
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _DISCARD_UNSENT)  # else the system goes on sending
    transport.abort()
    return True
