"""Which live edit is about what: read once per live version, asked by every batch that is taken."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from editing_core.edits import Edit
from worker.protocol.ledger import Ledger

READ_AT_ONCE = 1_000


class LiveIndex:
    """The live set by (subject, relation). A version's set never changes, so its number is all that is compared."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._lock = threading.Lock()
        self._version: str | None = None
        self._id_of: dict[tuple[str, str], str] = {}

    def superseded_by(self, edits: Sequence[Edit]) -> list[str | None]:
        """For each edit the id of the live one that it takes the place of, if there is one."""
        id_of = self._current()
        return [id_of.get(edit.identity) for edit in edits]

    def _current(self) -> dict[tuple[str, str], str]:
        version = self._ledger.pointer().version
        with self._lock:
            if version != self._version:
                self._id_of = self._read(version)
                self._version = version
            return self._id_of

    def _read(self, version: str) -> dict[tuple[str, str], str]:
        found = {}
        ids = sorted(self._ledger.live_edit_ids(version))
        for start in range(0, len(ids), READ_AT_ONCE):
            for record in self._ledger.edits(ids[start : start + READ_AT_ONCE]):
                found[record.accepted.edit.identity] = record.accepted.id
        return found
