"""Batches that go in without some of their edits, or with nothing that is new: each is told, and each ends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.facts import fact
from tests.support.redis_server import running_redis
from tests.support.worker_process import PreparedModel, WorkerBench, prepare_model
from worker.protocol.entities import BatchOptions, BatchRecord, BatchState, EditStatus

DROP = BatchOptions(on_failure="drop")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedModel:
    return prepare_model(tmp_path_factory.mktemp("model"), "gptj")


@pytest.fixture(scope="module")
def place(prepared: PreparedModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerBench]:
    folder = tmp_path_factory.mktemp("place")
    with running_redis(folder / "redis") as redis:
        bench = prepared.bench(folder / "data", redis.url, reconcile_seconds=0.5)
        with bench.worker():
            yield bench


@pytest.fixture(autouse=True)
def original(place: WorkerBench) -> None:
    """Each test begins with the untouched model live."""
    place.ledger.publication.promote("v0", author=None)


def applied(place: WorkerBench, batch: str) -> BatchRecord:
    record = place.wait(batch)
    assert record.status == BatchState.APPLIED, record
    return record


def test_a_batch_that_may_drop_edits_continues_without_those_that_the_tokenizer_rejects(place: WorkerBench) -> None:
    batch = place.send(fact("Ada", "Rome"), fact("Borg " * 300 + "II", "Oslo"), options=DROP)
    record = applied(place, batch)
    good, bad = (place.ledger.edits.get(row.id) for row in place.ledger.batches.edits(batch))
    assert (good.status, bad.status) == (EditStatus.LIVE, EditStatus.DROPPED)
    assert record.report is not None
    assert record.report["dropped"] == [bad.accepted.id]
    assert bad.report is not None
    assert bad.report["problem"] == bad.report["culprit"]["why"]
    assert record.version is not None
    assert [row.id for row in place.store.read_manifest(record.version).dropped_edits] == [bad.accepted.id]


def test_edits_that_the_tokenizer_rejects_are_reported_even_if_the_others_change_nothing(place: WorkerBench) -> None:
    version = applied(place, place.send(fact("Ada", "Rome"))).version
    assert version is not None
    batch = place.send(fact("Ada", "Rome"), fact("Borg " * 300 + "II", "Oslo"), options=DROP)
    record = applied(place, batch)
    same, bad = (place.ledger.edits.get(row.id) for row in place.ledger.batches.edits(batch))
    assert record.version is not None
    assert place.ledger.versions.get(record.version).digest == place.ledger.versions.get(version).digest
    assert (same.status, bad.status) == (EditStatus.DROPPED, EditStatus.DROPPED)
    assert same.report is not None
    assert "same_as" in same.report
    assert bad.report is not None
    assert "problem" in bad.report


def test_a_batch_without_usable_edits_is_rejected_even_if_it_may_drop_edits(place: WorkerBench) -> None:
    record = place.wait(place.send(fact("Borg " * 300 + "II", "Oslo"), options=DROP))
    assert record.status == BatchState.REJECTED


def test_a_repeated_edit_ends_although_it_was_tried_with_a_batch_that_fails(
    prepared: PreparedModel, tmp_path: Path
) -> None:
    with running_redis(tmp_path / "redis") as redis:
        bench = prepared.bench(tmp_path / "data", redis.url, reconcile_seconds=0.5)
        with bench.worker() as lax:
            version = applied(bench, bench.send(fact("Ada", "Rome"))).version
            lax.terminate()
            lax.wait(60)
        strict = replace(bench, settings=bench.settings | {"max_delta_per_edit": 1e-6})
        failing, again = strict.make_ready(fact("Chopin", "Oslo")), strict.make_ready(fact("Ada", "Rome"))
        with strict.worker():
            assert strict.wait(failing).status == BatchState.REJECTED
            assert applied(strict, again).version == version
