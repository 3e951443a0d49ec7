"""The format number of the ledger in Redis. A process refuses a ledger with an unsupported format."""

from __future__ import annotations

import logging

from editing_core.errors import StoreMismatch
from worker.protocol.keys import Key
from worker.protocol.logs import log_event
from worker.protocol.scripting.connection import Connection

LOGGER = logging.getLogger(__name__)
FORMAT = 1
UNMARKED = 0
"""Format of ledgers without a stored number. Their content equals format 1."""


class Format:
    """The format of the ledger."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def require(self) -> int:
        """Check the format, store its number if it is missing, and return the number found.

        Every process calls this before anything else, or as soon as Redis answers. Raises LedgerDown, and StoreMismatch
        if a later Errata wrote the ledger.
        """
        key = self._connection.at(Key.FORMAT)
        with self._connection.client() as redis:
            stored = redis.get(key)
            if stored == str(FORMAT):
                return FORMAT
            found = UNMARKED if stored is None else self._readable(stored)
            redis.set(key, FORMAT)
        log_event(LOGGER, "ledger.upgraded", before=found, now=FORMAT)
        return found

    def _readable(self, stored: str) -> int:
        if not stored.isdecimal() or int(stored) > FORMAT:
            raise StoreMismatch(
                f"the ledger of store {self._connection.keys.store_id} has format {stored} and this Errata reads "
                f"{FORMAT}: use the Errata that wrote it, or restore a backup from before the upgrade into a data "
                "folder of its own"
            )
        return int(stored)
