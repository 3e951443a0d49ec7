"""API, generation, worker and Prometheus as processes, with traffic: no panel is empty, and faults are alerted."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from editing_core.versions.layout import StoreLayout
from tests.support.api_process import ApiProcess, edit, post, running_api
from tests.support.free_port import free_port
from tests.support.prometheus_server import Prometheus, panels, print_panels, running_prometheus
from tests.support.redis_server import running_redis
from tests.support.replicas import Replica, running_replica
from tests.support.waiting import until
from tests.support.worker_process import PreparedModel, WorkerBench, prepare_model

QUIET = {"ErrataBatchRejected", "ErrataWorkForgotten"}
"""May fire for a moment after what the test itself has done before."""
TOO_LONG = "once " * 700
"""More tokens than the tiny model has positions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    bench: WorkerBench
    api: ApiProcess
    replica: Replica
    prometheus: Prometheus


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedModel:
    return prepare_model(tmp_path_factory.mktemp("model"), "gptj")


@contextmanager
def _watched(folder: Path, prepared: PreparedModel, redis_url: str) -> Iterator[Watched]:
    port = free_port()
    bench = prepared.bench(folder / "data", redis_url, worker_metrics_port=port)
    own = {"model": bench.settings["model"], "device": "cpu", "num_threads": 1}
    with (
        bench.worker(),
        running_api(redis_url, bench.data) as api,
        running_replica(redis_url, bench.data, **own) as replica,
        running_prometheus(
            folder / "prometheus",
            {
                "errata-api": api.url.removeprefix("http://"),
                "errata-generation": replica.url.removeprefix("http://"),
                "errata-worker": f"127.0.0.1:{port}",
            },
        ) as prometheus,
    ):
        until(lambda: len(prometheus.query("up == 1")) == 3)
        yield Watched(bench=bench, api=api, replica=replica, prometheus=prometheus)


def _traffic(watched: Watched) -> None:
    with watched.api.client() as client:
        batch = post(client, edit("Ada"), edit("Eva"))["id"]
        watched.bench.wait(batch)
        client.get("/batches/none")
    until(lambda: watched.replica.generation()["version"] == "v1")
    for _ in range(3):
        watched.replica.client.post("/generate", json={"prompt": "The mother tongue of Ada is", "max_new_tokens": 4})
        with watched.replica.client.stream(
            "POST", "/generate", json={"prompt": "Ada is", "max_new_tokens": 8, "stream": True}
        ) as answer:
            answer.read()


@pytest.mark.slow
def test_no_panel_of_any_board_is_empty_or_refused(tmp_path: Path, prepared: PreparedModel) -> None:
    with running_redis(tmp_path / "data") as redis, _watched(tmp_path, prepared, redis.url) as watched:
        empty = {(board, panel) for board, panel, _ in panels()}
        assert len(empty) > 40
        deadline = iter(range(30))
        while empty and next(deadline, None) is not None:
            _traffic(watched)
            for board, panel, expressions in panels():
                found = [watched.prometheus.query(expression) for expression in expressions]
                if all(found) and all("NaN" not in str(rows) for rows in found):
                    empty.discard((board, panel))
        print_panels(empty)
        assert not empty
        assert watched.prometheus.firing() <= QUIET


@pytest.mark.slow
def test_faults_are_alerted_and_nothing_is_alerted_before(tmp_path: Path, prepared: PreparedModel) -> None:
    with running_redis(tmp_path / "data") as redis, _watched(tmp_path, prepared, redis.url) as watched:
        _traffic(watched)
        firing = watched.prometheus.firing
        until(lambda: firing() <= QUIET)

        with watched.api.client() as client:  # a rejected batch
            batch = post(client, edit("Ida", prompt=TOO_LONG + "{} is"))["id"]
        assert watched.bench.wait(batch).status == "rejected"
        until(lambda: "ErrataBatchRejected" in firing())

        watched.replica.process.send_signal(signal.SIGSTOP)  # a version that is damaged before it is loaded
        with watched.api.client() as client:
            version = watched.bench.wait(post(client, edit("Uta"))["id"]).version
        assert version is not None
        file = StoreLayout(watched.bench.data).tensor_file(version)
        file.write_bytes(file.read_bytes()[:-64] + bytes(64))
        watched.replica.process.send_signal(signal.SIGCONT)
        wanted = {"ErrataGenerationNotReady", "ErrataDigestMismatch", "ErrataVersionNotLoaded", "ErrataReplicaBehind"}
        until(lambda: wanted <= firing())

        assert watched.bench.process is not None
        watched.bench.process.kill()
        until(lambda: "ErrataWorkerDown" in firing())
        redis.stop()
        until(lambda: "ErrataRedisDown" in firing())
        redis.start()
        until(lambda: "ErrataRedisDown" not in firing())
