"""The input of one commit: some batches, the live version that they are applied to, and the set that results.

Knows no weights and no ledger.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from editing_core.edits import AcceptedEdit, EditSet, SetChange
from worker.protocol.entities import BatchOptions, BatchRecord, Pointer

if TYPE_CHECKING:
    from editing_core.guards import AcceptedGuard
    from editing_core.versions.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Dropped:
    """An edit that its batch goes live without."""

    accepted: AcceptedEdit
    report: dict[str, Any]
    """The edit's own report, with the limits that it breaks."""

    @classmethod
    def unusable(cls, accepted: AcceptedEdit, why: str) -> Dropped:
        """An edit that the tokenizer or the model's context length does not allow."""
        return cls(accepted, {"holds": False, "problem": why, "culprit": {"limits": [], "why": why}})

    def to_json(self) -> dict[str, Any]:
        """The record that a manifest keeps of it."""
        return {**self.accepted.to_json(), "culprit": self.report["culprit"]}


@dataclass(frozen=True, kw_only=True)
class Group:
    """Batches that go live together, and the version that they are applied to.

    Everything that walks the set is computed once: a commit of many batches asks for it once per batch.
    """

    batches: tuple[BatchRecord, ...]
    pointer: Pointer
    parent: Manifest
    edits: tuple[AcceptedEdit, ...]
    """All edits of the batches, without the dropped ones."""
    guards: tuple[AcceptedGuard, ...] = ()
    """Prompts whose answers must not change, as they were when the attempt began."""
    dropped: tuple[Dropped, ...] = ()

    @cached_property
    def ids(self) -> list[str]:
        """The batches' ids."""
        return [record.spec.id for record in self.batches]

    @property
    def options(self) -> BatchOptions:
        """The options of all batches: a batch with other options is a group of its own."""
        return self.batches[0].spec.options

    @cached_property
    def removed(self) -> frozenset[str]:
        """The ids of edits that the batches take out."""
        return frozenset(edit for record in self.batches for edit in record.spec.remove)

    @cached_property
    def set(self) -> EditSet:
        """The set of the version that the group makes."""
        return self.parent.edit_set.joined(self.edits, without=self.removed)

    @cached_property
    def change(self) -> SetChange:
        """How that set differs from the parent's."""
        return self.set.change_from(self.parent.edit_set)

    @property
    def live(self) -> tuple[AcceptedEdit, ...]:
        """The edits that will be in force."""
        return self.set.live

    @cached_property
    def new(self) -> tuple[AcceptedEdit, ...]:
        """The batches' edits that will be in force: those that no later one supersedes."""
        ids = {accepted.id for accepted in self.edits}
        return tuple(accepted for accepted in self.live if accepted.id in ids)

    @property
    def is_takedown(self) -> bool:
        """Whether edits are only taken out: then no new edit can be to blame for a measurement."""
        return bool(self.removed) and not self.new

    @cached_property
    def changes_nothing(self) -> bool:
        """Whether the set is the parent's, apart from edits that only repeat one in force."""
        before, after, repeats = self.parent.edit_set, self.set, self.change.repeats
        kept = tuple(row for row in after.superseded if row.id not in repeats)
        return (before.live, before.superseded) == (after.live, kept)

    def without(self, edits: Collection[str], *, dropped: tuple[Dropped, ...] = ()) -> Group:
        """The same group without some of its edits; ``dropped``: those of them that are reported as dropped."""
        if not edits and not dropped:
            return self
        kept = tuple(accepted for accepted in self.edits if accepted.id not in edits)
        return replace(self, edits=kept, dropped=(*self.dropped, *dropped))

    def edits_of(self, batch: str) -> list[str]:
        """The ids of one batch's edits."""
        return self._edits_by_batch.get(batch, [])

    def dropped_of(self, batch: str) -> list[str]:
        """The ids of the edits that a batch goes live without."""
        return [row.accepted.id for row in self.dropped if row.accepted.batch == batch]

    def change_by(self, record: BatchRecord) -> dict[str, Any]:
        """What one batch of the group does to the set, for its report."""
        return self.change.of_batch(self.edits_of(record.spec.id), record.spec.remove)

    @cached_property
    def _edits_by_batch(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for accepted in self.edits:
            found.setdefault(accepted.batch, []).append(accepted.id)
        return found
