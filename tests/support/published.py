"""A batch made live through the ledger's own moves, without a model, for tests of answers about versions."""

from __future__ import annotations

from editing_core.edits import edit_set
from worker.protocol.entities import BatchState, VersionRecord
from worker.protocol.keys import COMMIT_UNIT, targets_unit
from worker.protocol.ledger.ledger import Ledger

LEASE_SECONDS = 60.0


def publish(ledger: Ledger, batch: str, *, holds: bool = True, candidate_until: str | None = None) -> str:
    """Take the batch from ``queued`` to ``applied`` (or ``candidate``) and return the version that holds it."""
    _compute(ledger, batch)
    pointer = ledger.versions.pointer()
    version = f"v{ledger.publication.new_version_number()}"
    lease = ledger.leases.acquire(COMMIT_UNIT, holder="test", ttl_seconds=LEASE_SECONDS, max_attempts=None)
    assert lease is not None
    assert ledger.transitions.begin_commit(lease, [batch], max_attempts=3) == [batch]
    ledger.transitions.move(batch, BatchState.CHECKING, expected=BatchState.APPLYING, lease=lease)
    held = ledger.versions.live_edit_ids(pointer.version) | ledger.versions.superseded_edit_ids(pointer.version)
    new = ledger.batches.edits(batch)
    known = edit_set(record.accepted for record in ledger.edits.get_many(sorted(held)))
    edits = known.joined(new, without=ledger.batches.get(batch).spec.remove)
    ledger.edits.set_reports({row.id: {"holds": holds} for row in new})
    record = VersionRecord(
        id=version,
        parent=pointer.version,
        created=ledger.batches.get(batch).spec.created,
        num_edits=len(edits.live),
        digest="sha256:" + "0" * 64,
        batches=(batch,),
    )
    ledger.publication.publish(
        lease,
        expected_revision=pointer.revision,
        version=record,
        edit_ids=[row.id for row in edits.live],
        superseded_ids=[row.id for row in edits.superseded],
        reports={batch: {"passed": True}},
        candidate_until=candidate_until,
    )
    ledger.leases.release(lease)
    return version


def _compute(ledger: Ledger, batch: str) -> None:
    for shard in ledger.batches.open_shards(batch):
        lease = ledger.leases.acquire(targets_unit(batch, shard), holder="test", ttl_seconds=LEASE_SECONDS)
        assert lease is not None
        assert ledger.transitions.begin_shard(batch, shard, lease)
        ledger.transitions.shard_done(batch, shard, lease)
        ledger.leases.release(lease)
