"""The copy of the guards on disk. Guards belong to no version, so this copy is how they outlive Redis.

Changes from the last seconds before a loss may be missing. Torch-free.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence

from editing_core.durable import write_durably
from editing_core.guards import AcceptedGuard, canonical_guards
from editing_core.versions.layout import StoreLayout
from worker.protocol.ledger.ledger import Ledger
from worker.protocol.logs import log_event

LOGGER = logging.getLogger(__name__)


def copy_guards(ledger: Ledger, layout: StoreLayout) -> None:
    """Write the guards of the ledger to the file, unless Redis has lost its data."""
    guards = ledger.guards.all()
    # Read the pointer after the guards. Without a pointer Redis has lost its data, so an empty list proves nothing.
    if ledger.versions.known_pointer() is not None:
        write_guards(layout, guards)


def write_guards(layout: StoreLayout, guards: Sequence[AcceptedGuard]) -> None:
    """Write the guards if the file differs."""
    content = json.dumps([accepted.to_json() for accepted in canonical_guards(guards)], ensure_ascii=False, indent=1)
    file = layout.guards_file
    if (file.read_text(encoding="utf-8") if file.exists() else "[]") != content:
        write_durably(file, lambda path: path.write_text(content, encoding="utf-8"))


def read_guards(layout: StoreLayout) -> tuple[AcceptedGuard, ...] | None:
    """Return the guards of the copy; None if it is missing or unreadable."""
    try:
        rows = json.loads(layout.guards_file.read_text(encoding="utf-8"))
        return canonical_guards(AcceptedGuard.from_json(row) for row in rows)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        log_event(LOGGER, "guards.unreadable", level=logging.WARNING, file=str(layout.guards_file), reason=str(error))
        return None
