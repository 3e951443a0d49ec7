"""Who descends from whom, as generation learns it from the ledger."""

from __future__ import annotations

from pathlib import Path

from editing_core.versions.identity import bind_identity
from editing_core.versions.layout import StoreLayout
from editing_core.versions.store import VersionStore
from tests.support.generation import publish, serving, write_version
from tests.support.redis_server import Bench
from tests.support.tiny_loaded import tiny_loaded
from worker.protocol.keys import Key

LOADED = tiny_loaded("gpt_neox")


def test_a_descent_that_was_not_known_at_first_is_asked_for_again(bench: Bench, tmp_path: Path) -> None:
    bind_identity(tmp_path, model=LOADED.fingerprint, model_source="tiny")
    store = VersionStore(StoreLayout(tmp_path))
    parents = bench.ledger.keys.at(Key.PARENTS)
    publish(bench.ledger, write_version(store, LOADED, "v1"))
    publish(bench.ledger, write_version(store, LOADED, "v2", parent="v1"))
    known = bench.redis.hgetall(parents)
    with serving(bench, store, LOADED) as (_, client):
        bench.redis.delete(parents)
        assert client.get("/generate", params={"prompt": "x", "min_version": "v1"}).status_code == 409
        bench.redis.hset(parents, mapping=known)
        assert client.get("/generate", params={"prompt": "x", "min_version": "v1"}).status_code == 200
