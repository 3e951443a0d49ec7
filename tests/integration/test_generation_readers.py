"""Clients that do not read, and memory in use by answers, do not keep a replica from following the pointer."""

from __future__ import annotations

import json
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from editing_core.versions.identity import bind_identity
from editing_core.versions.layout import StoreLayout
from editing_core.versions.store import VersionStore
from service.generation.runtime import GenerationRuntime
from tests.support.generation import PROMPTS, publish, serving, write_version
from tests.support.redis_server import Bench
from tests.support.tiny_loaded import tiny_loaded
from tests.support.waiting import until

LOADED = tiny_loaded("gptj")
SMALL_BUFFER, TCP_CLOSED = 4096, 7
ASKED = {
    "prompt": [PROMPTS[3]] * 48,
    "stream": True,
    "max_new_tokens": 200,
    "logprobs": 20,
    "temperature": 1,
    "seed": 1,
    "version": "v1",
}
"""Some megabytes of events: more than sockets hold."""
Served = tuple[GenerationRuntime, httpx.Client]


@pytest.fixture
def store(tmp_path: Path) -> VersionStore:
    bind_identity(tmp_path, model=LOADED.fingerprint, model_source="tiny")
    return VersionStore(StoreLayout(tmp_path))


@contextmanager
def room_for_one(bench: Bench, store: VersionStore) -> Iterator[Served]:
    """The original is live, v1 is kept, and memory holds one version beside the original."""
    first = write_version(store, LOADED, "v1")
    publish(bench.ledger, first)
    bench.ledger.publication.promote("v0", author=None)
    assert first.size_bytes is not None
    with serving(bench, store, LOADED, resident_bytes=int(1.5 * first.size_bytes)) as made:
        yield made


@contextmanager
def unread_stream(client: httpx.Client) -> Iterator[socket.socket]:
    """A connection that has asked for a stream and reads nothing."""
    body, url = json.dumps(ASKED).encode(), client.base_url
    head = f"POST /generate HTTP/1.1\r\nHost: {url.host}:{url.port}\r\nContent-Type: application/json\r\n"
    with socket.socket() as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
        made.connect((url.host, url.port or 80))
        made.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        yield made


def figure(client: httpx.Client, name: str) -> float:
    lines = client.get("/metrics").text.splitlines()
    return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} "))


def test_a_client_that_never_reads_keeps_no_version_in_memory(bench: Bench, store: VersionStore) -> None:
    with room_for_one(bench, store) as (runtime, client), unread_stream(client):
        until(lambda: runtime.readiness()["running"] != 0)
        publish(bench.ledger, write_version(store, LOADED, "v2"))
        until(lambda: runtime.readiness()["version"] == "v2")
        assert runtime.readiness()["resident_versions"] == ["v0", "v2"]
        assert client.get("/generate", params={"prompt": "a"}).json()["version"] == "v2"


def test_a_client_that_does_not_read_in_time_is_disconnected(bench: Bench, store: VersionStore) -> None:
    publish(bench.ledger, write_version(store, LOADED, "v1"))
    with (
        serving(bench, store, LOADED, max_answer_seconds=4.0, read_grace_seconds=-1.0) as (runtime, client),
        unread_stream(client) as unread,
    ):
        until(lambda: runtime.readiness()["running"] != 0)
        gone = 'errata_generation_answers_total{outcome="gone"}'
        until(lambda: figure(client, gone) > 0)
        until(lambda: unread.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == TCP_CLOSED)
        assert client.get("/healthz").status_code == 200


def test_a_wait_for_memory_is_reported_and_the_version_before_stays_live(
    bench: Bench, store: VersionStore, caplog: pytest.LogCaptureFixture
) -> None:
    with room_for_one(bench, store) as (runtime, client):
        before = figure(client, "errata_generation_load_failures_total")
        with unread_stream(client):
            until(lambda: runtime.readiness()["running"] != 0)
            with runtime.pause(), caplog.at_level(logging.INFO):
                publish(bench.ledger, write_version(store, LOADED, "v2"))
                until(lambda: runtime.readiness()["waits_for_memory"])
                until(lambda: figure(client, "errata_generation_behind_seconds") > 1.0)
                answer = client.get("/readyz")
                part = answer.json()["parts"]["generation"]
                assert answer.status_code == 200
                assert (part["ready"], part["degraded"], part["version"]) == (True, True, "v0")
                assert "v2 (revision 3) waits for memory, v0 stays live" in part["reason"]
                assert figure(client, "errata_generation_waits_for_memory") == 1.0
                reported = [record.getMessage() for record in caplog.records]
                assert (reported.count("generation_degraded"), reported.count("version_not_loaded")) == (1, 0)
                assert figure(client, "errata_generation_load_failures_total") == before + 1
        until(lambda: runtime.readiness()["version"] == "v2")
        assert client.get("/readyz").json()["parts"]["generation"]["degraded"] is False


def test_each_wait_for_memory_is_counted_once(bench: Bench, store: VersionStore) -> None:
    failures = "errata_generation_load_failures_total"
    with room_for_one(bench, store) as (runtime, client):
        before = figure(client, failures)
        with unread_stream(client):
            until(lambda: runtime.readiness()["running"] != 0)
            with runtime.pause():
                publish(bench.ledger, write_version(store, LOADED, "v2"))
                until(lambda: figure(client, failures) == before + 1)
                publish(bench.ledger, write_version(store, LOADED, "v3"))
                until(lambda: figure(client, failures) == before + 2)
                until(lambda: figure(client, "errata_generation_behind_seconds") > 1.0)
                assert figure(client, failures) == before + 2


def test_repeated_requests_for_a_version_do_not_keep_the_live_one_out(bench: Bench, store: VersionStore) -> None:
    stop = threading.Event()
    with room_for_one(bench, store) as (runtime, client):

        def ask() -> None:
            while not stop.is_set():
                client.post("/generate", json={"prompt": PROMPTS[3], "max_new_tokens": 60, "version": "v1"})

        asking = [threading.Thread(target=ask) for _ in range(4)]
        for thread in asking:
            thread.start()
        try:
            until(lambda: "v1" in runtime.readiness()["resident_versions"])  # type: ignore[operator]
            publish(bench.ledger, write_version(store, LOADED, "v2"))
            until(lambda: runtime.readiness()["version"] == "v2")
        finally:
            stop.set()
            for thread in asking:
                thread.join()


def test_a_version_that_cannot_fit_with_the_live_one_makes_the_replica_unready(
    bench: Bench, store: VersionStore
) -> None:
    with room_for_one(bench, store) as (runtime, client):
        bench.ledger.publication.promote("v1", author=None)
        until(lambda: runtime.readiness()["version"] == "v1")
        publish(bench.ledger, write_version(store, LOADED, "v2", parent="v1"))
        until(lambda: client.get("/readyz").status_code == 503)
        part = client.get("/readyz").json()["parts"]["generation"]
        assert (part["ready"], part["version"], part["waits_for_memory"]) == (False, "v1", True)
        assert client.get("/generate", params={"prompt": "a"}).json()["version"] == "v1"
