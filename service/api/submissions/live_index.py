"""What a batch does to the live set, as far as can be told when it is taken: read once per live version."""

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
    """An edit that is to be taken out."""

    accepted: AcceptedEdit
    restores: str | None
    """The edit about the same thing that is in force without it."""


class LiveIndex:
    """The live set by (subject, relation).

    A version's set changes by purges alone, so its number and its sizes are all that is compared.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._lock = threading.Lock()
        self._read_of: tuple[str, tuple[int, int]] | None = None
        self._set = EditSet(live=())
        self._live: dict[tuple[str, str], AcceptedEdit] = {}
        self._known: set[str] = set()
        self._about: dict[str, list[AcceptedEdit]] = {}

    def superseded_by(self, edits: Sequence[Edit]) -> list[AcceptedEdit | None]:
        """For each edit the live one about the same thing, if there is one."""
        self._refresh()
        return [self._live.get(edit.identity) for edit in edits]

    def companions(self, edits: Sequence[Edit], *, without: Collection[str] = ()) -> list[list[AcceptedEdit]]:
        """For each edit the live ones about its subject under another relation, but those with the ids ``without``."""
        self._refresh()
        return [
            [
                row
                for row in self._about.get(edit.identity[0], ())
                if row.edit.identity != edit.identity and row.id not in without
            ]
            for edit in edits
        ]

    def removals(self, ids: Sequence[str]) -> list[Removal]:
        """These edits, with those that say the same next to them, and what comes back without them.

        Raises NotFound for an unknown edit, EditNotLive for one that is not in force nor beneath one that is.
        """
        edits = self._refresh()
        doomed: dict[str, None] = {}
        for edit in ids:
            if edit not in self._known:
                status = self._ledger.edits.get(edit).status
                raise EditNotLive(
                    f"edit {edit} is {status}: only an edit that is in force can be taken out",
                    loc=("body", "remove"),
                )
            doomed |= dict.fromkeys(edits.named_alike(edit))
        left = {row.edit.identity: row.id for row in edits.joined((), without=doomed).live}
        rows = {row.id: row for row in edits.everything}
        live = {row.id for row in edits.live}
        return [
            Removal(accepted=rows[edit], restores=left.get(rows[edit].edit.identity) if edit in live else None)
            for edit in doomed
        ]

    def _refresh(self) -> EditSet:
        version = self._ledger.versions.pointer().version
        sizes = self._ledger.versions.set_sizes(version)
        with self._lock:
            if (version, sizes) != self._read_of:
                self._set = self._read(version)
                self._live = {row.edit.identity: row for row in self._set.live}
                self._known = {row.id for row in self._set.everything}
                self._about = _by_subject(self._set.live)
                self._read_of = (version, sizes)
            return self._set

    def _read(self, version: str) -> EditSet:
        ids = sorted(self._ledger.versions.live_edit_ids(version) | self._ledger.versions.superseded_edit_ids(version))
        found = []
        for start in range(0, len(ids), READ_AT_ONCE):
            found += [record.accepted for record in self._ledger.edits.get_many(ids[start : start + READ_AT_ONCE])]
        return edit_set(found)


def _by_subject(live: Sequence[AcceptedEdit]) -> dict[str, list[AcceptedEdit]]:
    found: dict[str, list[AcceptedEdit]] = {}
    for row in live:
        found.setdefault(row.edit.identity[0], []).append(row)
    return found


def same_as(edit: Edit, live: AcceptedEdit | None) -> str | None:
    """The live edit's id when ``edit`` says what it says."""
    return live.id if live is not None and says_the_same(edit, live.edit) else None
