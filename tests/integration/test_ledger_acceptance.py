from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from editing_core.errors import ErrataError, NotFound
from service.cli.embedded_redis import plan_embedded_redis
from tests.support.facts import fact, take_in
from tests.support.redis_server import Bench, running_redis
from worker.protocol.connections import check_durability, connect, require_durable
from worker.protocol.entities import BatchOptions, BatchState, EditStatus
from worker.protocol.errors import IdempotencyMismatch, InvalidCursor, LedgerDown, QueueFull, UnsafeRedis
from worker.protocol.keys import Key, Keys
from worker.protocol.ledger.ledger import Ledger


def test_accepted_batch_can_be_read_back_with_its_edits_in_their_order(bench: Bench) -> None:
    edits = [fact(f"Person {i}", "English") for i in range(7)]
    accepted = bench.ledger.acceptance.accept(
        edits, author="ann", request_hash="h", options=BatchOptions(promote="manual"), shard_size=3, max_open=10
    )
    record = bench.ledger.batches.get(accepted.record.spec.id)
    assert record.status == BatchState.QUEUED
    assert (record.spec.author, record.spec.options.promote, record.spec.num_edits) == ("ann", "manual", 7)
    assert [row.edit for row in bench.ledger.batches.edits(record.spec.id)] == edits
    assert {row.acceptance for row in accepted.edits} == {record.spec.acceptance}
    assert bench.ledger.batches.open_shards(record.spec.id) == [0, 1, 2]


def test_a_batch_that_cannot_be_read_back_is_answered_as_it_was_written(tmp_path: Path) -> None:
    with running_redis(tmp_path) as server:
        admin = connect(server.url)
        ledger = Ledger(admin, Keys("s"))
        admin.execute_command("ACL", "SETUSER", "default", "-hgetall")
        accepted = take_in(ledger, fact("P", "x"), fact("Q", "y"))
        with pytest.raises(LedgerDown, match="NOPERM"):
            ledger.batches.get(accepted.record.spec.id)
        admin.execute_command("ACL", "SETUSER", "default", "+hgetall")
        record = ledger.batches.get(accepted.record.spec.id)
        assert replace(accepted.record, updated=record.updated) == record
        assert accepted.edits == ledger.batches.edits(record.spec.id)


def test_acceptance_numbers_grow_with_each_batch(bench: Bench) -> None:
    numbers = [take_in(bench.ledger, fact(f"P{i}", "x")).record.spec.acceptance for i in range(5)]
    assert numbers == sorted(set(numbers))


def test_acceptance_numbers_grow_beyond_a_redis_that_lost_its_memory(bench: Bench) -> None:
    before = take_in(bench.ledger, fact("P", "x")).record.spec.acceptance
    bench.redis.flushall()
    time.sleep(0.002)
    assert take_in(bench.ledger, fact("Q", "x")).record.spec.acceptance > before


def test_same_idempotency_key_and_body_give_the_same_batch_again(bench: Bench) -> None:
    first = take_in(bench.ledger, fact("P", "x"), idempotency=("ann", "k1"), request_hash="h")
    again = take_in(bench.ledger, fact("P", "x"), idempotency=("ann", "k1"), request_hash="h")
    assert (first.replayed, again.replayed) == (False, True)
    assert again.record.spec == first.record.spec
    assert again.edits == first.edits
    assert bench.ledger.batches.count_open() == 1


def test_same_idempotency_key_with_another_body_is_refused_and_nothing_is_written(bench: Bench) -> None:
    take_in(bench.ledger, fact("P", "x"), idempotency=("ann", "k1"), request_hash="h")
    with pytest.raises(IdempotencyMismatch, match="k1"):
        take_in(bench.ledger, fact("P", "y"), idempotency=("ann", "k1"), request_hash="other")
    assert bench.ledger.batches.count_open() == 1


def test_idempotency_keys_belong_to_the_api_key_that_sent_them(bench: Bench) -> None:
    take_in(bench.ledger, fact("P", "x"), idempotency=("ann", "k1"), request_hash="h")
    other = take_in(bench.ledger, fact("P", "y"), idempotency=("bob", "k1"), request_hash="other")
    assert not other.replayed


def test_idempotency_keys_are_kept_for_seven_days(bench: Bench) -> None:
    take_in(bench.ledger, fact("P", "x"), idempotency=("ann", "k1"), request_hash="h")
    (key,) = bench.redis.scan_iter(match=f"*{Key.IDEMPOTENCY}*")
    assert 0 <= 7 * 24 * 3600 - bench.redis.ttl(key) < 60


def test_one_of_many_simultaneous_sends_under_one_idempotency_key_is_accepted(bench: Bench) -> None:
    def send(_: int) -> str:
        return take_in(bench.ledger, fact("P", "x"), idempotency=("a", "k"), request_hash="h").record.spec.id

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(send, range(16)))) == 1
    assert bench.ledger.batches.count_open() == 1


def test_full_queue_refuses_and_writes_nothing_until_a_batch_ends(bench: Bench) -> None:
    first = take_in(bench.ledger, fact("P", "x"), max_open=1)
    with pytest.raises(QueueFull, match="1 batches"):
        take_in(bench.ledger, fact("Q", "x"), max_open=1)
    assert bench.ledger.edits.about("Q") == []
    bench.ledger.transitions.cancel(first.record.spec.id)
    take_in(bench.ledger, fact("Q", "x"), max_open=1)


def test_replay_is_answered_even_when_the_queue_is_full(bench: Bench) -> None:
    first = take_in(bench.ledger, fact("P", "x"), idempotency=("a", "k"), request_hash="h", max_open=1)
    again = take_in(bench.ledger, fact("P", "x"), idempotency=("a", "k"), request_hash="h", max_open=1)
    assert again.record.spec.id == first.record.spec.id


def test_ten_thousand_edits_are_one_batch(bench: Bench) -> None:
    edits = [fact(f"Person {i}", "English") for i in range(10_000)]
    accepted = bench.ledger.acceptance.accept(edits, author=None, request_hash="h", shard_size=64, max_open=10)
    assert len(accepted.edits) == 10_000
    assert len(bench.ledger.batches.open_shards(accepted.record.spec.id)) == 157


def test_pages_of_batches_come_newest_first_and_meet_each_batch_once(bench: Bench) -> None:
    ids = [take_in(bench.ledger, fact(f"P{i}", "x")).record.spec.id for i in range(7)]
    seen, cursor = [], None
    while True:
        page = bench.ledger.batches.page(cursor, 3)
        seen += [record.spec.id for record in page.items]
        cursor = page.next
        if cursor is None:
            break
    assert seen == ids[::-1]


def test_pages_of_edits_meet_each_edit_once_also_when_others_arrive_meanwhile(bench: Bench) -> None:
    ids = [row.id for row in take_in(bench.ledger, *(fact(f"P{i}", "x") for i in range(5))).edits]
    first = bench.ledger.edits.find(limit=2)
    take_in(bench.ledger, fact("New", "x"))
    rest = bench.ledger.edits.find(limit=50, cursor=first.next)
    assert [record.accepted.id for record in (*first.items, *rest.items)] == ids
    assert rest.next is None


def test_edits_are_found_by_the_normalised_subject_and_by_batch_and_status(bench: Bench) -> None:
    one = take_in(bench.ledger, fact("Caf\u00e9 Noir", "x"), fact("Other", "x"))
    two = take_in(bench.ledger, fact("  Cafe\u0301  Noir ", "y"))
    bench.ledger.transitions.cancel(two.record.spec.id)
    about = [row.accepted.id for row in bench.ledger.edits.find(subject="Café Noir").items]
    assert about == [two.edits[0].id, one.edits[0].id] == bench.ledger.edits.about("Café Noir")
    pending = bench.ledger.edits.find(subject="Café Noir", status=EditStatus.PENDING).items
    assert [row.accepted.id for row in pending] == [one.edits[0].id]
    in_batch = bench.ledger.edits.find(subject="Café Noir", batch=two.record.spec.id).items
    assert [row.status for row in in_batch] == [EditStatus.CANCELLED]


@pytest.mark.parametrize("cursor", ["", "!", "djE", "é", "MTI=x"])
def test_a_cursor_that_was_never_issued_is_refused(bench: Bench, cursor: str) -> None:
    with pytest.raises(InvalidCursor):
        bench.ledger.batches.page(cursor)


def test_unknown_ids_are_not_found(bench: Bench) -> None:
    for ask in (
        bench.ledger.batches.get,
        bench.ledger.edits.get,
        bench.ledger.versions.get,
        bench.ledger.transitions.cancel,
    ):
        for name in ("b0", "", "v99", "*"):
            with pytest.raises(NotFound):
                ask(name)
    assert bench.ledger.edits.get_many(["nothing"]) == []


def test_stores_that_share_a_redis_do_not_see_each_other(bench: Bench) -> None:
    take_in(bench.ledger, fact("P", "x"), idempotency=("a", "k"))
    other = Ledger(bench.redis, Keys("other"))
    assert other.batches.count_open() == 0
    assert not take_in(other, fact("P", "x"), idempotency=("a", "k")).replayed


def test_accepted_batch_survives_kill_9_of_redis(tmp_path: Path) -> None:
    with running_redis(tmp_path) as server:
        ledger = Ledger(connect(server.url), Keys("s"))
        accepted = [take_in(ledger, fact(f"P{i}", "x")).record.spec.id for i in range(20)]
        assert server.process is not None
        server.process.kill()
        server.process.wait()
        with pytest.raises(LedgerDown, match="does not answer") as away:
            ledger.batches.get(accepted[0])
        assert str(tmp_path) not in away.value.detail
        assert "connect" not in away.value.detail
        server.start()
        assert {record.spec.id for record in ledger.batches.open()} == set(accepted)


def test_every_call_reports_that_the_ledger_is_down(tmp_path: Path) -> None:
    ledger = Ledger(connect(f"unix://{tmp_path}/none.sock"), Keys("s"))
    calls = (
        ledger.connection.ping,
        ledger.versions.pointer,
        ledger.batches.count_open,
        lambda: take_in(ledger, fact("P", "x")),
        lambda: ledger.leases.acquire("commit", holder="h", ttl_seconds=1),
        lambda: ledger.edits.find(subject="P"),
        lambda: ledger.publication.promote("v1", author=None),
        lambda: check_durability(connect(f"unix://{tmp_path}/none.sock")),
    )
    for call in calls:
        with pytest.raises(LedgerDown):
            call()
    assert LedgerDown.retry_after_seconds > 0


def test_embedded_redis_is_durable_and_a_careless_one_is_refused_by_name(bench: Bench) -> None:
    assert require_durable(bench.redis, accept_unsafe=False).ok
    bench.redis.config_set("appendfsync", "everysec")
    bench.redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(UnsafeRedis, match=r"appendfsync is everysec.*maxmemory-policy is allkeys-lru"):
            require_durable(bench.redis, accept_unsafe=False)
        assert not require_durable(bench.redis, accept_unsafe=True).ok
    finally:
        bench.redis.config_set("appendfsync", "always")
        bench.redis.config_set("maxmemory-policy", "noeviction")


def test_full_memory_is_reported_as_ledger_down_and_nothing_is_evicted(bench: Bench) -> None:
    kept = take_in(bench.ledger, fact("P", "x")).record.spec.id
    bench.redis.config_set("maxmemory", "1")
    try:
        with pytest.raises(LedgerDown, match="OOM"):
            take_in(bench.ledger, fact("Q", "x"))
    finally:
        bench.redis.config_set("maxmemory", "0")
    assert bench.ledger.batches.get(kept).status == BatchState.QUEUED


def test_second_redis_on_one_data_folder_is_refused_with_the_holder_named(tmp_path: Path) -> None:
    with running_redis(tmp_path) as server:
        assert server.process is not None
        second = plan_embedded_redis(tmp_path)
        second.socket = tmp_path / "second.sock"
        with pytest.raises(ErrataError, match=f"in use by process {server.process.pid}"):
            second.start()


def test_data_folder_is_free_again_when_its_redis_was_killed(tmp_path: Path) -> None:
    with running_redis(tmp_path) as server:
        assert server.process is not None
        server.process.kill()
        server.process.wait()
        with running_redis(tmp_path) as second:
            assert connect(second.url).ping()
