"""The number of the ledger's format in Redis: an older ledger is brought up to it, a newer one is refused.

A step changes what a ledger holds so that this Errata reads it; it may run twice, as after a process that died in it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from editing_core.errors import StoreMismatch
from worker.protocol.keys import Key
from worker.protocol.ledger.connection import LedgerBase
from worker.protocol.logs import log_event

LOGGER = logging.getLogger(__name__)
FORMAT = 1
UNMARKED = 0
"""Of ledgers from before the number was written; they hold what format 1 holds."""


def _mark(_redis: Any, _prefix: str) -> None:
    """Nothing but the number is new in format 1."""


STEPS: dict[int, Callable[[Any, str], None]] = {UNMARKED: _mark}
"""By the format that a step begins with; each gets the client and the prefix of the store's keys."""


class Formats(LedgerBase):
    """What format the ledger has."""

    def require_format(self) -> int:
        """Bring an older ledger up to this format, and return the number it had.

        Every process does it before anything else, or as soon as Redis answers. Raises StoreMismatch for a ledger that
        a later Errata wrote, or one too old for ``STEPS``, and LedgerDown.
        """
        with self._reaching() as redis:
            told = redis.get(self._at(Key.FORMAT))
            found = UNMARKED if told is None else self._readable(told)
            for number in range(found, FORMAT):
                STEPS[number](redis, self.keys.prefix)
                redis.set(self._at(Key.FORMAT), number + 1)
        if found != FORMAT:
            log_event(LOGGER, "ledger.upgraded", before=found, now=FORMAT)
        return found

    def _readable(self, told: str) -> int:
        """The number, of a ledger that can be read or brought up. Raises StoreMismatch."""
        whose = f"the ledger of store {self.keys.store_id} has format {told} and this Errata reads {FORMAT}"
        if not told.isdecimal() or int(told) > FORMAT:
            raise StoreMismatch(
                f"{whose}: use the Errata that wrote it, or restore a backup from before the upgrade beside its own "
                "data folder"
            )
        found = int(told)
        if not all(number in STEPS for number in range(found, FORMAT)):
            raise StoreMismatch(
                f"{whose}, and brings up none before {min(STEPS, default=FORMAT)}: start an Errata in between first, "
                "which brings it up as far as it can"
            )
        return found
