"""Corrects "not found" errors that are wrong because Redis lost its data and the ledger is not rebuilt yet."""

from __future__ import annotations

from functools import partial

from editing_core.errors import ErrataError, NotFound
from editing_core.versions.layout import StoreLayout
from service.ledger_calls import call_with_timeout
from service.ledger_memory import require_ledger_intact
from worker.protocol.errors import EditNotLive, LedgerDown, LedgerForgotten
from worker.protocol.ledger.ledger import Ledger


async def unless_forgotten(error: ErrataError, *, ledger: Ledger, layout: StoreLayout) -> ErrataError:
    """Return the error, or LedgerForgotten if the ledger says "not found" only because it is being rebuilt."""
    if isinstance(error, NotFound | EditNotLive):
        try:
            await call_with_timeout(partial(require_ledger_intact, ledger, layout))
        except LedgerForgotten as forgotten:
            return forgotten
        except (LedgerDown, TimeoutError):
            return error
    return error
