from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from editing_core.versions.layout import StoreLayout
from editing_core.versions.store import VersionStore
from tests.support.facts import fact, take_in
from tests.support.ledger_steps import lease_of
from tests.support.redis_server import Bench, open_bench, running_redis
from worker.current_job import REPORT_SECONDS, CurrentJob, WorkerStopping
from worker.metrics import Metrics
from worker.protocol.entities import Lease, Progress
from worker.protocol.errors import StaleLease
from worker.protocol.keys import targets_unit
from worker.protocol.queue import JobState
from worker.reconcile import Heartbeat, Reconciler


def begun(
    bench: Bench, *, ttl_seconds: float = 30.0, report_seconds: float = REPORT_SECONDS
) -> tuple[str, Lease, CurrentJob]:
    """A batch whose only shard this process has begun."""
    batch = take_in(bench.ledger, fact("P", "x")).record.spec.id
    lease = lease_of(bench.ledger, targets_unit(batch, 0), ttl_seconds=ttl_seconds)
    bench.ledger.transitions.begin_shard(batch, 0, lease)
    current = CurrentJob(
        bench.ledger, bench.queue, lease_seconds=ttl_seconds, holder="test", report_seconds=report_seconds
    )
    return batch, lease, current


def sender(bench: Bench, batch: str, lease: Lease) -> Callable[[Progress], None]:
    return lambda progress: bench.ledger.transitions.progress([batch], progress, lease)


def number(bench: Bench, batch: str) -> int:
    return bench.ledger.batches.get(batch).progress_number


def test_heartbeat_reports_and_keeps_the_lease_while_the_work_is_silent(bench: Bench, tmp_path: Path) -> None:
    batch, lease, current = begun(bench, ttl_seconds=3.0)
    store = VersionStore(StoreLayout(tmp_path))
    reconciler = Reconciler(ledger=bench.ledger, queue=bench.queue, store=store, metrics=Metrics(), current=current)
    heartbeat = Heartbeat(current, reconciler, reconcile_seconds=0.1)
    heartbeat.start()
    try:
        with current.job(lease.unit), current.working(lease, send=sender(bench, batch, lease)) as work:
            work.begin("computing", 5)
            first = number(bench, batch)
            deadline = time.monotonic() + 60
            while number(bench, batch) < first + 2 and time.monotonic() < deadline:
                time.sleep(0.05)
            assert number(bench, batch) >= first + 2
            assert bench.ledger.leases.holds(lease)
            assert bench.queue.job_state(lease.unit) == JobState.RUNNING
            assert bench.queue.depth() == 0
    finally:
        heartbeat.stop()
    assert bench.queue.job_state(lease.unit) == JobState.NONE


def test_work_whose_lease_is_lost_ends_at_its_next_step(bench: Bench) -> None:
    batch, lease, current = begun(bench)
    with current.working(lease, send=sender(bench, batch, lease)) as work:
        work.begin("computing", 5)
        bench.ledger.leases.release(lease)
        current.beat()
        with pytest.raises(StaleLease):
            work.on_progress(1, 5)


def test_work_on_a_cancelled_batch_ends_at_its_next_report(bench: Bench) -> None:
    batch, lease, current = begun(bench)
    with current.working(lease, send=sender(bench, batch, lease)) as work:
        bench.ledger.transitions.cancel(batch)
        with pytest.raises(StaleLease):
            work.begin("computing", 5)


def test_stopping_worker_ends_its_work_at_the_next_step(bench: Bench) -> None:
    batch, lease, current = begun(bench)
    with current.working(lease, send=sender(bench, batch, lease)) as work:
        work.begin("computing", 5)
        current.stop()
        with pytest.raises(WorkerStopping):
            work.on_progress(1, 5)


def test_nothing_is_reported_after_the_phase_has_ended(bench: Bench) -> None:
    batch, lease, current = begun(bench, report_seconds=0.0)
    with current.working(lease, send=sender(bench, batch, lease)) as work:
        work.begin("computing", 5)
        current.beat()
        work.end()
        last = number(bench, batch)
        current.beat()
        assert number(bench, batch) == last


def test_progress_estimates_how_long_the_phase_will_take(bench: Bench) -> None:
    batch, lease, current = begun(bench, report_seconds=0.0)
    with current.working(lease, send=sender(bench, batch, lease)) as work:
        work.begin("computing", 4)
        time.sleep(0.2)
        work.on_progress(1, 4)
    reported = bench.ledger.batches.get(batch).progress
    assert reported is not None
    assert (reported.phase, reported.done, reported.total) == ("computing", 1, 4)
    assert reported.eta_s is not None
    assert reported.eta_s >= 0.5


def test_work_goes_on_while_redis_is_away_for_less_than_the_lease(tmp_path: Path) -> None:
    with running_redis(tmp_path) as server, open_bench(server.url) as bench:
        batch, lease, current = begun(bench, ttl_seconds=60)
        with current.working(lease, send=sender(bench, batch, lease)) as work:
            assert server.process is not None
            server.process.kill()
            server.process.wait()
            work.begin("computing", 5)
            work.on_progress(1, 5)
            server.start()
            current.beat()
            work.on_progress(2, 5)
        assert bench.ledger.leases.holds(lease)
