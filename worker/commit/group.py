"""What one commit tries to bring in: some batches, the live version they go onto, and the set that results.

Knows no weights and no ledger.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from editing_core.edits import AcceptedEdit, merge_live
from worker.protocol.jobs import BatchRecord, Pointer

if TYPE_CHECKING:
    from editing_core.versions.manifest import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Batches that go in together, and what they go onto."""

    batches: tuple[BatchRecord, ...]
    pointer: Pointer
    parent: Manifest
    edits: tuple[AcceptedEdit, ...]
    """All edits of the batches."""

    @property
    def ids(self) -> list[str]:
        """The batches' ids."""
        return [record.spec.id for record in self.batches]

    @property
    def live(self) -> tuple[AcceptedEdit, ...]:
        """The set that the version will hold."""
        return merge_live(self.parent.live, self.edits)

    def edits_of(self, batch: str) -> list[str]:
        """The ids of one batch's edits."""
        return [accepted.id for accepted in self.edits if accepted.batch == batch]

    @property
    def new(self) -> tuple[AcceptedEdit, ...]:
        """Those of the batches' edits that will be in force: none accepted later excludes them."""
        ids = {accepted.id for accepted in self.edits}
        return tuple(accepted for accepted in self.live if accepted.id in ids)
