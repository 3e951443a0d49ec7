"""What the ledger says of an export: what was asked for, how far it is, and what came out. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from editing_core.export.request import ExportRequest
from worker.protocol.entities import Progress

FOLDER = "exports"
"""Where exports lie in the data folder, each in one of its id's name."""


class ExportState(StrEnum):
    """queued → running → done or failed; what failed, or was removed from disk, can be asked for again."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


FINAL_EXPORT_STATES = frozenset({ExportState.DONE, ExportState.FAILED})


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRecord:
    """An export as it stands."""

    request: ExportRequest
    created: str
    author: str | None
    asked_by: str | None = None
    """The id of the HTTP request that asked for it first, for the log."""
    status: ExportState
    updated: str
    progress: Progress | None = None
    result: dict[str, Any] | None = None
    """What its own record says, without the edits; None before it is done."""
    error: str | None = None

    @property
    def id(self) -> str:
        """Equal requests are one export."""
        return self.request.id

    @property
    def path(self) -> str:
        """Its folder, within the data folder."""
        return f"{FOLDER}/{self.id}"

    @property
    def is_final(self) -> bool:
        """Whether nothing more happens by itself."""
        return self.status in FINAL_EXPORT_STATES
