"""What is removed, what is kept, and that nothing which is read or needed goes."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import torch

from editing_core.durable import locked
from editing_core.errors import NotFound
from editing_core.memit.search.pool import Target
from editing_core.versions.layout import StoreLayout
from editing_core.versions.store import VersionStore
from editing_core.versions.target_files import TargetFiles
from tests.integration.test_recovery import accepted, full_store, write
from tests.support.facts import fact, take_in
from tests.support.redis_server import Bench
from worker.metrics import Metrics
from worker.protocol.errors import StaleLease
from worker.protocol.keys import Key
from worker.recovery import reconcile_pointer, retain_versions, sweep_unpublished
from worker.upkeep.retention import copy_pins
from worker.upkeep.sizes import store_bytes
from worker.upkeep.target_cleanup import collect_targets, contents_of

HOUR_SECONDS = 3600.0


@pytest.fixture
def store(tmp_path: Path) -> VersionStore:
    return VersionStore(StoreLayout(tmp_path))


@pytest.fixture
def seven(bench: Bench, store: VersionStore) -> VersionStore:
    """v1 to v7; v7 is live."""
    for number in range(1, 8):
        write(store, number, parent=f"v{number - 1}", entered={}, live=[])
    store.write_head(7, "v7")
    reconcile_pointer(bench.ledger, store)
    return store


def test_the_live_version_and_the_last_ones_stay_and_the_ledger_knows(bench: Bench, seven: VersionStore) -> None:
    bench.ledger.publication.promote("v2", author=None)
    retain_versions(bench.ledger, seven, keep=3)
    assert seven.list() == ["v0", "v2", "v5", "v6", "v7"]
    assert [row.id for row in bench.ledger.versions.page().items if row.removed] == ["v4", "v3", "v1"]


def test_pinned_versions_stay_until_they_are_unpinned(bench: Bench, seven: VersionStore) -> None:
    bench.ledger.versions.pin("v2", author="ann")
    retain_versions(bench.ledger, seven, keep=2)
    assert seven.list() == ["v0", "v2", "v6", "v7"]
    assert [row.id for row in bench.ledger.versions.page().items if row.pinned] == ["v2"]
    bench.ledger.versions.unpin("v2", author="ann")
    retain_versions(bench.ledger, seven, keep=2)
    assert seven.list() == ["v0", "v6", "v7"]
    with pytest.raises(NotFound, match="no longer kept"):
        bench.ledger.versions.pin("v2", author="ann")


def test_version_that_is_pinned_just_before_it_would_go_stays(bench: Bench, seven: VersionStore) -> None:
    plan = bench.ledger.versions.retention(keep=1, among=seven.list())
    assert [row.version for row in plan if row.why is None] == ["v6", "v5", "v4", "v3", "v2", "v1"]
    bench.ledger.versions.pin("v3", author=None)
    assert bench.ledger.publication.mark_removed(["v2", "v3", "v7"]) == ["v2"]


def test_version_that_is_being_read_stays_until_the_next_time(bench: Bench, seven: VersionStore) -> None:
    with locked(seven.layout.version_dir("v1"), shared=True), locked(seven.layout.version_dir("v1"), shared=True):
        retain_versions(bench.ledger, seven, keep=5)
        assert seven.list() == ["v0", *(f"v{number}" for number in (1, 3, 4, 5, 6, 7))]
        assert not bench.ledger.versions.get("v1").removed
    retain_versions(bench.ledger, seven, keep=5)
    assert "v1" not in seven.list()


def test_removal_that_was_broken_off_after_the_ledger_knew_is_finished(bench: Bench, seven: VersionStore) -> None:
    assert bench.ledger.publication.mark_removed(["v1"]) == ["v1"]
    assert "v1" in seven.list()
    retain_versions(bench.ledger, seven, keep=7)
    assert seven.list() == ["v0", *(f"v{number}" for number in range(2, 8))]


def test_pins_outlive_redis(bench: Bench, seven: VersionStore) -> None:
    bench.ledger.versions.pin("v2", author="ann")
    bench.ledger.versions.pin("v3", author="ann")
    copy_pins(bench.ledger, seven)
    bench.ledger.versions.unpin("v3", author="ann")
    copy_pins(bench.ledger, seven)
    for version in range(1, 8):
        (seven.layout.version_dir(f"v{version}") / "published").touch()
    bench.redis.flushall()
    reconcile_pointer(bench.ledger, seven)
    assert bench.ledger.versions.pinned() == {"v2"}


def put_target(store: VersionStore, key: str, *contents: str, age_seconds: float) -> Path:
    target = Target(targets_EH=torch.ones(1, 2), delta_H=torch.ones(2), loss=0.0, nll=0.0, num_losses=1)
    TargetFiles(store.layout.targets_dir).write(key, target, edits=contents)
    path = store.layout.targets_dir / key[:2] / f"{key}.safetensors"
    then = time.time() - age_seconds
    os.utime(path, (then, then))
    return path


def test_z_files_that_nothing_needs_go_and_no_younger_one_does(bench: Bench, store: VersionStore) -> None:
    p, q_old = full_store(store)
    reconcile_pointer(bench.ledger, store)
    (waiting,) = take_in(bench.ledger, fact("Waiting", "x")).edits
    p_key, q_key, w_key = (edit.edit.content_key() for edit in (p, q_old, waiting))
    gone_key = accepted(9, "Gone", "x").edit.content_key()
    old = 2 * HOUR_SECONDS
    kept = [
        put_target(store, "aa1", p_key, age_seconds=old),
        put_target(store, "aa2", p_key, q_key, age_seconds=old),
        put_target(store, "bb1", w_key, age_seconds=old),
        put_target(store, "bb2", gone_key, age_seconds=0.5 * HOUR_SECONDS),
        put_target(store, "cc1", age_seconds=old),
    ]
    doomed = [
        put_target(store, "dd1", gone_key, age_seconds=old),
        put_target(store, "dd2", p_key, gone_key, age_seconds=old),
    ]
    assert contents_of(kept[1]) == {p_key, q_key}
    assert collect_targets(bench.ledger, store, guard=lambda: None) == 2
    assert [path.exists() for path in (*kept, *doomed)] == [True] * 5 + [False] * 2


def test_collection_ends_when_its_lease_does(bench: Bench, store: VersionStore) -> None:
    full_store(store)
    reconcile_pointer(bench.ledger, store)
    path = put_target(store, "dd1", "0" * 64, age_seconds=2 * HOUR_SECONDS)

    def guard() -> None:
        raise StaleLease("gone")

    with pytest.raises(StaleLease):
        collect_targets(bench.ledger, store, guard=guard)
    assert path.exists()


def test_sizes_are_those_of_the_files(store: VersionStore) -> None:
    full_store(store)
    put_target(store, "aa1", "x", age_seconds=0)
    (store.layout.exports_dir / "a").mkdir(parents=True)
    (store.layout.exports_dir / "a" / "card.md").write_bytes(b"12345")
    sizes = store_bytes(store.layout)
    assert sizes["exports"] == 5
    assert sizes["artefacts"] == 0
    assert sizes["targets"] == (store.layout.targets_dir / "aa" / "aa1.safetensors").stat().st_size
    assert sizes["versions"] > 2 * store.layout.tensor_file("v7").stat().st_size


def test_sizes_are_a_figure_by_kind(store: VersionStore) -> None:
    full_store(store)
    metrics = Metrics()
    metrics.show_bytes(store_bytes(store.layout))
    figures = {
        kind: metrics.registry.get_sample_value("errata_store_bytes", {"kind": kind})
        for kind in ("versions", "targets", "artefacts", "exports")
    }
    assert figures == store_bytes(store.layout)


def test_unpublished_version_that_is_being_read_is_swept_the_next_time(bench: Bench, seven: VersionStore) -> None:
    write(seven, 9, parent="v7", entered={}, live=[])
    with locked(seven.layout.version_dir("v9"), shared=True):
        sweep_unpublished(bench.ledger, seven)
        assert "v9" in seven.list()
    sweep_unpublished(bench.ledger, seven)
    assert "v9" not in seven.list()


def test_pins_are_one_set(bench: Bench, seven: VersionStore) -> None:
    bench.ledger.versions.pin("v1", author=None)
    bench.ledger.versions.pin("v1", author=None)
    assert bench.redis.smembers(bench.ledger.keys.at(Key.PINS)) == {"v1"}
    assert [entry.what for entry in bench.ledger.audit.page(version="v1").items] == ["version.pinned"]
