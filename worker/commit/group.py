"""What one commit tries to bring in: some batches, the live version they go onto, and the set that results.

Knows no weights and no ledger.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from editing_core.edits import AcceptedEdit, EditSet
from worker.protocol.entities import BatchOptions, BatchRecord, Pointer

if TYPE_CHECKING:
    from editing_core.guards import AcceptedGuard
    from editing_core.versions.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Dropped:
    """An edit that its batch goes live without."""

    accepted: AcceptedEdit
    report: dict[str, Any]
    """Its own, with what it breaks."""

    @classmethod
    def unusable(cls, accepted: AcceptedEdit, why: str) -> Dropped:
        """One that the tokenizer or the model's length does not allow."""
        return cls(accepted, {"holds": False, "problem": why, "culprit": {"limits": [], "why": why}})

    def to_json(self) -> dict[str, Any]:
        """What a manifest keeps of it."""
        return {**self.accepted.to_json(), "culprit": self.report["culprit"]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Batches that go in together, and what they go onto."""

    batches: tuple[BatchRecord, ...]
    pointer: Pointer
    parent: Manifest
    edits: tuple[AcceptedEdit, ...]
    """All edits of the batches, but for those dropped."""
    guards: tuple[AcceptedGuard, ...] = ()
    """What must not change, as it stood when the attempt began."""
    dropped: tuple[Dropped, ...] = ()

    @property
    def ids(self) -> list[str]:
        """The batches' ids."""
        return [record.spec.id for record in self.batches]

    @property
    def options(self) -> BatchOptions:
        """The options of all of them: a batch that asks for others is a group of its own."""
        return self.batches[0].spec.options

    @property
    def removed(self) -> frozenset[str]:
        """The ids of edits that the batches take out."""
        return frozenset(edit for record in self.batches for edit in record.spec.remove)

    @property
    def set(self) -> EditSet:
        """The set that the version will hold."""
        return self.parent.edit_set.joined(self.edits, without=self.removed)

    @property
    def live(self) -> tuple[AcceptedEdit, ...]:
        """What will be in force."""
        return self.set.live

    def edits_of(self, batch: str) -> list[str]:
        """The ids of one batch's edits."""
        return [accepted.id for accepted in self.edits if accepted.batch == batch]

    @property
    def new(self) -> tuple[AcceptedEdit, ...]:
        """Those of the batches' edits that will be in force: none accepted later excludes them."""
        ids = {accepted.id for accepted in self.edits}
        return tuple(accepted for accepted in self.live if accepted.id in ids)

    @property
    def is_takedown(self) -> bool:
        """Whether edits are only taken out: nothing new can be blamed for what is measured."""
        return bool(self.removed) and not self.new

    @property
    def changes_nothing(self) -> bool:
        """Whether the set is the parent's, but for edits that only repeat what is in force."""
        before, after, repeats = self.parent.edit_set, self.set, self.repeats()
        kept = tuple(row for row in after.superseded if row.id not in repeats)
        return (before.live, before.superseded) == (after.live, kept)

    def without(self, edits: Collection[str], *, dropped: tuple[Dropped, ...] = ()) -> Group:
        """The same group without some more of its edits; ``dropped``: those of them that are to be told of."""
        kept = tuple(accepted for accepted in self.edits if accepted.id not in edits)
        return replace(self, edits=kept, dropped=(*self.dropped, *dropped))

    def dropped_of(self, batch: str) -> list[str]:
        """The ids of the edits that a batch goes in without."""
        return [row.accepted.id for row in self.dropped if row.accepted.batch == batch]

    def repeats(self) -> dict[str, str]:
        """Of each of the batches' edits that is in force already under another id: that id."""
        own = {accepted.id for accepted in self.edits}
        return {edit: held for edit, held in self.set.repeats().items() if edit in own}
