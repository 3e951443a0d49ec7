"""Following the pointer: through promotions, damage and a Redis that goes away; and reading one's own edit."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from editing_core.versions.identity import bind_identity
from editing_core.versions.layout import StoreLayout
from editing_core.versions.store import VersionStore
from service.generation.runtime import GenerationRuntime
from tests.support.generation import PROMPTS, greedy_text, publish, serving, view_of, write_version
from tests.support.redis_server import Bench, open_bench, running_redis
from tests.support.tiny_loaded import tiny_loaded
from tests.support.tiny_models import TINY_FAMILIES, TinyFamily
from tests.support.waiting import PATIENCE_SECONDS, until

LOADED = tiny_loaded("gpt_neox")


@pytest.fixture
def store(tmp_path: Path) -> VersionStore:
    bind_identity(tmp_path, model=LOADED.fingerprint, model_source="tiny")
    return VersionStore(StoreLayout(tmp_path))


def until_served(runtime: GenerationRuntime, version: str) -> None:
    until(lambda: runtime.readiness()["version"] == version)


def flip_last_byte(store: VersionStore, version: str) -> None:
    path = store.layout.tensor_file(version)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_every_answer_under_sixteen_clients_is_its_versions_own_through_ten_promotions(
    bench: Bench, tmp_path: Path, family: TinyFamily
) -> None:
    loaded = tiny_loaded(family)
    bind_identity(tmp_path, model=loaded.fingerprint, model_source="tiny")
    store = VersionStore(StoreLayout(tmp_path))
    versions, lengths = ("v0", "v1", "v2"), (3, 8, 15, 21)
    expected = {
        (version, prompt, length): greedy_text(view_of(loaded, version), loaded.tokenizer, prompt, length)
        for version in versions
        for prompt, length in zip(PROMPTS, lengths * 2, strict=True)
    }
    publish(bench.ledger, write_version(store, loaded, "v1"))
    publish(bench.ledger, write_version(store, loaded, "v2", parent="v1"))
    answers: list[tuple[int, tuple[str, str, int], str]] = []
    stop = threading.Event()
    with serving(bench, store, loaded, num_places=6) as (runtime, client):

        def ask(number: int) -> None:
            prompt, length = PROMPTS[number % 8], lengths[number % 4]
            while not stop.is_set():
                answer = client.post("/generate", json={"prompt": prompt, "max_new_tokens": length})
                found: dict[str, Any] = answer.json() if answer.status_code == 200 else {"version": answer.text}
                answers.append((number, (found["version"], prompt, length), found.get("text", "")))

        clients = [threading.Thread(target=ask, args=(number,)) for number in range(16)]
        for thread in clients:
            thread.start()
        for i in range(10):
            version = versions[i % 3]
            bench.ledger.publication.promote(version, author=None)
            until_served(runtime, version)
            seen = len(answers)
            until(lambda seen=seen: len(answers) > seen + 16)
        stop.set()
        for thread in clients:
            thread.join()
    assert [(key, text) for _, key, text in answers if expected.get(key) != text] == []
    for number in range(16):
        assert len({key[0] for who, key, _ in answers if who == number}) >= 2, f"client {number} saw one version only"


def test_a_running_answer_keeps_its_version_when_another_is_promoted(bench: Bench, store: VersionStore) -> None:
    publish(bench.ledger, write_version(store, LOADED, "v1"))
    write = write_version(store, LOADED, "v2", parent="v1")
    with serving(bench, store, LOADED) as (runtime, client):
        answers: list[dict[str, Any]] = []
        asked = {"prompt": PROMPTS[1], "max_new_tokens": 200}
        running = threading.Thread(target=lambda: answers.append(client.post("/generate", json=asked).json()))
        with runtime.pause():
            running.start()
            until(lambda: runtime.readiness()["waiting"] == 1)
            publish(bench.ledger, write)
            until_served(runtime, "v2")
            assert runtime.readiness()["waiting"] == 1
        running.join()
        assert answers[0]["version"] == "v1"
        assert answers[0]["text"] == greedy_text(view_of(LOADED, "v1"), LOADED.tokenizer, PROMPTS[1], 200)
        assert client.get("/generate", params={"prompt": "x", "max_new_tokens": 1}).json()["version"] == "v2"


def test_a_damaged_version_leaves_the_one_before_in_service_until_it_is_repaired(
    bench: Bench, store: VersionStore
) -> None:
    publish(bench.ledger, write_version(store, LOADED, "v1"))
    with serving(bench, store, LOADED) as (runtime, client):
        damaged = write_version(store, LOADED, "v2", parent="v1")
        flip_last_byte(store, "v2")
        publish(bench.ledger, damaged)
        until(lambda: client.get("/readyz").status_code == 503)
        part = client.get("/readyz").json()["parts"]["generation"]
        assert (part["version"], part["wanted_version"]) == ("v1", "v2")
        assert "v2" in part["reason"]
        assert "damaged" in part["reason"]
        assert "errata_generation_digest_matches 0.0" in client.get("/metrics").text
        assert client.get("/generate", params={"prompt": "x"}).json()["version"] == "v1"
        assert client.get("/generate", params={"prompt": "x", "version": "v2"}).status_code == 503
        flip_last_byte(store, "v2")
        until_served(runtime, "v2")
        assert client.get("/readyz").status_code == 200
        assert "errata_generation_digest_matches 1.0" in client.get("/metrics").text


def test_a_start_on_a_damaged_version_serves_named_versions_and_says_why_nothing_is_live(
    bench: Bench, store: VersionStore
) -> None:
    publish(bench.ledger, write_version(store, LOADED, "v1"))
    flip_last_byte(store, "v1")
    with serving(bench, store, LOADED) as (_, client):
        assert "v1" in client.get("/readyz").json()["parts"]["generation"]["reason"]
        refusal = client.get("/generate", params={"prompt": "x"})
        assert (refusal.status_code, refusal.json()["type"]) == (503, "/problems/nothing-served")
        assert client.get("/generate", params={"prompt": "x", "version": "v0"}).status_code == 200


def test_min_version_is_served_by_the_version_and_its_descendants(bench: Bench, store: VersionStore) -> None:
    publish(bench.ledger, write_version(store, LOADED, "v1"))
    publish(bench.ledger, write_version(store, LOADED, "v2", parent="v1"))
    with serving(bench, store, LOADED) as (_, client):
        for version in ("v0", "v1", "v2"):
            answer = client.get("/generate", params={"prompt": "x", "min_version": version})
            assert (answer.status_code, answer.json().get("version")) == (200, "v2")


def test_min_version_waits_for_a_version_that_is_about_to_be_served(bench: Bench, store: VersionStore) -> None:
    with serving(bench, store, LOADED, min_version_wait_seconds=PATIENCE_SECONDS) as (runtime, client):
        manifest = write_version(store, LOADED, "v1")
        flip_last_byte(store, "v1")
        publish(bench.ledger, manifest)
        until(lambda: runtime.readiness()["reason"])
        repair = threading.Timer(0.3, lambda: flip_last_byte(store, "v1"))
        repair.start()
        answer = client.get("/score", params={"prompt": "x", "target": "y", "min_version": "v1"})
        repair.join()
        assert (answer.status_code, answer.json().get("version")) == (200, "v1")


def test_a_min_version_that_is_not_served_in_time_gets_a_time_to_retry(bench: Bench, store: VersionStore) -> None:
    with serving(bench, store, LOADED, min_version_wait_seconds=0.2) as (_, client):
        manifest = write_version(store, LOADED, "v1")
        flip_last_byte(store, "v1")
        publish(bench.ledger, manifest)
        answer = client.get("/generate", params={"prompt": "x", "min_version": "v1"})
        assert (answer.status_code, answer.headers.get("Retry-After")) == (409, "1")
        assert "not served here after" in answer.json()["detail"]


def test_min_version_of_a_rolled_back_version_is_refused_with_the_reason(bench: Bench, store: VersionStore) -> None:
    publish(bench.ledger, write_version(store, LOADED, "v1"))
    publish(bench.ledger, write_version(store, LOADED, "v2", parent="v1"))
    with serving(bench, store, LOADED, min_version_wait_seconds=PATIENCE_SECONDS) as (runtime, client):
        bench.ledger.publication.promote("v1", author=None)
        until_served(runtime, "v1")
        answer = client.get("/generate", params={"prompt": "x", "min_version": "v2"})
        assert answer.status_code == 409
        assert "rolled back" in answer.json()["detail"]
        assert "Retry-After" not in answer.headers


def test_without_redis_the_service_goes_on_degraded_and_follows_again_afterwards(
    tmp_path: Path, store: VersionStore
) -> None:
    with running_redis(tmp_path / "redis") as server, open_bench(server.url) as bench:
        publish(bench.ledger, write_version(store, LOADED, "v1"))
        second = write_version(store, LOADED, "v2", parent="v1")
        with serving(bench, store, LOADED) as (runtime, client):
            server.stop()
            until(lambda: runtime.readiness()["degraded"])
            ready = client.get("/readyz")
            assert (ready.status_code, ready.json()["degraded"]) == (200, True)
            assert client.get("/generate", params={"prompt": "x"}).json()["version"] == "v1"
            assert client.get("/generate", params={"prompt": "x", "min_version": "v1"}).status_code == 200
            assert client.get("/generate", params={"prompt": "x", "min_version": "v2"}).status_code == 503
            assert client.get("/generate", params={"prompt": "x", "version": "v0"}).status_code == 200
            server.start()
            publish(bench.ledger, second)
            until_served(runtime, "v2")
            assert runtime.readiness()["degraded"] is False


def test_a_start_without_redis_serves_the_version_in_head(tmp_path: Path, store: VersionStore) -> None:
    write_version(store, LOADED, "v1")
    store.write_head(3, "v1")
    with running_redis(tmp_path / "redis") as server, open_bench(server.url) as bench:
        server.stop()
        with serving(bench, store, LOADED) as (runtime, _):
            found = runtime.readiness()
            assert (found["version"], found["pointer_revision"]) == ("v1", 3)
            assert (found["ready"], found["degraded"]) == (True, True)
        server.start()


def test_an_empty_redis_with_a_new_store_serves_the_original(bench: Bench, store: VersionStore) -> None:
    with serving(bench, store, LOADED) as (runtime, _):
        found = runtime.readiness()
        assert (found["version"], found["ready"], found["degraded"]) == ("v0", True, False)


def test_a_pointer_older_than_the_served_one_is_not_followed(bench: Bench, store: VersionStore) -> None:
    publish(bench.ledger, write_version(store, LOADED, "v1"))
    with serving(bench, store, LOADED) as (runtime, client):
        bench.ledger.publication.promote("v0", author=None)
        bench.ledger.publication.promote("v1", author=None)
        until(lambda: runtime.readiness()["pointer_revision"] == 3)
        bench.redis.flushall()
        publish(bench.ledger, write_version(store, LOADED, "v2"))
        until(lambda: not runtime.readiness()["ready"])
        found = runtime.readiness()
        assert found["version"] == "v1"
        assert "errata recover" in str(found["reason"])
        assert client.get("/generate", params={"prompt": "x"}).json()["version"] == "v1"
