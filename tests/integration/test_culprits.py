"""A batch that fails its checks loses the edits to blame, or names them: real worker, real Redis, a tiny model.

A random model has nothing that edits could take from it but its drift, so that limit is set between what some and what
all edits of a batch cost.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from editing_core.edits import Edit
from tests.support.facts import fact
from tests.support.redis_server import running_redis
from tests.support.worker_process import PreparedModel, WorkerBench, prepare_model
from worker.protocol.entities import BatchOptions, BatchRecord, BatchState, EditStatus

SUBJECTS = ("Ada", "Chopin", "Borg", "the Danube", "Zola", "Xian", "Rio de Janeiro", "Emile")
DROP = BatchOptions(on_failure="drop")
MAX_DRIFT = 0.2
"""All eight together cost 0.4 nats, the worst alone 0.12."""


def edits(mark: str = "") -> list[Edit]:
    return [fact(subject + mark, target) for subject, target in zip(SUBJECTS, ["Rome", "Oslo"] * 4, strict=True)]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedModel:
    return prepare_model(tmp_path_factory.mktemp("model"), "gptj")


@pytest.fixture
def place(prepared: PreparedModel, tmp_path: Path) -> Iterator[WorkerBench]:
    with running_redis(tmp_path / "redis") as redis:
        bench = prepared.bench(tmp_path / "data", redis.url, reconcile_seconds=0.5, max_drift=MAX_DRIFT)
        with bench.worker():
            yield bench


def culprits_of(record: BatchRecord) -> list[str]:
    assert record.report is not None
    return [row["id"] for row in record.report["culprits"]]


def test_drop_goes_on_without_the_edits_to_blame_and_reject_names_the_same(place: WorkerBench) -> None:
    rejected = place.wait(place.send(*edits()))
    assert rejected.status == BatchState.REJECTED
    assert rejected.error is not None
    assert place.ledger.versions.pointer().version == "v0"
    dropping = place.send(*edits(), options=DROP)
    applied = place.wait(dropping)
    assert (applied.status, applied.version) == (BatchState.APPLIED, place.ledger.versions.pointer().version)
    assert applied.report is not None
    dropped = culprits_of(applied)
    assert 0 < len(dropped) < len(SUBJECTS)
    assert applied.report["dropped"] == dropped
    assert applied.report["drift"] <= MAX_DRIFT
    assert applied.report["culprit_search"]["complete"]
    named = [place.ledger.edits.get(edit).accepted.edit for edit in culprits_of(rejected)]
    assert named == [place.ledger.edits.get(edit).accepted.edit for edit in dropped], "equal batches, equal culprits"
    assert all(edit in rejected.error for edit in culprits_of(rejected))

    assert applied.version is not None
    manifest = place.store.read_manifest(applied.version)
    own = {edit.id for edit in place.ledger.batches.edits(dropping)}
    assert {edit.id for edit in manifest.live} == own - set(dropped)
    reported = {row["id"]: row for row in applied.report["culprits"]}
    for edit in dropped:
        shown = place.ledger.edits.get(edit)
        assert shown.status == EditStatus.DROPPED
        assert shown.report is not None
        assert shown.report["culprit"]["why"] == reported[edit]["why"]
        assert "drift" in reported[edit]["limits"]
        assert shown.report["holds"] is False
    counts = place.ledger.batches.edit_outcomes()
    assert (counts["applied"], counts["dropped"]) == (len(own) - len(dropped), len(dropped))


def test_a_failing_group_is_taken_apart_before_edits_are_and_edits_of_the_failing_batch_alone_are_named(
    place: WorkerBench,
) -> None:
    good = place.make_ready(fact("Nile", "Rome"))
    bad = place.make_ready(*edits(), options=DROP)
    place.queue.enqueue_unit("commit")
    records = {batch: place.wait(batch) for batch in (good, bad)}
    assert records[good].status == BatchState.APPLIED
    assert "culprits" not in (records[good].report or {})
    assert {edit.rpartition("-")[0] for edit in culprits_of(records[bad])} == {f"e{bad[1:]}"}
    assert place.ledger.edits.get(place.ledger.batches.edits(good)[0].id).status == EditStatus.LIVE


@pytest.mark.slow
def test_where_every_edit_is_to_blame_nothing_is_left_to_apply(prepared: PreparedModel, tmp_path: Path) -> None:
    with running_redis(tmp_path / "redis") as redis:
        bench = prepared.bench(tmp_path / "data", redis.url, max_drift=1e-6)
        with bench.worker():
            record = bench.wait(bench.send(*edits()[:3], options=DROP))
    assert record.status == BatchState.REJECTED
    assert len(culprits_of(record)) == 3
    assert record.error is not None
    assert "nothing is left without them" in record.error


@pytest.mark.slow
def test_a_full_store_blames_no_edit_and_drops_none(prepared: PreparedModel, tmp_path: Path) -> None:
    with running_redis(tmp_path / "redis") as redis:
        bench = prepared.bench(tmp_path / "data", redis.url)
        with bench.worker():
            assert bench.wait(bench.send(*edits())).status == BatchState.APPLIED
        bench.settings = bench.settings | {"max_drift": MAX_DRIFT}
        with bench.worker():
            record = bench.wait(bench.send(fact("Nile", "Rome"), options=DROP))
    assert record.status == BatchState.REJECTED
    assert record.error is not None
    assert "no edit of this batch is to blame; the store is full: 9 live edits, drift" in record.error
    assert "culprits" not in (record.report or {})


@pytest.mark.slow
def test_no_edit_is_named_if_no_tries_are_allowed(prepared: PreparedModel, tmp_path: Path) -> None:
    with running_redis(tmp_path / "redis") as redis:
        bench = prepared.bench(tmp_path / "data", redis.url, max_drift=MAX_DRIFT, culprit_tries=0)
        with bench.worker():
            record = bench.wait(bench.send(*edits(), options=DROP))
    assert record.status == BatchState.REJECTED
    assert record.report is not None
    assert "culprits" not in record.report
