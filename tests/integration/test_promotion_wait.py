"""A promotion answers when every ready replica serves the version, or says which do not."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from editing_core.versions.identity import bind_identity
from editing_core.versions.layout import StoreLayout
from editing_core.versions.store import VersionStore
from tests.support.generation import publish, serving, write_version
from tests.support.redis_server import Bench
from tests.support.tiny_loaded import tiny_loaded
from worker.protocol.keys import Keys
from worker.protocol.replicas import Replicas
from worker.protocol.scripting.connection import Connection

LOADED = tiny_loaded("gptj")
SLOW_POLL: dict[str, object] = {"role": "all", "pointer_poll_seconds": 0.5}


@pytest.fixture
def store(tmp_path: Path) -> VersionStore:
    bind_identity(tmp_path, model=LOADED.fingerprint, model_source="tiny")
    return VersionStore(StoreLayout(tmp_path))


@pytest.fixture
def two_versions(bench: Bench, store: VersionStore) -> None:
    publish(bench.ledger, write_version(store, LOADED, "v1"))
    publish(bench.ledger, write_version(store, LOADED, "v2", parent="v1"))


def answered_by(client: httpx.Client) -> str:
    found: str = client.get("/generate", params={"prompt": "x", "max_new_tokens": 1}).json()["version"]
    return found


@pytest.mark.usefixtures("two_versions")
def test_the_read_after_a_promotion_is_answered_by_the_promoted_version(bench: Bench, store: VersionStore) -> None:
    with serving(bench, store, LOADED, **SLOW_POLL) as (_, client):
        for version in ("v1", "v2", "v0") * 4:
            answer = client.post(f"/versions/{version}/promote")
            assert (answer.status_code, answer.json()["behind"]) == (200, [])
            assert answered_by(client) == version


@pytest.mark.usefixtures("two_versions")
def test_a_promotion_at_one_replica_waits_for_another(bench: Bench, store: VersionStore) -> None:
    with (
        serving(bench, store, LOADED, **SLOW_POLL) as (_, one),
        serving(bench, store, LOADED, **SLOW_POLL) as (_, other),
    ):
        for version in ("v1", "v2", "v1"):
            assert one.post(f"/versions/{version}/promote").status_code == 200
            assert answered_by(other) == version


@pytest.mark.usefixtures("two_versions")
def test_a_replica_that_does_not_follow_is_named_in_a_202(bench: Bench, store: VersionStore) -> None:
    stuck = bench.ledger.replicas.announcement("stuck-1")
    stuck.serve(bench.ledger.versions.pointer().revision)
    with serving(bench, store, LOADED, role="all", promotion_wait_seconds=0.1) as (_, client):
        answer = client.post("/versions/v1/promote")
        assert (answer.status_code, answer.json()["behind"]) == (202, ["stuck-1"])
        assert answer.json()["id"] == "v1"
        stuck.withdraw()
        assert client.post("/versions/v2/promote").status_code == 200


@pytest.mark.usefixtures("two_versions")
def test_a_replica_that_cannot_load_the_version_does_not_hold_a_promotion(bench: Bench, store: VersionStore) -> None:
    with serving(bench, store, LOADED, role="all") as (runtime, client):
        weights = next(store.layout.version_dir("v1").glob("*.safetensors"))
        weights.write_bytes(weights.read_bytes()[:-1] + b"\xff")
        assert client.post("/versions/v1/promote").json()["behind"] == []
        assert runtime.readiness()["ready"] is False


def test_only_ready_processes_of_the_same_store_count(bench: Bench) -> None:
    replicas = bench.ledger.replicas
    entries = {name: replicas.announcement(name) for name in ("a", "b")}
    entries["a"].serve(3)
    entries["b"].serve(4)
    assert replicas.behind(3) == []
    assert replicas.behind(4) == ["a"]
    assert replicas.behind(5) == ["a", "b"]
    entries["a"].withdraw()
    assert replicas.behind(5) == ["b"]
    other = Replicas(Connection(bench.redis, Keys("another")))
    assert other.behind(5) == []
