"""Who descends from whom, as generation learns it from the ledger."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from editing_core.versions.head import mark_published
from editing_core.versions.identity import bind_identity
from editing_core.versions.layout import StoreLayout
from editing_core.versions.store import VersionStore
from service.generation.versions.min_version import DIGEST_TTL_SECONDS
from service.ledger_calls import LEDGER_TIMEOUT_SECONDS
from tests.support.clocks import Clock
from tests.support.generation import publish, serving, write_version
from tests.support.redis_server import Bench, open_bench, running_redis
from tests.support.tiny_loaded import tiny_loaded
from tests.support.waiting import until
from worker.protocol.connections import ANSWER_TIMEOUT_SECONDS
from worker.protocol.keys import Key

LOADED = tiny_loaded("gpt_neox")
UNTIL = "2999-01-01T00:00:00.000Z"


@pytest.fixture
def store(tmp_path: Path) -> VersionStore:
    bind_identity(tmp_path, model=LOADED.fingerprint, model_source="tiny")
    return VersionStore(StoreLayout(tmp_path))


def ask(client: httpx.Client, **asked: str) -> httpx.Response:
    return client.get("/generate", params={"prompt": "x", **asked})


def test_a_descent_that_was_not_known_at_first_is_asked_for_again(bench: Bench, store: VersionStore) -> None:
    parents = bench.ledger.keys.at(Key.PARENTS)
    publish(bench.ledger, write_version(store, LOADED, "v1"))
    publish(bench.ledger, write_version(store, LOADED, "v2", parent="v1"))
    known = bench.redis.hgetall(parents)
    with serving(bench, store, LOADED) as (_, client):
        bench.redis.delete(parents)
        assert ask(client, min_version="v1").status_code == 409
        bench.redis.hset(parents, mapping=known)
        assert ask(client, min_version="v1").status_code == 200


def test_a_candidate_is_asked_by_its_name_alone_and_a_discarded_one_not_at_all(
    bench: Bench, store: VersionStore
) -> None:
    publish(bench.ledger, write_version(store, LOADED, "v1"))
    publish(bench.ledger, write_version(store, LOADED, "v2", parent="v1"), candidate_until=UNTIL)
    clock = Clock()
    with serving(bench, store, LOADED, clock=clock) as (_, client):
        assert ask(client).json()["version"] == "v1"
        assert ask(client, version="v2").json()["version"] == "v2"
        waiting = ask(client, min_version="v2")
        assert (waiting.status_code, "is a candidate: promote it" in waiting.json()["detail"]) == (409, True)
        bench.ledger.publication.discard(["v2"], reason="no", author=None)
        discarded = ask(client, min_version="v2")
        assert (discarded.status_code, "was discarded" in discarded.json()["detail"]) == (409, True)
        assert "Retry-After" not in discarded.headers
        clock.skip(DIGEST_TTL_SECONDS)
        assert ask(client, version="v2").status_code == 404


def test_a_removed_version_is_not_answered_from_memory(bench: Bench, store: VersionStore) -> None:
    publish(bench.ledger, write_version(store, LOADED, "v1"))
    publish(bench.ledger, write_version(store, LOADED, "v2", parent="v1"))
    clock = Clock()
    with serving(bench, store, LOADED, clock=clock) as (_, client):
        assert ask(client, version="v1").status_code == 200
        bench.ledger.publication.mark_removed(["v1"])
        clock.skip(DIGEST_TTL_SECONDS)
        assert ask(client, version="v1").status_code == 404, "its files are there still"
        assert ask(client, version="v2").status_code == 200


def test_the_version_served_without_redis_is_confirmed_once_redis_is_back(tmp_path: Path, store: VersionStore) -> None:
    with running_redis(tmp_path / "redis") as server, open_bench(server.url) as bench:
        manifest = write_version(store, LOADED, "v1")
        publish(bench.ledger, manifest)
        revision = bench.ledger.versions.pointer().revision
        store.write_head(revision, "v1")
        server.stop()
        with serving(bench, store, LOADED) as (runtime, client):
            found = runtime.readiness()
            assert (found["version"], found["degraded"]) == ("v1", True)
            assert ask(client).json()["version"] == "v1"
            server.start()
            until(lambda: runtime.readiness()["degraded"] is False)
            assert (runtime.readiness()["ready"], runtime.readiness()["reason"]) == (True, None)


def test_while_redis_is_empty_the_files_decide_which_versions_exist(bench: Bench, store: VersionStore) -> None:
    for version, parent in (("v1", "v0"), ("v2", "v1")):
        publish(bench.ledger, write_version(store, LOADED, version, parent=parent))
        mark_published(store.layout, version)
    store.write_head(bench.ledger.versions.pointer().revision, "v2")
    bench.redis.flushall()
    with serving(bench, store, LOADED) as (_, client):
        for asked in ({}, {"version": "v2"}, {"min_version": "v2"}, {"min_version": "v1"}):
            answer = ask(client, **asked)
            assert (answer.status_code, answer.json().get("version")) == (200, "v2"), answer.json()
        assert ask(client, version="v1").json()["version"] == "v1"
        for asked in ({"version": "v3"}, {"min_version": "v3"}):
            answer = ask(client, **asked)
            assert (answer.status_code, answer.json()["type"]) == (503, "/problems/ledger-forgotten"), answer.json()
            assert int(answer.headers["Retry-After"]) > 0


@contextmanager
def served_beside_a_hanging_redis(
    folder: Path, store: VersionStore, *, clock: Clock | None = None
) -> Iterator[httpx.Client]:
    """v2 is live and v1 kept; Redis takes connections and says nothing."""
    with running_redis(folder) as server, open_bench(server.url) as bench:
        publish(bench.ledger, write_version(store, LOADED, "v1"))
        publish(bench.ledger, write_version(store, LOADED, "v2", parent="v1"))
        for version in ("v1", "v2"):
            mark_published(store.layout, version)
        with serving(bench, store, LOADED, clock=clock or Clock()) as (runtime, client):
            until(lambda: runtime.readiness()["version"] == "v2")
            redis = bench.redis.info("server")["process_id"]
            os.kill(redis, signal.SIGSTOP)
            try:
                yield client
            finally:
                os.kill(redis, signal.SIGCONT)


def test_a_redis_that_hangs_holds_no_answer_of_a_version_on_disk_for_long(tmp_path: Path, store: VersionStore) -> None:
    with served_beside_a_hanging_redis(tmp_path / "redis", store) as client:
        for choice in ({"version": "v1"}, {"min_version": "v1"}, {"version": "v2"}):
            patient = 4 * LEDGER_TIMEOUT_SECONDS + 2
            answer = client.get("/generate", params={"prompt": "x", **choice}, timeout=patient)
            assert answer.json()["version"] == choice.get("version", "v2")


def test_a_redis_that_hangs_holds_many_at_once_no_longer_than_one(tmp_path: Path, store: VersionStore) -> None:
    clock = Clock()
    with (
        served_beside_a_hanging_redis(tmp_path / "redis", store, clock=clock) as client,
        ThreadPoolExecutor(40) as pool,
    ):
        clock.skip(DIGEST_TTL_SECONDS)

        def asked(version: str) -> int:
            patient = 4 * LEDGER_TIMEOUT_SECONDS + 2
            return client.get("/generate", params={"prompt": "x", "version": version}, timeout=patient).status_code

        unknown = [pool.submit(asked, "nonsense") for _ in range(20)]
        known = [pool.submit(asked, "v1") for _ in range(20)]
        assert {answer.result() for answer in known} == {200}
        assert {answer.result() for answer in unknown} == {404}


@pytest.mark.slow
def test_a_redis_that_hangs_is_asked_once_for_the_list_of_models(tmp_path: Path, store: VersionStore) -> None:
    with served_beside_a_hanging_redis(tmp_path / "redis", store) as client:
        listed = client.get("/v1/models", timeout=1.5 * ANSWER_TIMEOUT_SECONDS).json()["data"]
    assert [item["id"].partition("@")[2] for item in listed] == ["", "v0", "v2", "v1"]
