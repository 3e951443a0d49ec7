"""The asyncio client against the real API on a real Redis (no model, no worker: batches stay queued)."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
from collections.abc import Iterator

import pytest

from errata.client import AsyncClient, Batch, Client, ErrataApiError, WaitTimedOut
from tests.support.errata_process import api_alone


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with api_alone(tmp_path_factory.mktemp("api")) as url:
        yield url


def _edit(subject: str) -> dict[str, object]:
    return {"subject": subject, "prompt": "{} was written by", "target_new": "Dickens"}


def test_both_clients_have_the_same_methods_with_the_same_arguments() -> None:
    assert _signatures(AsyncClient) == _signatures(Client)
    assert {"submit_edits", "wait_for_batch", "generate", "stream", "purge"} <= set(_signatures(Client))


def _signatures(kind: type) -> dict[str, list[str]]:
    methods = {name: member for name, member in vars(kind).items() if inspect.isfunction(member) and name[0] != "_"}
    return {
        name: [str(each) for each in inspect.signature(found).parameters.values()] for name, found in methods.items()
    }


def test_batches_are_submitted_side_by_side_and_found_again(url: str) -> None:
    async def story() -> None:
        async with AsyncClient(url) as client:
            first, second = await asyncio.gather(
                client.submit_edits([_edit("Hamlet")]), client.submit_edits([_edit("Emma"), _edit("Faust")])
            )
            assert [edit.subject for edit in second.edits] == ["Emma", "Faust"]
            assert (await client.batch(first.id)).edits == first.edits
            assert {batch.id async for batch in client.batches()} >= {first.id, second.id}
            assert [edit.subject async for edit in client.edits(batch=first.id)] == ["Hamlet"]

    asyncio.run(story())


def test_waiting_sees_progress_and_ends_with_the_whole_batch(url: str) -> None:
    seen: list[str] = []

    async def story() -> Batch:
        polled = asyncio.Event()

        def note(now: Batch) -> None:
            seen.append(now.status)
            polled.set()

        async with AsyncClient(url) as client:
            batch = await client.submit_edits([_edit("Candide")])
            with pytest.raises(WaitTimedOut):
                await client.wait_for_batch(batch.id, timeout_seconds=0.05, poll_seconds=0.01)
            waiting = asyncio.create_task(client.wait_for_batch(batch.id, on_progress=note, poll_seconds=0.01))
            await polled.wait()
            await client.cancel_batch(batch.id)
            return await waiting

    ended = asyncio.run(story())
    assert (ended.status, [edit.status for edit in ended.edits]) == ("cancelled", ["cancelled"])
    assert (seen[0], seen[-1]) == ("queued", "cancelled")


def test_a_list_longer_than_a_page_comes_whole(url: str) -> None:
    async def story() -> list[str]:
        async with AsyncClient(url) as client:
            batch = await client.submit_edits([_edit(f"Book {n}") for n in range(520)])
            return [edit.subject async for edit in client.edits(batch=batch.id)]

    assert sorted(asyncio.run(story())) == sorted(f"Book {n}" for n in range(520))


def test_a_refusal_is_raised_and_a_ready_service_says_so(url: str) -> None:
    async def story() -> None:
        async with AsyncClient(url) as client:
            with pytest.raises(ErrataApiError) as raised:
                await client.edit("nothing")
            assert raised.value.status == 404
            assert (await client.readiness()).ready

    asyncio.run(story())


def test_importing_the_clients_imports_no_torch() -> None:
    asked = "import sys, errata.client; sys.exit('torch' in sys.modules or 'redis' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", asked], check=False).returncode == 0
