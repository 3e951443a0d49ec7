"""A real Redis for tests: one server per module, emptied for each test, with a separate store id per test."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from redis import Redis

from service.cli.embedded_redis import EmbeddedRedis, plan_embedded_redis
from worker.protocol.connections import connect, connect_queue
from worker.protocol.keys import Keys
from worker.protocol.ledger.ledger import Ledger
from worker.protocol.queue import WorkQueue


@contextmanager
def running_redis(data: Path) -> Iterator[EmbeddedRedis]:
    """The embedded Redis of ``data``, stopped at the end."""
    server = plan_embedded_redis(data)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """One store's ledger and queue."""

    url: str
    redis: Redis
    queue_redis: Redis
    store_id: str

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.redis, Keys(self.store_id))

    @property
    def queue(self) -> WorkQueue:
        return WorkQueue(self.queue_redis, self.store_id, job_timeout_seconds=3600)


@contextmanager
def open_bench(url: str) -> Iterator[Bench]:
    """A ledger and queue on an emptied Redis."""
    redis, queue_redis = connect(url), connect_queue(url)
    redis.flushall()
    try:
        yield Bench(url=url, redis=redis, queue_redis=queue_redis, store_id=uuid.uuid4().hex[:12])
    finally:
        redis.close()
        queue_redis.close()
