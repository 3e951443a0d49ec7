"""A ledger says which format it has; an older one is brought up, a newer one refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from editing_core.errors import StoreMismatch
from editing_core.versions.identity import open_identity
from tests.support.api_process import start_service
from tests.support.redis_server import Bench, open_bench, running_redis
from worker.protocol.keys import Key, Keys
from worker.protocol.upgrading.formats import FORMAT, STEPS, UNMARKED


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_redis(tmp_path_factory.mktemp("data")) as redis:
        yield redis.url


@pytest.fixture
def bench(redis_url: str) -> Iterator[Bench]:
    with open_bench(redis_url) as bench:
        yield bench


def test_a_ledger_without_a_number_is_brought_up_once(bench: Bench) -> None:
    assert bench.ledger.require_format() == UNMARKED
    assert bench.ledger.require_format() == FORMAT
    assert bench.redis.get(bench.ledger.keys.at(Key.FORMAT)) == str(FORMAT)


def test_there_is_a_step_from_every_older_format() -> None:
    assert sorted(STEPS) == list(range(UNMARKED, FORMAT))


def test_a_ledger_of_a_later_errata_is_refused_and_left_alone(bench: Bench) -> None:
    key = bench.ledger.keys.at(Key.FORMAT)
    bench.redis.set(key, FORMAT + 1)
    with pytest.raises(StoreMismatch, match="use the Errata that wrote it"):
        bench.ledger.require_format()
    assert bench.redis.get(key) == str(FORMAT + 1)


def test_the_service_refuses_to_start_on_a_ledger_of_a_later_errata(bench: Bench, tmp_path: Path) -> None:
    bench.redis.set(Keys(open_identity(tmp_path).id).at(Key.FORMAT), FORMAT + 1)
    process = start_service(redis_url=bench.url, data=tmp_path, role="api")
    _, told = process.communicate(timeout=60)
    assert process.returncode == 2
    assert f"has format {FORMAT + 1} and this Errata reads {FORMAT}" in told
