from __future__ import annotations

import time

import pytest

from editing_core.clock import timestamp, utc_now
from tests.support.facts import fact, take_in
from tests.support.ledger_steps import LONG, lease_of, make_checking, make_ready
from tests.support.redis_server import Bench
from worker.protocol.entities import BatchState, Progress
from worker.protocol.errors import AttemptsUsedUp, BatchNotCancellable, LostRace, StaleLease
from worker.protocol.keys import COMMIT_UNIT, commit_attempts, targets_unit

# Leases


def test_unit_that_is_leased_cannot_be_leased_again(bench: Bench) -> None:
    lease = lease_of(bench.ledger, "u")
    assert bench.ledger.leases.acquire("u", holder="other", ttl_seconds=LONG) is None
    assert bench.ledger.leases.held(["u", "w"]) == {"u"}
    assert bench.ledger.leases.release(lease)
    assert bench.ledger.leases.acquire("u", holder="other", ttl_seconds=LONG) is not None


def test_a_lease_knows_since_when_it_is_held(bench: Bench) -> None:
    assert bench.ledger.leases.held_since("u") is None
    before = timestamp(utc_now())
    lease = lease_of(bench.ledger, "u")
    assert before <= str(bench.ledger.leases.held_since("u")) <= timestamp(utc_now())
    assert bench.ledger.leases.renew(lease), "which changes nothing about it"
    assert before <= str(bench.ledger.leases.held_since("u")) <= timestamp(utc_now())
    bench.ledger.leases.release(lease)
    assert bench.ledger.leases.held_since("u") is None


def test_lease_that_ran_out_can_be_neither_renewed_nor_released_nor_used(bench: Bench) -> None:
    ledger = bench.ledger
    batch = take_in(ledger, fact("P", "x")).record.spec.id
    old = lease_of(ledger, targets_unit(batch, 0), ttl_seconds=0.01)
    time.sleep(0.05)
    new = lease_of(ledger, targets_unit(batch, 0))
    assert new.token > old.token
    assert not ledger.leases.renew(old)
    assert not ledger.leases.release(old)
    assert not ledger.leases.holds(old)
    for move in (
        lambda: ledger.transitions.begin_shard(batch, 0, old),
        lambda: ledger.transitions.shard_done(batch, 0, old),
        lambda: ledger.leases.require(old),
        lambda: ledger.transitions.progress([batch], Progress(phase="computing", done=1, total=2), old),
        lambda: ledger.transitions.move(batch, BatchState.FAILED, expected=BatchState.QUEUED, lease=old),
    ):
        with pytest.raises(StaleLease):
            move()
    assert ledger.leases.holds(new)


def test_lease_outlives_its_time_while_it_is_renewed(bench: Bench) -> None:
    lease = lease_of(bench.ledger, "u", ttl_seconds=2.0)
    ends = time.monotonic() + 3.0
    while time.monotonic() < ends:
        assert bench.ledger.leases.renew(lease)
        time.sleep(0.1)
    assert bench.ledger.leases.holds(lease)


def test_fourth_attempt_is_refused_with_the_reason_of_the_third(bench: Bench) -> None:
    ledger = bench.ledger
    for attempt in (1, 2, 3):
        lease = ledger.leases.acquire("u", holder="h", ttl_seconds=LONG)
        assert lease is not None
        assert lease.attempt == attempt
        ledger.leases.release(lease, error=f"out of memory #{attempt}")
    with pytest.raises(AttemptsUsedUp, match=r"begun 3 times.*out of memory #3"):
        ledger.leases.acquire("u", holder="h", ttl_seconds=LONG)


def test_attempt_that_was_given_back_does_not_count(bench: Bench) -> None:
    for _ in range(5):
        lease = bench.ledger.leases.acquire("u", holder="h", ttl_seconds=LONG)
        assert lease is not None
        assert lease.attempt == 1
        bench.ledger.leases.release(lease, given_back=True)


# Shards


def test_batch_is_ready_when_its_last_shard_is_done_and_not_before(bench: Bench) -> None:
    ledger = bench.ledger
    batch = take_in(ledger, *(fact(f"P{i}", "x") for i in range(3)), shard_size=1).record.spec.id
    left = []
    for shard in (2, 0, 1):
        assert ledger.batches.get(batch).status in {BatchState.QUEUED, BatchState.COMPUTING}
        lease = lease_of(ledger, targets_unit(batch, shard))
        assert ledger.transitions.begin_shard(batch, shard, lease)
        left.append(ledger.transitions.shard_done(batch, shard, lease))
    assert left == [2, 1, 0]
    assert ledger.batches.get(batch).status == BatchState.READY
    assert [record.spec.id for record in ledger.batches.commit_queue()] == [batch]


def test_shard_that_is_done_twice_is_taken_out_once(bench: Bench) -> None:
    ledger = bench.ledger
    batch = take_in(ledger, fact("P", "x"), fact("Q", "x"), shard_size=1).record.spec.id
    lease = lease_of(ledger, targets_unit(batch, 0))
    ledger.transitions.begin_shard(batch, 0, lease)
    assert ledger.transitions.shard_done(batch, 0, lease) == 1
    assert ledger.transitions.shard_done(batch, 0, lease) == 1
    assert ledger.batches.open_shards(batch) == [1]
    assert not ledger.transitions.begin_shard(batch, 0, lease)


def test_shard_of_a_cancelled_batch_is_not_begun(bench: Bench) -> None:
    batch = take_in(bench.ledger, fact("P", "x")).record.spec.id
    bench.ledger.transitions.cancel(batch)
    lease = lease_of(bench.ledger, targets_unit(batch, 0))
    assert not bench.ledger.transitions.begin_shard(batch, 0, lease)


def test_progress_of_shards_adds_up_and_every_change_has_a_new_number(bench: Bench) -> None:
    ledger = bench.ledger
    batch = take_in(ledger, *(fact(f"P{i}", "x") for i in range(4)), shard_size=2).record.spec.id
    assert ledger.transitions.shard_progress(batch, 0, 2) == 2
    assert ledger.transitions.shard_progress(batch, 1, 1) == 3
    lease = lease_of(ledger, targets_unit(batch, 1))
    numbers = [ledger.batches.get(batch).progress_number]
    for done in (1, 2):
        ledger.transitions.progress([batch], Progress(phase="computing", done=done, total=4, eta_s=1.5), lease)
        numbers.append(ledger.batches.get(batch).progress_number)
    assert numbers == sorted(set(numbers))
    assert ledger.batches.get(batch).progress == Progress(phase="computing", done=2, total=4, eta_s=1.5)


# States


def test_move_from_another_state_than_expected_is_an_error_and_changes_nothing(bench: Bench) -> None:
    batch = make_ready(bench.ledger, ("P", "x"))
    before = bench.ledger.batches.get(batch)
    with pytest.raises(LostRace, match="is ready, not checking"):
        bench.ledger.transitions.move(batch, BatchState.REJECTED, expected=BatchState.CHECKING, error="no")
    assert bench.ledger.batches.get(batch) == before


def test_batch_can_be_cancelled_up_to_ready_and_not_after(bench: Bench) -> None:
    ledger = bench.ledger
    queued, ready = take_in(ledger, fact("P", "x")).record.spec.id, make_ready(ledger, ("Q", "x"))
    assert ledger.transitions.cancel(queued).status == BatchState.CANCELLED
    assert ledger.transitions.cancel(ready).status == BatchState.CANCELLED
    assert ledger.batches.count_open() == 0
    assert ledger.batches.commit_queue() == []
    late = make_ready(ledger, ("R", "x"))
    ledger.transitions.begin_commit(lease_of(ledger, COMMIT_UNIT), [late], max_attempts=3)
    with pytest.raises(BatchNotCancellable, match="is applying"):
        ledger.transitions.cancel(late)
    assert ledger.transitions.cancel(queued).status == BatchState.CANCELLED, "asked once more, as after a lost answer"


def test_a_commit_takes_over_the_batches_of_a_dead_commit(bench: Bench) -> None:
    ledger = bench.ledger
    batch = make_ready(ledger, ("P", "x"))
    dead = lease_of(ledger, COMMIT_UNIT)
    make_checking(ledger, dead, batch)
    ledger.leases.release(dead)
    assert [record.spec.id for record in ledger.batches.commit_queue()] == [batch]
    lease = lease_of(ledger, COMMIT_UNIT)
    assert ledger.transitions.begin_commit(lease, [batch], max_attempts=3) == [batch]
    assert ledger.batches.get(batch).status == BatchState.APPLYING
    with pytest.raises(StaleLease):
        ledger.transitions.move(batch, BatchState.CHECKING, expected=BatchState.APPLYING, lease=dead)


def test_batch_whose_commit_died_three_times_is_failed_with_the_reason_and_others_go_on(bench: Bench) -> None:
    ledger = bench.ledger
    bad = make_ready(ledger, ("P", "x"))
    for _ in range(3):
        lease = lease_of(ledger, COMMIT_UNIT)
        assert ledger.transitions.begin_commit(lease, [bad], max_attempts=3) == [bad]
        ledger.leases.release(lease, error="ValueError: no", units=[commit_attempts(bad)])
    good = make_ready(ledger, ("Q", "x"))
    assert ledger.transitions.commit_attempts([bad, good]) == {bad: 3, good: 0}
    assert ledger.transitions.begin_commit(lease_of(ledger, COMMIT_UNIT), [bad, good], max_attempts=3) == [good]
    record = ledger.batches.get(bad)
    assert record.status == BatchState.FAILED
    assert record.error is not None
    assert "3 times" in record.error
    assert "ValueError: no" in record.error


def test_batch_that_a_stopping_worker_gives_back_is_ready_and_has_lost_no_attempt(bench: Bench) -> None:
    ledger = bench.ledger
    batch = make_ready(ledger, ("P", "x"))
    lease = lease_of(ledger, COMMIT_UNIT)
    make_checking(ledger, lease, batch)
    ledger.transitions.give_back(lease, [batch])
    assert ledger.batches.get(batch).status == BatchState.READY
    assert ledger.transitions.commit_attempts([batch]) == {batch: 0}


def test_commit_that_begins_twice_under_one_lease_counts_once(bench: Bench) -> None:
    ledger = bench.ledger
    batch, lease = make_ready(ledger, ("P", "x")), lease_of(ledger, COMMIT_UNIT)
    for _ in range(2):
        assert ledger.transitions.begin_commit(lease, [batch], max_attempts=1) == [batch]
    assert ledger.transitions.commit_attempts([batch]) == {batch: 1}
