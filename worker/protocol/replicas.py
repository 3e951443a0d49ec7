"""The processes that answer prompts, and the revision of the pointer that each serves.

Each process writes both into the name of a connection to Redis (CLIENT SETNAME). Nothing is stored: the entry of a
process that ends or loses Redis is gone with its connection, and generation needs no right to write.
"""

from __future__ import annotations

import logging
from typing import Any

from redis import Redis
from redis.exceptions import ResponseError

from worker.protocol.errors import LedgerDown
from worker.protocol.logs import log_event
from worker.protocol.scripting.connection import Connection

LOGGER = logging.getLogger(__name__)
RENEW_SECONDS = 1.0
"""Pause between two announcements of the same revision, because a connection that was opened again has no name."""


class Announcement:
    """The entry of this process. Nothing happens if Redis does not answer or refuses CLIENT SETNAME."""

    def __init__(self, connection: Connection, prefix: str) -> None:
        self._connection = connection
        self._prefix = prefix
        self._own: Any = None
        """A client with one connection that no other thread uses."""
        self._is_refused = False

    def serve(self, revision: int) -> None:
        """Announce that this process is ready and serves the version of this revision of the pointer."""
        self._name(f"{self._prefix}{revision}")

    def withdraw(self) -> None:
        """Announce that this process is not ready, and give the connection back."""
        if self._own is not None:
            self._name("")
            self._own.close()
            self._own = None

    def _name(self, name: str) -> None:
        try:
            with self._connection.client() as redis:
                if self._own is None:
                    self._own = Redis(connection_pool=redis.connection_pool, single_connection_client=True)
                self._own.client_setname(name)
        except LedgerDown:  # logged where it is raised; the next announcement follows soon
            pass
        except ResponseError as error:
            if not self._is_refused:
                log_event(LOGGER, "replica_not_announced", level=logging.WARNING, reason=str(error))
            self._is_refused = True


class Replicas:
    """Announces and lists the processes of one store."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._prefix = f"{connection.keys.prefix}serving:"

    def announcement(self, process: str) -> Announcement:
        """Return the entry of the process with this name, which must have no colon and no space."""
        return Announcement(self._connection, f"{self._prefix}{process}:")

    def behind(self, revision: int) -> list[str]:
        """Return the names of ready processes that serve an older revision, sorted.

        Empty if Redis does not answer or refuses CLIENT LIST.
        """
        try:
            with self._connection.client() as redis:
                names = [str(found["name"]) for found in redis.client_list()]
        except (ResponseError, LedgerDown) as error:
            log_event(LOGGER, "replicas_not_listed", level=logging.WARNING, reason=str(error))
            return []
        entries = [name.removeprefix(self._prefix).rpartition(":") for name in names if name.startswith(self._prefix)]
        return sorted(process for process, _, served in entries if served.isdecimal() and int(served) < revision)
