"""On the demo model: of 40 good edits and 3 that break the checks, each alone, exactly the 3 are found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.poison import PoisonedBatch, against_own_neighbors, contradicting, of_both_kinds
from tests.support.redis_server import running_redis
from tests.support.worker_process import PreparedModel, WorkerBench, prepare_demo_model
from worker.protocol.entities import BatchOptions, BatchState, EditStatus

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
BATCHES = {"contradicting": contradicting(), "neighbors": against_own_neighbors(), "both": of_both_kinds()}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedModel:
    return prepare_demo_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(params=BATCHES)
def poisoned(request: pytest.FixtureRequest) -> PoisonedBatch:
    return BATCHES[request.param]


@pytest.fixture
def place(prepared: PreparedModel, poisoned: PoisonedBatch, tmp_path: Path) -> Iterator[WorkerBench]:
    """A worker whose live version holds what the batch goes onto."""
    with running_redis(tmp_path / "redis") as redis:
        bench = prepared.bench(tmp_path / "data", redis.url)
        with bench.worker():
            if poisoned.live:
                assert bench.wait(bench.send(*poisoned.live)).status == BatchState.APPLIED
            yield bench


def test_drop_applies_the_good_edits_and_reject_names_the_poisoned_ones(
    place: WorkerBench, poisoned: PoisonedBatch
) -> None:
    before = place.ledger.versions.pointer()
    rejected = place.wait(place.send(*poisoned.good, *poisoned.poisoned))
    assert rejected.status == BatchState.REJECTED
    assert named_in(place, rejected.report) == set(poisoned.poisoned)
    assert place.ledger.versions.pointer() == before

    batch = place.send(*poisoned.good, *poisoned.poisoned, options=BatchOptions(on_failure="drop"))
    applied = place.wait(batch)
    assert applied.status == BatchState.APPLIED, applied.error
    assert named_in(place, applied.report) == set(poisoned.poisoned)
    rows = place.ledger.edits.find(batch=batch).items
    assert {row.accepted.edit for row in rows if row.status == EditStatus.LIVE} == set(poisoned.good)
    assert {row.accepted.edit for row in rows if row.status == EditStatus.DROPPED} == set(poisoned.poisoned)


def named_in(place: WorkerBench, report: dict[str, object] | None) -> set[object]:
    assert report is not None
    culprits = report["culprits"]
    assert isinstance(culprits, list)
    return {place.ledger.edits.get(row["id"]).accepted.edit for row in culprits}
