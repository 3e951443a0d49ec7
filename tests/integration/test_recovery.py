from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from editing_core.edits import AcceptedEdit
from editing_core.errors import NotFound, StoreDamaged
from editing_core.versions.head import mark_published
from editing_core.versions.layout import StoreLayout
from editing_core.versions.manifest import Manifest
from editing_core.versions.store import VersionStore
from tests.support.facts import fact, take_in
from tests.support.redis_server import Bench
from worker.manifest_records import version_record
from worker.protocol.entities import BatchOptions, BatchSpec, BatchState, EditStatus, Pointer
from worker.protocol.errors import LedgerBehind
from worker.protocol.keys import Key
from worker.recovery import (
    highest_on_disk,
    reconcile_pointer,
    restore_from_store,
    sweep_unpublished,
)


@pytest.fixture
def store(tmp_path: Path) -> VersionStore:
    return VersionStore(StoreLayout(tmp_path))


def accepted(number: int, subject: str, target: str) -> AcceptedEdit:
    batch = f"b{number:016x}"
    return AcceptedEdit(
        id=f"e{number:016x}-00000",
        edit=fact(subject, target),
        batch=batch,
        acceptance=1000 + number,
        created="2026-01-01T00:00:00.000Z",
        author="ann",
    )


def summary(edit: AcceptedEdit, version: str) -> dict[str, object]:
    spec = BatchSpec(
        id=edit.batch,
        acceptance=edit.acceptance,
        created=edit.created,
        author=edit.author,
        options=BatchOptions(),
        num_edits=1,
        shard_size=64,
        request_hash="h",
    )
    return {**spec.summary(), "version": version}


def write(
    store: VersionStore,
    number: int,
    *,
    parent: str,
    entered: dict[str, str],
    live: list[AcceptedEdit],
    superseded: tuple[AcceptedEdit, ...] = (),
) -> str:
    """A version whose edits entered in the versions told by ``entered`` (edit id -> version)."""
    manifest = Manifest(
        version=f"v{number}",
        parent=parent,
        created="2026-01-01T00:00:00Z",
        store="s",
        model_fingerprint="f",
        settings={},
        edits=tuple(edit.to_json() for edit in live),
        superseded=tuple(edit.to_json() for edit in superseded),
        batches={edit.batch: summary(edit, entered[edit.id]) for edit in (*live, *superseded)},
        delta_norms={"w": 0.1},
        checks={"reliability": 1.0},
        tensors={},
    )
    return store.write(manifest, {"w": torch.full((2, 2), float(number))}).version


def full_store(store: VersionStore) -> tuple[AcceptedEdit, AcceptedEdit]:
    """v7 holds Q's first edit, v9 (live, revision 5) its second; P's edit entered in v3, whose files are gone."""
    p, q_old, q_new = accepted(1, "P", "x"), accepted(2, "Q", "old"), accepted(3, "Q", "new")
    entered = {p.id: "v3", q_old.id: "v7", q_new.id: "v9"}
    write(store, 7, parent="v5", entered=entered, live=[p, q_old])
    write(store, 9, parent="v7", entered=entered, live=[p, q_new], superseded=(q_old,))
    store.write_head(5, "v9")
    return p, q_old


def test_a_new_redis_with_a_new_store_points_at_the_original(bench: Bench, store: VersionStore) -> None:
    assert reconcile_pointer(bench.ledger, store) == Pointer(revision=0, version="v0")
    assert bench.ledger.versions.known_pointer() == Pointer(revision=0, version="v0")
    head = store.read_head()
    assert head is not None
    assert (head.revision, head.version) == (0, "v0")


def test_an_empty_redis_with_a_full_store_gets_its_ledger_back_and_a_log_line_reports_it(
    bench: Bench, store: VersionStore, caplog: pytest.LogCaptureFixture
) -> None:
    p, q_old = full_store(store)
    with caplog.at_level(logging.WARNING):
        assert reconcile_pointer(bench.ledger, store) == Pointer(revision=5, version="v9")
    assert "ledger.rebuilt" in caplog.text
    ledger = bench.ledger
    assert ledger.edits.get(p.id).accepted == p
    assert (ledger.edits.get(p.id).status, ledger.edits.get(p.id).version) == (EditStatus.LIVE, "v3")
    assert ledger.edits.get(q_old.id).status == EditStatus.SUPERSEDED
    record = ledger.batches.get(p.batch)
    assert (record.status, record.version, record.spec.author) == (BatchState.APPLIED, "v3", "ann")
    assert [edit.id for edit in ledger.batches.edits(q_old.batch)] == [q_old.id]
    assert [row.id for row in ledger.versions.page().items] == ["v9", "v7", "v0"]
    assert ledger.versions.get("v9").checks == {"reliability": 1.0}
    assert ledger.batches.count_open() == 0


def test_rebuilt_ledger_knows_descent_from_versions_whose_files_are_gone(bench: Bench, store: VersionStore) -> None:
    full_store(store)
    ledger = bench.ledger
    reconcile_pointer(ledger, store)
    assert ledger.versions.descends("v9", "v7")
    assert ledger.versions.descends("v9", "v5")
    assert ledger.versions.descends("v9", "v3")
    assert not ledger.versions.descends("v9", "v4")


def test_batch_accepted_before_the_rebuild_is_kept_and_counts_as_accepted_later(
    bench: Bench, store: VersionStore
) -> None:
    p, _ = full_store(store)
    waiting = take_in(bench.ledger, fact("P", "later"))
    reconcile_pointer(bench.ledger, store)
    assert bench.ledger.batches.get(waiting.record.spec.id).status == BatchState.QUEUED
    assert waiting.record.spec.acceptance > p.acceptance
    assert bench.ledger.edits.about("P") == [waiting.edits[0].id, p.id]


def test_rebuild_is_done_once_when_two_processes_start_together(bench: Bench, store: VersionStore) -> None:
    full_store(store)
    reconcile_pointer(bench.ledger, store)
    bench.ledger.publication.promote("v7", author=None)
    assert reconcile_pointer(bench.ledger, store) == Pointer(revision=6, version="v7")


def test_redis_ahead_of_head_is_copied_to_head(bench: Bench, store: VersionStore) -> None:
    full_store(store)
    reconcile_pointer(bench.ledger, store)
    bench.ledger.publication.promote("v7", author="ann")
    reconcile_pointer(bench.ledger, store)
    head = store.read_head()
    assert head is not None
    assert (head.revision, head.version) == (6, "v7")


@pytest.mark.parametrize(("revision", "version"), [(6, "v9"), (5, "v7")])
def test_head_that_knows_more_than_redis_refuses_and_names_the_way_out(
    bench: Bench, store: VersionStore, revision: int, version: str
) -> None:
    full_store(store)
    reconcile_pointer(bench.ledger, store)
    store.write_head(revision, version)
    before = bench.ledger.versions.pointer()
    with pytest.raises(LedgerBehind, match="errata recover"):
        reconcile_pointer(bench.ledger, store)
    assert bench.ledger.versions.pointer() == before


def test_recover_prefers_the_files_to_an_older_redis(bench: Bench, store: VersionStore) -> None:
    """The old Redis still holds as queued what the files know to be applied."""
    ledger = bench.ledger
    old = take_in(ledger, fact("P", "x"))
    reconcile_pointer(ledger, store)
    (row,) = old.edits
    manifest_row = AcceptedEdit.from_json(row.to_json())
    write(store, 4, parent="v0", entered={row.id: "v4"}, live=[manifest_row])
    store.write_head(3, "v4")
    with pytest.raises(LedgerBehind):
        reconcile_pointer(ledger, store)
    restore_from_store(ledger, store, expected=ledger.versions.known_pointer())
    assert ledger.versions.pointer() == Pointer(revision=3, version="v4")
    assert ledger.batches.get(row.batch).status == BatchState.APPLIED
    assert ledger.edits.get(row.id).status == EditStatus.LIVE
    assert ledger.batches.count_open() == 0
    assert bench.redis.smembers(ledger.keys.at(Key.OPEN)) == set()


def test_versions_without_a_head_are_refused_by_name(bench: Bench, store: VersionStore) -> None:
    write(store, 1, parent="v0", entered={}, live=[])
    with pytest.raises(StoreDamaged, match="HEAD is missing beside 1 versions"):
        reconcile_pointer(bench.ledger, store)
    assert bench.ledger.versions.known_pointer() is None


def test_version_that_was_written_and_never_published_is_removed_and_its_number_not_used_again(
    bench: Bench, store: VersionStore
) -> None:
    full_store(store)
    reconcile_pointer(bench.ledger, store)
    write(store, 12, parent="v9", entered={}, live=[])
    number = bench.ledger.publication.new_version_number(above=highest_on_disk(store))
    sweep_unpublished(bench.ledger, store)
    assert store.list() == ["v0", "v7", "v9"]
    assert number == 13


def test_version_that_the_ledger_never_knew_is_not_marked_as_removed(bench: Bench, store: VersionStore) -> None:
    full_store(store)
    reconcile_pointer(bench.ledger, store)
    assert bench.ledger.publication.mark_removed(["v7", "v8"]) == ["v7"]
    with pytest.raises(NotFound):
        bench.ledger.versions.get("v8")


def test_a_version_record_agrees_with_the_manifest(store: VersionStore) -> None:
    p, _ = full_store(store)
    record = version_record(store.read_manifest("v7"), [p.batch])
    assert (record.id, record.parent, record.num_edits, record.batches) == ("v7", "v5", 2, (p.batch,))
    assert record.digest == store.read_manifest("v7").digest


def test_version_that_was_never_published_is_not_restored_and_its_batch_stays_open(
    bench: Bench, store: VersionStore
) -> None:
    full_store(store)
    (row,) = take_in(bench.ledger, fact("P", "later")).edits
    write(store, 10, parent="v9", entered={row.id: "v10"}, live=[row])
    reconcile_pointer(bench.ledger, store)
    assert bench.ledger.batches.get(row.batch).status == BatchState.QUEUED
    assert bench.ledger.versions.published() == {"v7", "v9"}


def test_published_version_off_the_line_of_head_is_restored_by_its_mark(bench: Bench, store: VersionStore) -> None:
    full_store(store)
    write(store, 11, parent="v7", entered={}, live=[])
    mark_published(store.layout, "v11")
    reconcile_pointer(bench.ledger, store)
    assert bench.ledger.versions.published() == {"v7", "v9", "v11"}
