"""How often a POST to /edits waits for Redis: counted in the connections of an application in this process."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.api.app import create_app
from tests.support.api_process import edit
from tests.support.ledger_steps import edit_of, make_ready, publish
from tests.support.redis_server import Bench
from tests.support.round_trips import counting_trips
from worker.protocol.keys import COMMIT_UNIT
from worker.protocol.queue import JobState
from worker.protocol.settings import Settings

LIMIT = 5
"""Round trips of one POST, whatever it holds."""


class CountedRedis:
    """Counts what is sent over every connection during a request."""

    def __init__(self, bench: Bench, data: Path) -> None:
        self.app = create_app(Settings(data=data, role="api"), bench.ledger, bench.queue)

    def post(self, body: dict[str, Any], **headers: str) -> tuple[dict[str, Any], int]:
        """Return the answer and the number of round trips."""
        with counting_trips() as trips:
            answer = asyncio.run(self._post(body, headers))
        assert answer.status_code in {200, 202}, answer.text
        found: dict[str, Any] = answer.json()
        assert trips, "nothing was counted"
        return found, len(trips)

    async def _post(self, body: dict[str, Any], headers: dict[str, str]) -> httpx.Response:
        transport = httpx.ASGITransport(self.app, client=("127.0.0.1", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
            return await client.post("/edits", json=body, headers=headers)


@pytest.fixture
def counted(bench: Bench, tmp_path: Path) -> CountedRedis:
    made = CountedRedis(bench, tmp_path)
    made.post({"edits": [edit("First")]}, **{"Idempotency-Key": "first"})  # connects, and loads the scripts
    return made


def test_a_batch_of_edits_needs_at_most_five_round_trips(counted: CountedRedis) -> None:
    assert counted.post({"edits": [edit("Anna"), edit("Bert")]})[1] <= LIMIT


def test_a_batch_of_many_shards_needs_no_more(bench: Bench, counted: CountedRedis) -> None:
    answer, round_trips = counted.post({"edits": [edit(f"Person {i}") for i in range(1_000)]})
    assert round_trips <= LIMIT
    assert len(bench.ledger.batches.open_shards(answer["id"])) == 16
    assert bench.queue.depth() == 17


def test_a_batch_under_an_idempotency_key_needs_no_more(counted: CountedRedis) -> None:
    assert counted.post({"edits": [edit("Anna")]}, **{"Idempotency-Key": "a"})[1] <= LIMIT


@pytest.mark.parametrize("is_commit_waiting", [False, True])
def test_a_batch_that_takes_out_an_edit_needs_no_more(
    bench: Bench, counted: CountedRedis, is_commit_waiting: bool
) -> None:
    batch = make_ready(bench.ledger, ("Anna", "Rome"), ("Bert", "Oslo"))
    doomed = [edit_of(bench.ledger, batch, index) for index in range(2)]
    publish(bench.ledger, batch, live=doomed)
    counted.post({"edits": [edit("Carl")]})  # reads the set of the new version
    if is_commit_waiting:
        bench.queue.enqueue_units([COMMIT_UNIT])
    answer, round_trips = counted.post({"remove": [doomed[0]]}, **{"Idempotency-Key": "b"})
    assert round_trips <= LIMIT
    assert [row["id"] for row in answer["removed"]] == [doomed[0]]
    assert bench.queue.job_state(COMMIT_UNIT) == JobState.WAITING


def test_units_that_have_a_job_get_no_second_one(bench: Bench) -> None:
    bench.queue.enqueue_units(["targets-b1-0"])
    bench.queue.enqueue_units(["targets-b1-0", "targets-b1-1"])
    assert bench.queue.depth() == 2
