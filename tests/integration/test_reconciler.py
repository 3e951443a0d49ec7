from __future__ import annotations

from pathlib import Path

import pytest

from editing_core.versions.layout import StoreLayout
from editing_core.versions.store import VersionStore
from tests.support.facts import fact, take_in
from tests.support.redis_server import Bench
from worker.metrics import Metrics
from worker.protocol.entities import BatchState
from worker.protocol.keys import COMMIT_UNIT, RECONCILE_UNIT, targets_unit
from worker.reconcile import Reconciler
from worker.work_in_hand import Hands


@pytest.fixture
def reconciler(bench: Bench, tmp_path: Path) -> Reconciler:
    store = VersionStore(StoreLayout(tmp_path))
    hands = Hands(bench.ledger, bench.queue, lease_seconds=30.0, holder="test")
    return Reconciler(ledger=bench.ledger, queue=bench.queue, store=store, metrics=Metrics(), hands=hands)


def ready_batch(bench: Bench) -> str:
    batch = take_in(bench.ledger, fact("P", "x")).record.spec.id
    lease = bench.ledger.leases.acquire(targets_unit(batch, 0), holder="h", ttl_seconds=30)
    assert lease is not None
    bench.ledger.transitions.begin_shard(batch, 0, lease)
    bench.ledger.transitions.shard_done(batch, 0, lease)
    bench.ledger.leases.release(lease)
    return batch


def test_an_accepted_batch_that_was_not_enqueued_is_found_shard_by_shard(bench: Bench, reconciler: Reconciler) -> None:
    batch = take_in(bench.ledger, fact("P", "x"), fact("Q", "x"), shard_size=1).record.spec.id
    assert reconciler.look() == [targets_unit(batch, 0), targets_unit(batch, 1)]
    assert reconciler.look() == []
    assert bench.queue.depth() == 2


def test_ready_batch_that_no_commit_took_is_found(bench: Bench, reconciler: Reconciler) -> None:
    ready_batch(bench)
    assert reconciler.look() == [COMMIT_UNIT]


def test_batch_left_in_the_middle_of_a_commit_is_found(bench: Bench, reconciler: Reconciler) -> None:
    batch = ready_batch(bench)
    lease = bench.ledger.leases.acquire(COMMIT_UNIT, holder="h", ttl_seconds=30, max_attempts=None)
    assert lease is not None
    bench.ledger.transitions.begin_commit(lease, [batch], max_attempts=3)
    bench.ledger.transitions.move(batch, BatchState.CHECKING, expected=BatchState.APPLYING, lease=lease)
    assert reconciler.look() == []
    bench.ledger.leases.release(lease)
    assert reconciler.look() == [COMMIT_UNIT]


def test_unit_under_a_lease_is_left_alone_until_the_lease_ends(bench: Bench, reconciler: Reconciler) -> None:
    batch = take_in(bench.ledger, fact("P", "x")).record.spec.id
    lease = bench.ledger.leases.acquire(targets_unit(batch, 0), holder="h", ttl_seconds=30)
    assert lease is not None
    assert reconciler.look() == []
    bench.ledger.leases.release(lease)
    assert reconciler.look() == [targets_unit(batch, 0)]


def test_batches_with_a_final_state_enqueue_nothing(bench: Bench, reconciler: Reconciler) -> None:
    batch = take_in(bench.ledger, fact("P", "x")).record.spec.id
    bench.ledger.transitions.cancel(batch)
    assert reconciler.look() == []


def test_only_one_process_looks_at_a_time(bench: Bench, reconciler: Reconciler) -> None:
    take_in(bench.ledger, fact("P", "x"))
    lock = bench.ledger.leases.acquire(RECONCILE_UNIT, holder="other", ttl_seconds=30, max_attempts=None)
    assert lock is not None
    assert reconciler.look() == []
    bench.ledger.leases.release(lock)
    assert len(reconciler.look()) == 1


def test_commit_is_woken_after_a_commit_during_which_another_batch_became_ready(
    bench: Bench, reconciler: Reconciler
) -> None:
    ready_batch(bench)
    bench.queue.beat(COMMIT_UNIT, ttl_seconds=30)
    assert not bench.queue.enqueue_unit(COMMIT_UNIT)
    bench.queue.stop_beating(COMMIT_UNIT)
    reconciler.follow_up(COMMIT_UNIT)
    assert bench.queue.depth() == 1


def test_shard_whose_job_failed_is_woken_again_at_once(bench: Bench, reconciler: Reconciler) -> None:
    batch = take_in(bench.ledger, fact("P", "x")).record.spec.id
    reconciler.follow_up(targets_unit(batch, 0))
    assert bench.queue.depth() == 1
