"""The guards' copy on disk: they belong to no version, and outlive Redis by it.

What the last seconds before a loss added or removed may not be in it. Torch-free.
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
    """Let the file say what the ledger says, unless the ledger has lost its memory."""
    guards = ledger.guards.all()
    if (
        ledger.versions.known_pointer() is not None
    ):  # read after the guards: an empty answer of a ledger that was lost tells nothing
        write_guards(layout, guards)


def write_guards(layout: StoreLayout, guards: Sequence[AcceptedGuard]) -> None:
    """Write them, if the file says something else."""
    content = json.dumps([accepted.to_json() for accepted in canonical_guards(guards)], ensure_ascii=False, indent=1)
    file = layout.guards_file
    if (file.read_text(encoding="utf-8") if file.exists() else "[]") != content:
        write_durably(file, lambda path: path.write_text(content, encoding="utf-8"))


def read_guards(layout: StoreLayout) -> tuple[AcceptedGuard, ...] | None:
    """The guards of the copy; None where there is none, or it cannot be read."""
    try:
        rows = json.loads(layout.guards_file.read_text(encoding="utf-8"))
        return canonical_guards(AcceptedGuard.from_json(row) for row in rows)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        log_event(LOGGER, "guards.unreadable", level=logging.WARNING, file=str(layout.guards_file), reason=str(error))
        return None
