"""A ledger says which format it has; one without a number gets it, a newer one is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from redis import Redis

from editing_core.errors import StoreMismatch
from editing_core.versions.identity import bind_identity, open_identity
from editing_core.versions.layout import StoreLayout
from editing_core.versions.store import VersionStore
from service.generation.runtime import GenerationRuntime
from tests.support.api_process import start_service
from tests.support.free_port import free_port
from tests.support.generation import publish, write_version
from tests.support.redis_server import Bench, open_bench, running_redis
from tests.support.tiny_loaded import tiny_loaded
from tests.support.waiting import until
from worker.protocol.keys import Key, Keys
from worker.protocol.ledger.formats import FORMAT, UNMARKED
from worker.protocol.ledger.ledger import Ledger
from worker.protocol.settings import Settings


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_redis(tmp_path_factory.mktemp("data")) as redis:
        yield redis.url


@pytest.fixture
def bench(redis_url: str) -> Iterator[Bench]:
    with open_bench(redis_url) as bench:
        yield bench


def test_a_ledger_of_the_number_before_the_first_is_marked(bench: Bench) -> None:
    key = bench.ledger.keys.at(Key.FORMAT)
    bench.redis.set(key, UNMARKED)
    assert bench.ledger.format.require() == UNMARKED
    assert bench.redis.get(key) == str(FORMAT)


def test_a_ledger_without_a_number_is_brought_up_once(bench: Bench) -> None:
    assert bench.ledger.format.require() == UNMARKED
    assert bench.ledger.format.require() == FORMAT
    assert bench.redis.get(bench.ledger.keys.at(Key.FORMAT)) == str(FORMAT)


def test_a_ledger_of_a_later_errata_is_refused_and_left_alone(bench: Bench) -> None:
    key = bench.ledger.keys.at(Key.FORMAT)
    bench.redis.set(key, FORMAT + 1)
    with pytest.raises(StoreMismatch, match="use the Errata that wrote it"):
        bench.ledger.format.require()
    assert bench.redis.get(key) == str(FORMAT + 1)


def test_the_service_refuses_to_start_on_a_ledger_of_a_later_errata(bench: Bench, tmp_path: Path) -> None:
    bench.redis.set(Keys(open_identity(tmp_path).id).at(Key.FORMAT), FORMAT + 1)
    process = start_service(redis_url=bench.url, data=tmp_path, role="api")
    _, reported = process.communicate(timeout=60)
    assert process.returncode == 2
    assert f"has format {FORMAT + 1} and this Errata reads {FORMAT}" in reported


def test_a_number_that_cannot_be_read_is_refused(bench: Bench) -> None:
    bench.redis.set(bench.ledger.keys.at(Key.FORMAT), "two")
    with pytest.raises(StoreMismatch, match="has format two"):
        bench.ledger.format.require()


def test_a_replica_that_started_without_redis_follows_no_ledger_of_a_later_errata(bench: Bench, tmp_path: Path) -> None:
    loaded = tiny_loaded("gpt_neox")
    bind_identity(tmp_path, model=loaded.fingerprint, model_source="tiny")
    store = VersionStore(StoreLayout(tmp_path))
    publish(bench.ledger, write_version(store, loaded, "v1"))
    bench.redis.set(bench.ledger.keys.at(Key.FORMAT), FORMAT + 1)
    store.write_head(0, "v0")
    away = Redis(port=free_port())
    ledger = Ledger(away, Keys(bench.store_id))
    settings = Settings(data=tmp_path, pointer_poll_seconds=0.02)
    runtime = GenerationRuntime(loaded, store, ledger, settings=settings, registry=CollectorRegistry()).run()
    try:
        assert runtime.readiness()["degraded"] is True
        ledger.connection.redis = bench.redis  # it is there again
        until(lambda: runtime.readiness()["ready"] is False)
        assert "use the Errata that wrote it" in str(runtime.readiness()["reason"])
        assert runtime.readiness()["version"] == "v0"
    finally:
        runtime.close()
        away.close()
