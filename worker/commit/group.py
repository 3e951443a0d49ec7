"""The input of one commit: its batches, the live version they are applied to, and the resulting set.

Uses neither weights nor the ledger.
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
    """An edit that is left out when its batch goes live."""

    accepted: AcceptedEdit
    report: dict[str, Any]
    """The edit's own report, including the limits it breaks."""

    @classmethod
    def unusable(cls, accepted: AcceptedEdit, why: str) -> Dropped:
        """Describe an edit that the tokenizer or the model's context length does not allow."""
        return cls(accepted, {"holds": False, "problem": why, "culprit": {"limits": [], "why": why}})

    def to_json(self) -> dict[str, Any]:
        """Return the record of the edit for a manifest."""
        return {**self.accepted.to_json(), "culprit": self.report["culprit"]}


@dataclass(frozen=True, kw_only=True)
class Group:
    """Batches that go live together, and the version they are applied to.

    Properties that walk the set are cached, because a commit reads them once per batch.
    """

    batches: tuple[BatchRecord, ...]
    pointer: Pointer
    parent: Manifest
    edits: tuple[AcceptedEdit, ...]
    """All edits of the batches except the dropped ones."""
    guards: tuple[AcceptedGuard, ...] = ()
    """Prompts whose answers must not change, as they were when the attempt began."""
    dropped: tuple[Dropped, ...] = ()

    @cached_property
    def ids(self) -> list[str]:
        """The batches' ids."""
        return [record.spec.id for record in self.batches]

    @property
    def options(self) -> BatchOptions:
        """The options that all batches of the group share."""
        return self.batches[0].spec.options

    @cached_property
    def removed(self) -> frozenset[str]:
        """The ids of the edits that the batches remove."""
        return frozenset(edit for record in self.batches for edit in record.spec.remove)

    @cached_property
    def set(self) -> EditSet:
        """The set of the new version."""
        return self.parent.edit_set.joined(self.edits, without=self.removed)

    @cached_property
    def change(self) -> SetChange:
        """The difference between the new set and the parent's set."""
        return self.set.change_from(self.parent.edit_set)

    @property
    def live(self) -> tuple[AcceptedEdit, ...]:
        """The edits in force in the new version."""
        return self.set.live

    @cached_property
    def new(self) -> tuple[AcceptedEdit, ...]:
        """The batches' edits that are in force in the new version: no later edit supersedes them."""
        ids = {accepted.id for accepted in self.edits}
        return tuple(accepted for accepted in self.live if accepted.id in ids)

    @property
    def is_takedown(self) -> bool:
        """Whether the group only removes edits. If so, no new edit can be to blame for a measurement."""
        return bool(self.removed) and not self.new

    @cached_property
    def changes_nothing(self) -> bool:
        """Whether the set equals the parent's, apart from edits that only repeat an edit in force."""
        before, after, repeats = self.parent.edit_set, self.set, self.change.repeats
        kept = tuple(row for row in after.superseded if row.id not in repeats)
        return (before.live, before.superseded) == (after.live, kept)

    def without(self, edits: Collection[str], *, dropped: tuple[Dropped, ...] = ()) -> Group:
        """Return the group without some of its edits. ``dropped``: the edits among them to report as dropped."""
        if not edits and not dropped:
            return self
        kept = tuple(accepted for accepted in self.edits if accepted.id not in edits)
        return replace(self, edits=kept, dropped=(*self.dropped, *dropped))

    def edits_of(self, batch: str) -> list[str]:
        """Return the ids of one batch's edits."""
        return self._edits_by_batch.get(batch, [])

    def dropped_of(self, batch: str) -> list[str]:
        """Return the ids of a batch's dropped edits."""
        return [row.accepted.id for row in self.dropped if row.accepted.batch == batch]

    def change_by(self, record: BatchRecord) -> dict[str, Any]:
        """Return the effect of one batch on the set, for its report."""
        return self.change.of_batch(self.edits_of(record.spec.id), record.spec.remove)

    @cached_property
    def _edits_by_batch(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for accepted in self.edits:
            found.setdefault(accepted.batch, []).append(accepted.id)
        return found
