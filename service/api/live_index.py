"""Computes the effect of a batch on the live set, as far as it is known when the batch is accepted."""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from editing_core.edits import AcceptedEdit, Edit, EditSet, edit_set, says_the_same
from worker.protocol.errors import EditNotLive
from worker.protocol.ledger.ledger import Ledger

READ_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """An edit that a batch removes from the set."""

    accepted: AcceptedEdit
    restores: str | None
    """Id of the edit with the same subject and relation that is in force after the removal."""


@dataclass(frozen=True, slots=True)
class LiveSet:
    """The live set of one version, and its live edits by subject."""

    edits: EditSet
    by_subject: dict[str, list[AcceptedEdit]]

    def superseded_by(self, edits: Sequence[Edit]) -> list[AcceptedEdit | None]:
        """For each edit, return the live edit with the same subject and relation, or None."""
        return [self.edits.in_force.get(edit.identity) for edit in edits]

    def companions(self, edits: Sequence[Edit], *, without: Collection[str] = ()) -> list[list[AcceptedEdit]]:
        """For each edit, return the live edits of its subject with another relation, except those in ``without``."""
        return [
            [
                row
                for row in self.by_subject.get(edit.identity[0], ())
                if row.edit.identity != edit.identity and row.id not in without
            ]
            for edit in edits
        ]


class LiveIndex:
    """Reads the live set, once per version.

    The set of a version changes only by purges, so its id and its sizes are compared.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._lock = threading.Lock()
        self._read_of: tuple[str, int, int] | None = None
        self._set = _live_set(())

    def current(self) -> LiveSet:
        """Return the current live set, with one round trip if the same version was live at the last call."""
        state = self._ledger.versions.live_sizes()
        with self._lock:
            if state != self._read_of:
                self._set = self._read(state[0])
                self._read_of = state
            return self._set

    def removals(self, ids: Sequence[str], live: LiveSet) -> list[Removal]:
        """Return these edits and those that say the same, each with the edit that its removal restores.

        Raises NotFound for an unknown edit, EditNotLive for one that ``live`` does not contain.
        """
        doomed: dict[str, None] = {}
        for edit in ids:
            if edit not in live.edits.ids:
                status = self._ledger.edits.get(edit).status
                raise EditNotLive(
                    f"edit {edit} is {status}: only an edit that is in force can be removed",
                    loc=("body", "remove"),
                )
            doomed |= dict.fromkeys(live.edits.named_alike(edit))
        change = live.edits.joined((), without=doomed).change_from(live.edits)
        rows = {row.id: row for row in live.edits.everything}
        return [Removal(accepted=rows[edit], restores=change.restored.get(edit)) for edit in doomed]

    def _read(self, version: str) -> LiveSet:
        versions = self._ledger.versions
        ids = sorted(versions.live_edit_ids(version) | versions.superseded_edit_ids(version))
        found: list[AcceptedEdit] = []
        for start in range(0, len(ids), READ_AT_ONCE):
            found += [record.accepted for record in self._ledger.edits.get_many(ids[start : start + READ_AT_ONCE])]
        return _live_set(found)


def _live_set(rows: Sequence[AcceptedEdit]) -> LiveSet:
    edits = edit_set(rows)
    return LiveSet(edits=edits, by_subject=_by_subject(edits.live))


def _by_subject(live: Sequence[AcceptedEdit]) -> dict[str, list[AcceptedEdit]]:
    found: dict[str, list[AcceptedEdit]] = {}
    for row in live:
        found.setdefault(row.edit.identity[0], []).append(row)
    return found


def same_as(edit: Edit, live: AcceptedEdit | None) -> str | None:
    """Return the id of the live edit if ``edit`` says the same, otherwise None."""
    return live.id if live is not None and says_the_same(edit, live.edit) else None
