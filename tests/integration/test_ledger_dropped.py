"""An edit that its batch went into a version without is told of as such, whatever happens to the version."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from editing_core.edits import AcceptedEdit
from editing_core.versions.layout import StoreLayout
from editing_core.versions.manifest import Manifest
from editing_core.versions.store import VersionStore
from tests.support.ledger_steps import edit_of, lease_of, make_checking, make_ready, version
from tests.support.redis_server import Bench
from worker.commit.group import Dropped
from worker.manifest_records import summaries
from worker.protocol.entities import BatchState, EditStatus
from worker.protocol.keys import COMMIT_UNIT
from worker.recovery import reconcile_pointer

REPORT = {"holds": False, "culprit": {"limits": ["drift"], "why": "too much"}}


def publish_without(bench: Bench, batch: str, *, until: str | None = None) -> tuple[str, str]:
    """Publish a batch of two without its second edit; the version, and the edit dropped."""
    ledger = bench.ledger
    lease = lease_of(ledger, COMMIT_UNIT)
    make_checking(ledger, lease, batch)
    before, kept, dropped = ledger.versions.pointer(), edit_of(ledger, batch), edit_of(ledger, batch, 1)
    record = version(ledger, ledger.publication.new_version_number(), parent=before.version, batches=(batch,))
    ledger.publication.publish(
        lease,
        expected_revision=before.revision,
        version=record,
        edit_ids=[kept],
        reports={batch: {"passed": True}},
        candidate_until=until,
        dropped={dropped: REPORT},
    )
    ledger.leases.release(lease)
    return record.id, dropped


def test_the_script_that_publishes_records_dropped_edits_with_their_reasons(bench: Bench) -> None:
    ledger = bench.ledger
    batch = make_ready(ledger, ("P", "x"), ("Q", "x"))
    made, dropped = publish_without(bench, batch)
    shown = ledger.edits.get(dropped)
    assert (shown.status, shown.report) == (EditStatus.DROPPED, REPORT)
    assert [row.status for row in ledger.edits.find(batch=batch).items] == [EditStatus.LIVE, EditStatus.DROPPED]
    assert [row.accepted.id for row in ledger.edits.find(status=EditStatus.DROPPED).items] == [dropped]
    assert ledger.versions.live_edit_ids(made) == {edit_of(ledger, batch)}
    assert ledger.batches.edit_outcomes() == {"applied": 1, "dropped": 1}


def test_a_rollback_neither_withdraws_nor_restores_dropped_edits(bench: Bench) -> None:
    batch = make_ready(bench.ledger, ("P", "x"), ("Q", "x"))
    made, dropped = publish_without(bench, batch)
    assert bench.ledger.publication.promote("v0", author=None).rolled_back == (edit_of(bench.ledger, batch),)
    assert bench.ledger.edits.get(dropped).status == EditStatus.DROPPED
    assert bench.ledger.publication.promote(made, author=None).restored == (edit_of(bench.ledger, batch),)


def test_a_candidates_dropped_edits_are_dropped_and_counted_once_it_is_promoted(bench: Bench) -> None:
    batch = make_ready(bench.ledger, ("P", "x"), ("Q", "x"))
    made, dropped = publish_without(bench, batch, until="2999-01-01T00:00:00Z")
    assert bench.ledger.batches.get(batch).status == BatchState.CANDIDATE
    assert bench.ledger.edits.get(dropped).status == EditStatus.DROPPED
    bench.ledger.publication.promote(made, author="ann")
    assert bench.ledger.edits.get(dropped).status == EditStatus.DROPPED
    assert bench.ledger.batches.edit_outcomes() == {"applied": 1, "dropped": 1}


@pytest.fixture
def store(tmp_path: Path) -> VersionStore:
    return VersionStore(StoreLayout(tmp_path))


def write_dropping(bench: Bench, store: VersionStore, batch: str) -> AcceptedEdit:
    """v1 with the first edit of the batch, and the second told as dropped."""
    kept, dropped = bench.ledger.batches.edits(batch)
    original = store.read_manifest("v0")
    live = original.edit_set.joined([kept])
    manifest = Manifest(
        version="v1",
        parent="v0",
        created="2026-01-01T00:00:00Z",
        store="s",
        model_fingerprint="f",
        settings={},
        edits=tuple(edit.to_json() for edit in live.live),
        batches=summaries(original, live, version="v1", records=[bench.ledger.batches.get(batch)]),
        dropped=(Dropped(dropped, REPORT).to_json(),),
        delta_norms={"w": 0.1},
        checks={},
        tensors={},
    )
    store.write(manifest, {"w": torch.ones(2, 2)})
    store.write_head(1, "v1")
    return dropped


def test_a_ledger_rebuilt_from_the_manifests_knows_the_dropped_edits(bench: Bench, store: VersionStore) -> None:
    batch = make_ready(bench.ledger, ("P", "x"), ("Q", "x"))
    dropped = write_dropping(bench, store, batch)
    bench.redis.flushall()
    reconcile_pointer(bench.ledger, store)
    shown = bench.ledger.edits.get(dropped.id)
    assert (shown.accepted, shown.status) == (dropped, EditStatus.DROPPED)
    assert shown.report == {"culprit": REPORT["culprit"]}
