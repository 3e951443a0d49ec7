"""Somebody who can write to Redis plants jobs: none of them runs, each is counted, and the worker goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from rq.job import Job

from tests.support.facts import fact
from tests.support.redis_server import running_redis
from tests.support.tiny_models import TINY_FAMILIES
from tests.support.worker_process import WorkerBench, prepare_model
from worker.protocol.entities import BatchState


@pytest.fixture
def place(tmp_path: Path) -> Iterator[WorkerBench]:
    (tmp_path / "model").mkdir()
    with running_redis(tmp_path / "redis") as redis:
        yield prepare_model(tmp_path / "model", TINY_FAMILIES[0]).bench(tmp_path / "data", redis.url)


def plant(place: WorkerBench, job_id: str, call: object, **fields: str) -> None:
    queue = place.queue
    queue.redis.hset(Job.key_for(job_id), mapping={"data": json.dumps(call), "status": "queued", **fields})
    queue.redis.rpush(queue.rq.key, job_id)


def test_planted_jobs_do_not_run_and_the_worker_goes_on(place: WorkerBench, tmp_path: Path) -> None:
    evil = f"touch {tmp_path}/ran-"
    own = place.queue.job_id
    plant(place, "x", ["os.system", None, [f"{evil}call"], {}])
    plant(place, own("commit"), ["os.system", None, [f"{evil}unit"], {}])
    plant(place, own("targets-b1-0"), ["worker.tasks.compute_targets", None, [f"{evil}argument", 0], {}])
    for kind in ("success", "failure", "stopped"):
        name = f"{kind}_callback_name"
        call = ["worker.tasks.compute_targets", None, [kind, 0], {}]
        plant(place, own(f"targets-{kind}-0"), call, **{name: "os.system"})
    plant(place, own("export-v1"), "no call at all")
    plant(place, own("targets-b2-0"), ["worker.tasks.compute_targets", None, ["b2", 0], {}], timeout="soon")
    with place.worker():
        assert place.wait(place.send(fact("Oslo", "Norway"))).status in {BatchState.APPLIED, BatchState.REJECTED}
    log = place.log.read_text()
    assert not list(tmp_path.glob("ran-*")), log
    refused = [json.loads(line)["job"] for line in log.splitlines() if '"job.refused"' in line]
    assert len(refused) >= 7, log
    assert "os.system" not in log
