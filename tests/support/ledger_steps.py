"""Shortcuts through the moves of the ledger, for tests of later states."""

from __future__ import annotations

from tests.support.facts import fact, take_in
from worker.protocol.entities import BatchState, Lease, VersionRecord
from worker.protocol.keys import COMMIT_UNIT, targets_unit
from worker.protocol.ledger.ledger import Ledger

LONG = 30.0


def lease_of(ledger: Ledger, unit: str, *, ttl_seconds: float = LONG) -> Lease:
    lease = ledger.leases.acquire(unit, holder="test", ttl_seconds=ttl_seconds, max_attempts=None)
    assert lease is not None
    return lease


def make_ready(ledger: Ledger, *edits: tuple[str, str]) -> str:
    """A batch whose only shard is computed."""
    batch = take_in(ledger, *(fact(subject, target) for subject, target in edits)).record.spec.id
    lease = lease_of(ledger, targets_unit(batch, 0))
    assert ledger.transitions.begin_shard(batch, 0, lease)
    assert ledger.transitions.shard_done(batch, 0, lease) == 0
    ledger.leases.release(lease)
    return batch


def make_checking(ledger: Ledger, lease: Lease, *batches: str) -> None:
    assert ledger.transitions.begin_commit(lease, batches, max_attempts=3) == list(batches)
    for batch in batches:
        ledger.transitions.move(batch, BatchState.CHECKING, expected=BatchState.APPLYING, lease=lease)


def version(ledger: Ledger, number: int, *, parent: str, batches: tuple[str, ...] = ()) -> VersionRecord:
    return VersionRecord(
        id=f"v{number}", parent=parent, created="2026-01-01T00:00:00Z", num_edits=1, digest="sha256:0", batches=batches
    )


def publish(ledger: Ledger, *batches: str, live: list[str], superseded: tuple[str, ...] = ()) -> str:
    """Publish ready batches as a live version with the edits ``live`` and the superseded edits ``superseded``."""
    lease = lease_of(ledger, COMMIT_UNIT)
    make_checking(ledger, lease, *batches)
    before = ledger.versions.pointer()
    record = version(ledger, ledger.publication.new_version_number(), parent=before.version, batches=batches)
    ledger.publication.publish(
        lease,
        expected_revision=before.revision,
        version=record,
        edit_ids=live,
        superseded_ids=superseded,
        reports={batch: {"passed": True} for batch in batches},
    )
    ledger.leases.release(lease)
    return record.id


def edit_of(ledger: Ledger, batch: str, index: int = 0) -> str:
    return ledger.batches.edits(batch)[index].id
