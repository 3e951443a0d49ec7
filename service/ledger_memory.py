"""Whether Redis has forgotten what the files tell, and the ledger is being written anew from them. Torch-free."""

from __future__ import annotations

from editing_core.errors import StoreError
from editing_core.versions.head import read_head
from editing_core.versions.layout import StoreLayout
from worker.protocol.errors import LedgerForgotten
from worker.protocol.ledger.ledger import Ledger


def require_ledger_intact(ledger: Ledger, layout: StoreLayout) -> None:
    """Raise LedgerForgotten when Redis knows no pointer although HEAD tells of one; LedgerDown when it is away.

    A ledger is written anew as a whole: as soon as it knows the pointer it knows the rest. Before that, what it does
    not know may well be there.
    """
    if ledger.versions.known_pointer() is None and _had_pointer(layout):
        raise LedgerForgotten("Redis has lost what it knew, and a worker writes it anew from the files: ask again")


def _had_pointer(layout: StoreLayout) -> bool:
    try:
        return read_head(layout) is not None
    except StoreError:
        return True
