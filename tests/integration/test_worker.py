"""The worker in its own process, with a real Redis and a tiny model of each architecture."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from editing_core.errors import InvalidSettings
from tests.support.facts import fact
from tests.support.ledger_steps import lease_of
from tests.support.redis_server import Bench, running_redis
from tests.support.tiny_models import TINY_FAMILIES
from tests.support.waiting import until
from tests.support.worker_process import PreparedModel, WorkerBench, prepare_model
from worker.main import open_worker
from worker.protocol.entities import BatchState, EditStatus
from worker.protocol.errors import UnsafeRedis
from worker.protocol.keys import COMMIT_UNIT
from worker.protocol.settings import Settings


@pytest.fixture(scope="module", params=TINY_FAMILIES)
def prepared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> PreparedModel:
    return prepare_model(tmp_path_factory.mktemp("model"), request.param)


@pytest.fixture(scope="module")
def place(prepared: PreparedModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerBench]:
    """A worker that runs for the whole module."""
    folder = tmp_path_factory.mktemp("place")
    with running_redis(folder / "redis") as redis:
        bench = prepared.bench(folder / "data", redis.url, reconcile_seconds=0.5)
        with bench.worker():
            yield bench


def test_accepted_batch_goes_live_with_its_report_and_its_version_on_disk(place: WorkerBench) -> None:
    batch = place.send(fact("Ada", "Rome"), fact("Chopin", "Oslo"))
    record = place.wait(batch)
    assert record.status == BatchState.APPLIED, record
    assert record.report is not None
    assert (record.report["passed"], record.report["num_checked"]) == (True, 2)
    assert record.version is not None
    manifest = place.store.read_manifest(record.version)
    edits = place.ledger.batches.edits(batch)
    assert {edit.id for edit in edits} <= {edit.id for edit in manifest.live}
    assert place.ledger.versions.live_edit_ids(record.version) == {edit.id for edit in manifest.live}
    assert place.ledger.versions.get(record.version).digest == manifest.digest
    assert manifest.batches[batch]["version"] == record.version
    shown = place.ledger.edits.get(edits[0].id)
    assert (shown.status, shown.version) == (EditStatus.LIVE, record.version)
    assert shown.report is not None
    assert isinstance(shown.report["holds"], bool)
    assert place.ledger.batches.edit_outcomes()["applied"] >= 2
    stages = {"queued", "computing", "applying", "keys", "solve", "checking", "publishing"}
    assert set(place.ledger.batches.stage_times()) == stages


def _lines_of(place: WorkerBench, batch: str) -> list[str]:
    """The log's lines about a batch, whole ones alone."""
    return [line for line in place.log.read_text().split("\n")[:-1] if batch in line]


def test_the_id_of_the_request_that_brought_a_batch_is_in_every_line_of_its_work(place: WorkerBench) -> None:
    batch = place.send(fact("Euler", "Rome"), request="trace-8")
    assert place.wait(batch).status == BatchState.APPLIED
    until(lambda: any('"version.published"' in line for line in _lines_of(place, batch)))
    lines = [json.loads(line) for line in _lines_of(place, batch)]
    assert {"targets.computed", "commit.started", "version.published"} <= {line["event"] for line in lines}
    assert all("trace-8" in {line.get("request"), *line.get("requests", ())} for line in lines), lines


def test_later_edit_about_the_same_thing_supersedes_the_earlier_one(place: WorkerBench) -> None:
    first = place.send(fact("Borg", "Rome"))
    place.wait(first)
    second = place.send(fact("Borg", "Oslo"))
    assert place.wait(second).status == BatchState.APPLIED
    about = place.ledger.edits.find(subject="Borg").items
    assert [(row.accepted.edit.target_new, row.status) for row in about] == [
        ("Oslo", EditStatus.LIVE),
        ("Rome", EditStatus.SUPERSEDED),
    ]


def test_edit_that_the_model_cannot_take_rejects_its_batch_by_name(place: WorkerBench) -> None:
    before = place.ledger.versions.pointer()
    batch = place.send(fact("Zola", "Rome"), fact("Zola " * 300 + "II", "Oslo"))
    record = place.wait(batch)
    bad = place.ledger.batches.edits(batch)[1].id
    assert record.status == BatchState.REJECTED
    assert record.error is not None
    assert bad in record.error
    shown = place.ledger.edits.get(bad)
    assert shown.report is not None
    assert shown.report["problem"] in record.error
    assert place.ledger.versions.pointer() == before


def test_ready_batches_go_in_together_and_their_missing_targets_are_computed(place: WorkerBench) -> None:
    held = lease_of(place.ledger, COMMIT_UNIT)  # no commit begins before all are ready
    batches = [place.make_ready(fact(f"Danube {i}", "Rome")) for i in range(3)]
    place.ledger.leases.release(held)
    place.queue.enqueue_unit(COMMIT_UNIT)
    records = [place.wait(batch) for batch in batches]
    assert {record.status for record in records} == {BatchState.APPLIED}
    assert len({record.version for record in records}) == 1


def test_next_batch_goes_onto_the_set_that_a_rollback_restored(place: WorkerBench) -> None:
    kept = place.send(fact("Xian", "Rome"))
    kept_record = place.wait(kept)
    gone = place.send(fact("Oslo", "Rome"))
    place.wait(gone)
    assert kept_record.version is not None
    place.ledger.publication.promote(kept_record.version, author="ann")
    later = place.send(fact("Bergen", "Rome"))
    record = place.wait(later)
    assert record.version is not None
    manifest = place.store.read_manifest(record.version)
    assert manifest.parent == kept_record.version
    assert {kept, later} <= {edit.batch for edit in manifest.live}
    assert gone not in {edit.batch for edit in manifest.live}
    assert place.ledger.edits.find(batch=gone).items[0].status == EditStatus.ROLLED_BACK


def test_batch_without_edits_that_count_is_applied_and_superseded_at_once(place: WorkerBench) -> None:
    """Accepted earlier, ready later: the one accepted last stays in force."""
    early = place.make_ready(fact("Nile", "Rome"))
    late = place.send(fact("Nile", "Oslo"))
    assert place.wait(late).status == BatchState.APPLIED
    assert place.wait(early).status == BatchState.APPLIED
    rows = place.ledger.edits.find(subject="Nile").items
    assert [row.status for row in rows] == [EditStatus.LIVE, EditStatus.SUPERSEDED]


def test_worker_without_a_redis_refuses_to_start(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="REDIS_URL"):
        open_worker(Settings(data=tmp_path))


def test_worker_refuses_a_redis_that_may_lose_batches(bench: Bench, tmp_path: Path) -> None:
    bench.redis.config_set("appendfsync", "everysec")
    try:
        with pytest.raises(UnsafeRedis, match="appendfsync"):
            open_worker(Settings.model_validate({"data": tmp_path, "redis_url": bench.url}))
    finally:
        bench.redis.config_set("appendfsync", "always")
