"""The id of an HTTP request is in every log line of the work that it asked for, in whatever process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.api_process import edit, post, running_api
from tests.support.redis_server import running_redis
from tests.support.waiting import until
from tests.support.worker_process import WorkerBench, prepare_model


def _lines(bench: WorkerBench, **ids: object) -> list[dict[str, Any]]:
    """The lines of the worker's log that bear all these ids."""
    written = [json.loads(line) for line in bench.log.read_text().splitlines() if line.startswith("{")]
    return [line for line in written if all(line.get(name) == value for name, value in ids.items())]


def test_the_request_that_brought_a_batch_or_an_export_is_named_by_the_workers_log(tmp_path: Path) -> None:
    with running_redis(tmp_path / "redis") as redis:
        bench = prepare_model(tmp_path, "gptj").bench(tmp_path / "store", redis.url, shard_size=1)
        with running_api(redis.url, bench.data, shard_size=1) as api, api.client() as client, bench.worker():
            batch = post(client, edit("Ada"), edit("Eva"), **{"X-Request-Id": "ask-1"})["id"]
            assert bench.wait(batch).version == "v1"
            asked = client.post("/versions/v1/export", json={"format": "hf"}, headers={"X-Request-Id": "ask-2"})
            until(lambda: client.get(asked.headers["Location"]).json()["status"] == "done")
    assert [line["shard"] for line in _lines(bench, request="ask-1", event="targets.computed", batch=batch)] == [0, 1]
    published = _lines(bench, request="ask-1", event="version.published", version="v1")
    assert [line["batches"] for line in published] == [[batch]]
    assert _lines(bench, request="ask-1", event="commit.started", unit="commit")
    assert [line["version"] for line in _lines(bench, request="ask-2", event="export.done")] == ["v1"]
    assert not [line for line in _lines(bench, event="worker.started") if "request" in line]
