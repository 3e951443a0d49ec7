"""The API in a process of its own, as it is in production: real HTTP, real Redis."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import httpx

from editing_core.versions.identity import open_identity
from worker.protocol.connections import connect, connect_queue
from worker.protocol.keys import Keys
from worker.protocol.ledger.ledger import Ledger
from worker.protocol.queue import WorkQueue
from worker.protocol.settings import fresh_environment

STOP_SECONDS = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiProcess:
    """A running API with its address, ledger and store."""

    process: subprocess.Popen[str]
    url: str
    ledger: Ledger
    queue: WorkQueue
    data: Path

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=30.0, trust_env=False, **options)


def start_service(**settings: object) -> subprocess.Popen[str]:
    """``python -m service.serve`` with these settings."""
    return subprocess.Popen(
        [sys.executable, "-m", "service.serve"],
        env=fresh_environment(**{"port": 0, "log_format": "json", **settings}),
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def running_api(redis_url: str, data: Path, **settings: object) -> Iterator[ApiProcess]:
    """Role ``api`` on a free port; must stop by itself, with code 0, when asked to."""
    process = start_service(**{"redis_url": redis_url, "data": data, "role": "api", **settings})
    assert process.stderr is not None
    redis, queue_redis = connect(redis_url), connect_queue(redis_url)
    try:
        url = listening_url(process.stderr)
        store = open_identity(data).id
        yield ApiProcess(
            process=process,
            url=url,
            ledger=Ledger(redis, Keys(store)),
            queue=WorkQueue(queue_redis, store, job_timeout_seconds=3600),
            data=data,
        )
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_SECONDS) == 0
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
        redis.close()
        queue_redis.close()


def listening_url(log: IO[str]) -> str:
    """Read the log up to the line that says where the service listens."""
    seen = []
    for line in log:
        seen.append(line)
        if '"event": "listening"' in line:
            url = json.loads(line)["url"]
            assert isinstance(url, str)
            return url
    raise AssertionError("the service did not start:\n" + "".join(seen))


def edit(subject: str, target_new: str = "English", **fields: Any) -> dict[str, Any]:
    """An edit as JSON."""
    return {"subject": subject, "prompt": "The mother tongue of {} is", "target_new": target_new, **fields}


def post(client: httpx.Client, *edits: dict[str, Any], **headers: str) -> dict[str, Any]:
    """Have the edits accepted as one batch, and return the answer."""
    answer = client.post("/edits", json={"edits": edits}, headers=headers)
    assert answer.status_code == 202, answer.text
    accepted: dict[str, Any] = answer.json()
    return accepted


def require_problem(answer: httpx.Response, status: int, slug: str) -> dict[str, Any]:
    """Return the problem document, after a look at what every one must have."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert (problem["status"], problem["type"]) == (status, f"/problems/{slug}")
    assert all(problem[member] for member in ("title", "detail", "next_step"))
    return problem
