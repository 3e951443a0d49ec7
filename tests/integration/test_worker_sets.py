"""Edits as a set, with a real worker: superseding, taking out, candidates and dry runs, down to the bits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from editing_core.errors import NotFound
from editing_core.versions.manifest import EMPTY_DIGEST
from tests.support.facts import fact
from tests.support.redis_server import running_redis
from tests.support.worker_process import PreparedModel, WorkerBench, prepare_model
from worker.protocol.entities import BatchOptions, BatchRecord, BatchState, EditStatus
from worker.protocol.errors import StaleCandidate

MANUAL = BatchOptions(promote="manual")
DRY = BatchOptions(dry_run=True)


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


def digest(place: WorkerBench) -> str:
    return place.ledger.versions.get(place.ledger.versions.pointer().version).digest


def only_edit(place: WorkerBench, batch: str) -> str:
    (edit,) = place.ledger.batches.edits(batch)
    return edit.id


def test_taking_an_edit_out_gives_the_weights_that_would_be_there_without_it(place: WorkerBench) -> None:
    applied(place, place.send(fact("Ada", "Rome")))
    alone = digest(place)
    second = place.send(fact("Chopin", "Oslo"))
    applied(place, second)
    assert digest(place) != alone
    doomed = only_edit(place, second)
    record = applied(place, place.send(remove=[doomed]))
    assert digest(place) == alone
    assert record.report is not None
    assert (record.report["passed"], record.report["taken_out"]) == (True, [doomed])
    assert place.ledger.edits.get(doomed).status == EditStatus.TAKEN_OUT


def test_with_nothing_left_the_weights_are_the_originals(place: WorkerBench) -> None:
    batch = place.send(fact("Ada", "Rome"), fact("Chopin", "Oslo"))
    applied(place, batch)
    applied(place, place.send(remove=[row.id for row in place.ledger.batches.edits(batch)]))
    assert digest(place) == EMPTY_DIGEST
    assert place.store.load_tensors(place.ledger.versions.pointer().version, "cpu") == {}


def test_taking_out_the_later_of_two_brings_the_earlier_back(place: WorkerBench) -> None:
    first = place.send(fact("Ada", "Rome"))
    applied(place, first)
    before = digest(place)
    second = place.send(fact("Ada", "Oslo"))
    record = applied(place, second)
    assert record.report is not None
    old, new = only_edit(place, first), only_edit(place, second)
    assert record.report["superseded"] == {new: old}
    assert place.ledger.edits.get(old).status == EditStatus.SUPERSEDED
    record = applied(place, place.send(remove=[new]))
    assert record.report is not None
    assert record.report["restored"] == [old]
    assert (digest(place), place.ledger.edits.get(old).status) == (before, EditStatus.LIVE)


def test_a_superseded_edit_can_be_taken_out_and_does_not_come_back(place: WorkerBench) -> None:
    first = place.send(fact("Ada", "Rome"))
    applied(place, first)
    second = place.send(fact("Ada", "Oslo"))
    applied(place, second)
    before = digest(place)
    applied(place, place.send(remove=[only_edit(place, first)]))
    assert (digest(place), place.ledger.edits.get(only_edit(place, first)).status) == (before, EditStatus.TAKEN_OUT)
    applied(place, place.send(remove=[only_edit(place, second)]))
    assert digest(place) == EMPTY_DIGEST


def test_one_batch_can_put_an_edit_in_the_place_of_another(place: WorkerBench) -> None:
    first = place.send(fact("Ada", "Rome"))
    applied(place, first)
    exchange = place.send(fact("Chopin", "Oslo"), remove=[only_edit(place, first)])
    applied(place, exchange)
    live = place.ledger.versions.live_edit_ids(place.ledger.versions.pointer().version)
    assert live == {only_edit(place, exchange)}


def test_the_same_edit_again_changes_nothing_and_makes_no_version(place: WorkerBench) -> None:
    first = place.send(fact("Ada", "Rome"))
    version = applied(place, first).version
    again = place.send(fact("Ada", "Rome"))
    record = applied(place, again)
    assert (record.version, place.ledger.versions.pointer().version) == (version, version)
    found = place.ledger.edits.get(only_edit(place, again))
    assert (found.status, found.report) == (EditStatus.DROPPED, {"same_as": only_edit(place, first)})


def test_the_same_edit_together_with_a_new_one_leaves_the_first_in_force(place: WorkerBench) -> None:
    first = place.send(fact("Ada", "Rome"))
    applied(place, first)
    batch = place.send(fact("Ada", "Rome"), fact("Chopin", "Oslo"))
    record = applied(place, batch)
    again, new = (row.id for row in place.ledger.batches.edits(batch))
    assert record.report is not None
    assert (record.report["num_checked"], record.report["same_as"]) == (1, {again: only_edit(place, first)})
    assert place.ledger.versions.live_edit_ids(place.ledger.versions.pointer().version) == {
        only_edit(place, first),
        new,
    }
    assert place.ledger.edits.get(again).status == EditStatus.DROPPED


def test_a_dry_run_reports_everything_and_changes_nothing(place: WorkerBench) -> None:
    applied(place, place.send(fact("Ada", "Rome")))
    pointer, folders = place.ledger.versions.pointer(), place.store.folders()
    batch = place.send(fact("Ada", "Oslo"), fact("Chopin", "Oslo"), options=DRY)
    record = place.wait(batch)
    assert record.status == BatchState.REPORTED, record
    assert record.report is not None
    assert (record.report["num_checked"], len(record.report["superseded"])) == (2, 1)
    assert place.ledger.versions.pointer() == pointer
    assert set(place.store.folders()) <= set(folders)  # older ones may have gone by now
    edits = [place.ledger.edits.get(row.id) for row in place.ledger.batches.edits(batch)]
    assert all(found.report and "writes" in found.report for found in edits)


def test_a_candidate_waits_next_to_the_live_version_until_it_is_promoted(place: WorkerBench) -> None:
    applied(place, place.send(fact("Ada", "Rome")))
    live = place.ledger.versions.pointer().version
    batch = place.send(fact("Chopin", "Oslo"), options=MANUAL)
    record = place.wait(batch, BatchState.CANDIDATE)
    assert record.status == BatchState.CANDIDATE, record
    assert record.version is not None
    assert place.ledger.versions.pointer().version == live
    candidate = place.ledger.versions.get(record.version)
    assert (candidate.status, candidate.parent) == ("candidate", live)
    assert candidate.expires is not None
    assert place.ledger.edits.get(only_edit(place, batch)).status == EditStatus.CANDIDATE
    promotion = place.ledger.publication.promote(record.version, author="op")
    assert (promotion.previous, promotion.rolled_back, promotion.restored) == (live, (), ())
    assert place.ledger.batches.get(batch).status == BatchState.APPLIED
    assert place.ledger.edits.get(only_edit(place, batch)).status == EditStatus.LIVE
    assert place.ledger.versions.get(record.version).status == "live"


def test_a_candidate_of_another_parent_is_stale_and_promotable_again_once_its_parent_is_live(
    place: WorkerBench,
) -> None:
    applied(place, place.send(fact("Ada", "Rome")))
    parent = place.ledger.versions.pointer().version
    made = place.wait(place.send(fact("Chopin", "Oslo"), options=MANUAL), BatchState.CANDIDATE).version
    assert made is not None
    applied(place, place.send(fact("Borg", "Oslo")))
    with pytest.raises(StaleCandidate, match=f"{made} was made from {parent}"):
        place.ledger.publication.promote(made, author=None)
    place.ledger.publication.promote(parent, author=None)
    assert place.ledger.publication.promote(made, author=None).pointer.version == made


def test_a_discarded_candidate_is_gone_with_its_files_after_the_next_commit(place: WorkerBench) -> None:
    batch = place.send(fact("Chopin", "Oslo"), options=MANUAL)
    made = place.wait(batch, BatchState.CANDIDATE).version
    assert made is not None
    assert place.ledger.publication.discard([made], reason="not wanted") == [made]
    assert place.ledger.publication.discard([made], reason="not wanted") == []
    record = place.ledger.batches.get(batch)
    assert (record.status, record.error) == (BatchState.DISCARDED, "not wanted")
    with pytest.raises(NotFound, match="no longer kept"):
        place.ledger.publication.promote(made, author=None)
    applied(place, place.send(fact("Borg", "Oslo")))
    assert made not in place.store.folders()


def test_a_batch_that_waits_for_approval_does_not_delay_later_ones(place: WorkerBench) -> None:
    waits = place.send(fact("Ada", "Rome"), options=MANUAL)
    goes = place.send(fact("Chopin", "Oslo"))
    record = applied(place, goes)
    assert record.version is not None
    assert place.wait(waits, BatchState.CANDIDATE).status == BatchState.CANDIDATE
    assert {row.id for row in place.store.read_manifest(record.version).live} == {only_edit(place, goes)}


def test_candidates_that_are_not_promoted_in_time_are_discarded(prepared: PreparedModel, tmp_path: Path) -> None:
    with running_redis(tmp_path / "redis") as redis:
        bench = prepared.bench(tmp_path / "data", redis.url, reconcile_seconds=0.2, candidate_seconds=0.5)
        with bench.worker():
            batch = bench.send(fact("Ada", "Rome"), options=MANUAL)
            record = bench.wait(batch, BatchState.DISCARDED)
    assert (record.status, record.error) == (BatchState.DISCARDED, "it was not promoted in time")
