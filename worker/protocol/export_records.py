"""The record of an export: its request, progress and result. Contains only values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from editing_core.export.request import ExportRequest
from worker.protocol.entities import Progress

FOLDER = "exports"
"""Folder within the data folder. Each export has a subfolder named after its id."""


class ExportState(StrEnum):
    """queued → running → done or failed. A failed export, or one removed from disk, can be requested again."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


FINAL_EXPORT_STATES = frozenset({ExportState.DONE, ExportState.FAILED})


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRecord:
    """The current record of an export."""

    request: ExportRequest
    created: str
    author: str | None
    asked_by: str | None = None
    """Id of the first HTTP request for the export, for the log."""
    status: ExportState
    updated: str
    progress: Progress | None = None
    result: dict[str, Any] | None = None
    """The record in the export's folder without the edits; None until the export is done."""
    error: str | None = None

    @property
    def id(self) -> str:
        """The id of the export, derived from the request. Equal requests share an export."""
        return self.request.id

    @property
    def path(self) -> str:
        """The path of the export's folder within the data folder."""
        return f"{FOLDER}/{self.id}"

    @property
    def is_final(self) -> bool:
        """Whether the export is done or has failed."""
        return self.status in FINAL_EXPORT_STATES
