"""Compares two versions: the edits that are in force in one and not in the other."""

from __future__ import annotations

from editing_core.edits import AcceptedEdit
from editing_core.errors import NotFound
from service.api.schemas.responses import DiffEdit, DiffOut, SupersededOut
from worker.protocol.ledger.ledger import Ledger

READ_AT_ONCE = 500
Set = dict[tuple[str, str], AcceptedEdit]
"""A live set by (subject, relation)."""


def difference(ledger: Ledger, a: str, b: str) -> DiffOut:
    """Return the difference of the live sets of two versions. Raises NotFound for an unknown or removed version."""
    digests = [_digest(ledger, version) for version in (a, b)]
    before, after = (_live(ledger, version) for version in (a, b))
    both = before.keys() & after.keys()
    return DiffOut(
        a=a,
        b=b,
        same_weights=digests[0] == digests[1],
        added=[_edit(after[what]) for what in sorted(after.keys() - both)],
        superseded=[
            SupersededOut(old=_edit(before[what]), new=_edit(after[what]))
            for what in sorted(both)
            if before[what].id != after[what].id
        ],
        reverted=[_edit(before[what]) for what in sorted(before.keys() - both)],
    )


def _digest(ledger: Ledger, version: str) -> str:
    record = ledger.versions.get(version)
    if record.removed:
        raise NotFound(f"version {version} was removed: its live edits are no longer known")
    return record.digest


def _live(ledger: Ledger, version: str) -> Set:
    ids = sorted(ledger.versions.live_edit_ids(version))
    found: Set = {}
    for start in range(0, len(ids), READ_AT_ONCE):
        for record in ledger.edits.get_many(ids[start : start + READ_AT_ONCE]):
            found[record.accepted.edit.identity] = record.accepted
    return found


def _edit(accepted: AcceptedEdit) -> DiffEdit:
    edit = accepted.edit
    return DiffEdit(
        id=accepted.id,
        subject=edit.subject,
        prompt=edit.prompt,
        relation=edit.relation,
        target_new=edit.target_new,
    )
