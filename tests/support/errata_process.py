"""Errata's processes for tests: the API alone, or everything under its supervisor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from service.cli.demo.running import RunningErrata, running_errata
from tests.support.api_process import running_api
from tests.support.redis_server import running_redis
from worker.protocol.settings import fresh_environment

QUICK = {"lease_seconds": 2.0, "reconcile_seconds": 1.0, "num_threads": 1, "log_format": "json"}
"""Settings under which a killed process is missed soon, and two processes share two cores."""


@contextmanager
def api_alone(folder: Path) -> Iterator[str]:
    """The API without model and worker, on a Redis of its own; gives its address."""
    with running_redis(folder) as redis, running_api(redis.url, folder) as api:
        yield api.url


@contextmanager
def errata_up(folder: Path, **settings: object) -> Iterator[RunningErrata]:
    """Redis, service and worker under ``errata up``, on ``folder / "data"``; every setting can be given."""
    options = QUICK | {"data": folder / "data", "model": "demo-gptj", "port": 0} | settings
    with running_errata(fresh_environment(**options), log=folder / "errata.log") as running:
        yield running
