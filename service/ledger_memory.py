"""Detects that Redis has lost its data while a worker restores the ledger from the files. Torch-free."""

from __future__ import annotations

from editing_core.errors import StoreError
from editing_core.versions.head import read_head
from editing_core.versions.layout import StoreLayout
from worker.protocol.errors import LedgerForgotten
from worker.protocol.ledger.ledger import Ledger


def require_ledger_intact(ledger: Ledger, layout: StoreLayout) -> None:
    """Raise LedgerForgotten if Redis has no pointer although HEAD has one, and LedgerDown if Redis is down.

    A ledger is restored as a whole: once it has the pointer, it has everything else. Before that, a missing entry
    may still exist in the files.
    """
    if ledger.versions.known_pointer() is None and _had_pointer(layout):
        raise LedgerForgotten("Redis has lost its data, and a worker restores the ledger from the files: retry later")


def _had_pointer(layout: StoreLayout) -> bool:
    try:
        return read_head(layout) is not None
    except StoreError:
        return True
