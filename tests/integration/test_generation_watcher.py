"""When the watcher loads the version that should be live, on a clock that the test moves."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from editing_core.versions.identity import bind_identity
from editing_core.versions.layout import StoreLayout
from editing_core.versions.store import VersionStore
from service.generation.metrics import GenerationMetrics
from service.generation.versions.resident import ResidentVersions
from service.generation.versions.watcher import FIRST_RETRY_SECONDS, PointerWatcher
from tests.support.clocks import Clock
from tests.support.generation import publish, small_residents, write_version
from tests.support.redis_server import Bench
from tests.support.tiny_loaded import tiny_loaded

LOADED = tiny_loaded("gptj")


@pytest.fixture
def clock() -> Clock:
    return Clock(stopped=True)


@pytest.fixture
def store(tmp_path: Path) -> VersionStore:
    bind_identity(tmp_path, model=LOADED.fingerprint, model_source="tiny")
    store = VersionStore(StoreLayout(tmp_path))
    write_version(store, LOADED, "v1")
    return store


@pytest.fixture
def residents(store: VersionStore) -> Iterator[ResidentVersions]:
    with small_residents(LOADED, store) as made:
        yield made


@pytest.fixture
def watcher(bench: Bench, store: VersionStore, residents: ResidentVersions, clock: Clock) -> PointerWatcher:
    return PointerWatcher(
        bench.ledger,
        store,
        residents,
        metrics=GenerationMetrics(CollectorRegistry()),
        poll_seconds=60.0,
        take_longest_pause=lambda: 0.0,
        name="tested",
        clock=clock,
    )


def hide(store: VersionStore, version: str) -> None:
    pathlib.Path(store.layout.version_dir(version)).rename(store.layout.version_dir(version).with_suffix(".hidden"))


def show(store: VersionStore, version: str) -> None:
    pathlib.Path(store.layout.version_dir(version).with_suffix(".hidden")).rename(store.layout.version_dir(version))


def test_a_version_that_failed_to_load_is_tried_again_after_growing_delays(
    bench: Bench, store: VersionStore, watcher: PointerWatcher, clock: Clock
) -> None:
    publish(bench.ledger, store.read_manifest("v1"))
    hide(store, "v1")
    watcher.check()
    assert "v1" in (watcher.state.problem or "")
    clock.skip(FIRST_RETRY_SECONDS)
    watcher.check()
    show(store, "v1")
    clock.skip(FIRST_RETRY_SECONDS)
    watcher.check()
    assert watcher.state.served is None, "the second delay is longer than the first"
    clock.skip(FIRST_RETRY_SECONDS)
    watcher.check()
    assert watcher.state.served is not None
    assert watcher.state.served.version == "v1"


def test_the_delay_behind_the_pointer_counts_from_the_first_failure(
    bench: Bench, store: VersionStore, watcher: PointerWatcher, clock: Clock
) -> None:
    publish(bench.ledger, store.read_manifest("v1"))
    hide(store, "v1")
    assert watcher.seconds_behind == 0.0
    watcher.check()
    clock.skip(7.0)
    watcher.check()
    assert watcher.seconds_behind == pytest.approx(7.0)
    show(store, "v1")
    clock.skip(FIRST_RETRY_SECONDS * 4)
    watcher.check()
    assert watcher.seconds_behind == 0.0
