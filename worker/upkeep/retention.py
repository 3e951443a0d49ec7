"""Removes versions that are no longer needed: marks them in the ledger first, then deletes their files.

Versions that are being read are kept. The rules are in ``worker.protocol.ledger.versions``. Pins are also stored next
to the files, so they outlive Redis.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack, suppress

from editing_core.durable import locked, sync
from editing_core.versions.store import VersionStore
from worker.protocol.ledger.ledger import Ledger
from worker.protocol.ledger.versions import Retained
from worker.protocol.logs import log_event

LOGGER = logging.getLogger(__name__)


def remove_versions(ledger: Ledger, store: VersionStore, plan: Sequence[Retained]) -> list[str]:
    """Remove the versions that the plan does not keep and that are not being read. Return the removed versions.

    Requires the commit lease.
    """
    doomed = [row.version for row in plan if row.why is None]
    with ExitStack() as held:
        free = [version for version in doomed if _can_be_held(held, store, version)]
        removed = ledger.publication.mark_removed(free) if free else []
        for version in removed:
            store.remove(version)
    if removed:
        kept = {row.version: row.why for row in plan if row.why is not None}
        kept |= dict.fromkeys(set(doomed) - set(free), "being read")
        log_event(LOGGER, "versions.removed", versions=removed, kept=kept)
    return removed


def copy_pins(ledger: Ledger, store: VersionStore) -> None:
    """Copy the pins from the ledger to the version folders."""
    pinned = ledger.versions.pinned()
    for version in store.folders():
        mark = store.layout.pinned_file(version)
        if mark.exists() == (version in pinned):
            continue
        with suppress(FileNotFoundError):  # removed meanwhile
            if version in pinned:
                mark.touch()
            else:
                mark.unlink()
            sync(mark.parent)


def _can_be_held(held: ExitStack, store: VersionStore, version: str) -> bool:
    try:
        return held.enter_context(locked(store.layout.version_dir(version), wait=False))
    except FileNotFoundError:
        return True
