"""One Redis for each module, an emptied one for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.redis_server import Bench, open_bench, running_redis


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server.url


@pytest.fixture
def bench(redis_url: str) -> Iterator[Bench]:
    with open_bench(redis_url) as bench:
        yield bench
