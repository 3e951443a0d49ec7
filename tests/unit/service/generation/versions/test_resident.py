"""Versions are loaded on demand, kept while in use, unloaded above the limit, and never partly loaded."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
import torch

from editing_core.errors import NotFound, StoreDamaged, StoreMismatch
from editing_core.versions.store import VersionStore
from service.generation.decoding.loop import DecodeLoop
from service.generation.errors import NoRoom, NothingServed
from service.generation.versions.loading import EngineLimits, VersionLoader
from service.generation.versions.memory_budget import MemoryBudget
from service.generation.versions.resident import ResidentVersions
from tests.support.generation import view_of, write_version
from tests.unit.service.generation.versions.examples import LOADED

ROW = torch.tensor([[5, 9, 33, 70]])


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await work()

    asyncio.run(main())


def damage(store: VersionStore, version: str) -> None:
    path = store.layout.tensor_file(version)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_a_resident_version_computes_with_its_own_weights(residents: ResidentVersions) -> None:
    found = residents.promote("v1")
    assert torch.equal(found.model(ROW).logits, view_of(LOADED, "v1")(ROW).logits)
    assert not torch.allclose(found.model(ROW).logits, LOADED.model(ROW).logits)


def test_v0_is_the_loaded_model_itself(residents: ResidentVersions) -> None:
    assert residents.promote("v0").model is LOADED.model


def test_nothing_is_served_before_a_first_promotion(residents: ResidentVersions) -> None:
    async def work() -> None:
        with pytest.raises(NothingServed):
            async with residents.lease():
                pass

    run(work)


def test_a_lease_without_a_name_is_of_the_live_version_of_its_moment(residents: ResidentVersions) -> None:
    async def work() -> None:
        residents.promote("v1")
        async with residents.lease() as before:
            residents.promote("v2")
            async with residents.lease() as after:
                assert (before.version, after.version) == ("v1", "v2")

    run(work)


def test_a_used_version_stays_in_memory_above_the_limit_and_leaves_afterwards(residents: ResidentVersions) -> None:
    async def work() -> None:
        residents.promote("v0")
        async with residents.lease("v1"), residents.lease("v2"), residents.lease("v3"):
            assert set(residents.versions) == {"v0", "v1", "v2", "v3"}
        assert len(residents.versions) == 2

    run(work)


def test_the_least_recently_used_leaves_first_and_the_live_one_never(residents: ResidentVersions) -> None:
    async def work() -> None:
        residents.promote("v0")
        for version in ("v1", "v2", "v3"):
            async with residents.lease(version):
                pass
            assert set(residents.versions) == {"v0", version}

    run(work)


def test_a_version_asked_by_many_at_once_is_loaded_once(residents: ResidentVersions) -> None:
    async def work() -> None:
        async with AsyncExitStack() as stack:
            leases = [stack.enter_async_context(residents.lease("v1")) for _ in range(8)]
            found = await asyncio.gather(*leases)
        assert len(set(map(id, found))) == 1

    run(work)


def test_a_client_that_goes_while_a_version_loads_leaves_the_others_waiting_for_it(residents: ResidentVersions) -> None:
    async def hold() -> str:
        async with residents.lease("v1") as resident:
            return resident.version

    async def work() -> None:
        first, second = asyncio.create_task(hold()), asyncio.create_task(hold())
        await asyncio.sleep(0)
        first.cancel()
        assert await second == "v1"

    run(work)


@pytest.mark.parametrize("name", ["v9", "v01", "latest", "../v1", "", "v1/../v1"])
def test_a_version_that_is_not_kept_is_not_found(residents: ResidentVersions, name: str) -> None:
    async def work() -> None:
        with pytest.raises(NotFound):
            async with residents.lease(name):
                pass

    run(work)
    assert residents.versions == ()


def test_a_damaged_version_leaves_the_live_one_in_its_place(store: VersionStore, residents: ResidentVersions) -> None:
    residents.promote("v1")
    damage(store, "v2")
    with pytest.raises(StoreDamaged, match="v2") as damaged:
        residents.promote("v2")
    assert str(store.layout.root) not in damaged.value.detail
    assert residents.live is not None
    assert residents.live.version == "v1"
    assert residents.versions == ("v1",)


def test_a_repaired_version_can_be_promoted_after_all(store: VersionStore, residents: ResidentVersions) -> None:
    damage(store, "v2")
    with pytest.raises(StoreDamaged):
        residents.promote("v2")
    damage(store, "v2")
    assert residents.promote("v2").version == "v2"


def test_a_version_of_another_model_is_not_served(store: VersionStore, residents: ResidentVersions) -> None:
    write_version(store, LOADED, "v4", fingerprint="sha256:other")
    with pytest.raises(StoreMismatch, match="sha256:other"):
        residents.promote("v4")


def test_a_version_whose_files_are_gone_leaves_memory_when_it_is_not_in_use(
    store: VersionStore, residents: ResidentVersions
) -> None:
    async def work() -> None:
        residents.promote("v0")
        async with residents.lease("v1"):
            store.remove("v1")
            residents.evict_unused()
            assert set(residents.versions) == {"v0", "v1"}
            with pytest.raises(NotFound):  # a new request does not keep it in memory
                async with residents.lease("v1"):
                    pass
        assert residents.versions == ("v0",)

    run(work)


def test_memory_is_made_by_letting_the_least_recently_used_go_and_never_by_more_than_there_is(
    store: VersionStore,
) -> None:
    size = store.read_manifest("v1").size_bytes
    assert size is not None
    loader = VersionLoader(LOADED, store, EngineLimits(num_places=2, max_waiting=8, prefill_tokens=64))
    memory = MemoryBudget(limit_bytes=2 * size, free_bytes=lambda: None)
    residents = ResidentVersions(loader, DecodeLoop(), memory=memory, max_resident=9)

    async def work() -> None:
        residents.promote("v1")
        async with residents.lease("v2"):
            with pytest.raises(NoRoom, match="v3 needs"):
                residents.promote("v3")
            assert residents.live is not None
            assert residents.live.version == "v1"
            assert residents.versions == ("v1", "v2")
        assert residents.promote("v3").version == "v3"
        assert residents.versions == ("v1", "v3")
        assert residents.promote("v2").version == "v2"
        assert residents.versions == ("v3", "v2")

    run(work)
    residents.close()


def test_a_copy_that_was_set_aside_counts_as_memory_and_leaves_when_its_own_users_have_gone(
    store: VersionStore, residents: ResidentVersions
) -> None:
    async def work() -> None:
        residents.promote("v0")
        async with AsyncExitStack() as old_user:
            old = await old_user.enter_async_context(residents.lease("v1"))
            shutil.rmtree(store.layout.version_dir("v1"))
            restored = write_version(store, LOADED, "v1", seed=9)
            async with residents.lease("v1", digest=restored.digest) as new:
                assert (new.digest, old.digest != new.digest) == (restored.digest, True)
                assert residents.size_bytes == old.size_bytes + new.size_bytes
                await old_user.aclose()
                assert residents.size_bytes == new.size_bytes

    run(work)
