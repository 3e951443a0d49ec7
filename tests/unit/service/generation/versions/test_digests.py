"""A served version has the ledger's digest; one with another digest is read again while answers go on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from editing_core.errors import StoreDamaged
from editing_core.versions.store import VersionStore
from service.generation.versions.resident import ResidentVersions
from tests.unit.service.generation.versions.examples import LOADED


def test_a_version_with_another_digest_is_not_served_and_is_read_again_once_restored(
    residents: ResidentVersions, store: VersionStore
) -> None:
    wanted = store.read_manifest("v1").digest
    kept = [path.read_bytes() for path in _files(store, "v1")]
    other = store.read_manifest("v2").model_copy(update={"version": "v1"})
    tensors = store.load_tensors("v2", LOADED.device)
    store.remove("v1")
    store.write(other, tensors)
    with pytest.raises(StoreDamaged, match="in the ledger"):
        residents.promote("v1", digest=wanted)
    assert residents.live is None
    for path, content in zip(_files(store, "v1"), kept, strict=True):
        path.write_bytes(content)
    assert residents.promote("v1", digest=wanted).digest == wanted


def test_a_live_version_with_another_digest_is_read_again_while_it_stays_live(
    residents: ResidentVersions, store: VersionStore
) -> None:
    wanted = store.read_manifest("v1").digest
    kept = [path.read_bytes() for path in _files(store, "v1")]
    other = store.read_manifest("v2").model_copy(update={"version": "v1"})
    tensors = store.load_tensors("v2", LOADED.device)
    store.remove("v1")
    store.write(other, tensors)
    served = residents.promote("v1")

    async def ask() -> None:
        async with residents.lease() as resident:
            assert resident is served

    for _ in range(2):
        with pytest.raises(StoreDamaged, match="in the ledger"):
            residents.promote("v1", digest=wanted)
        asyncio.run(ask())
    for path, content in zip(_files(store, "v1"), kept, strict=True):
        path.write_bytes(content)
    assert residents.promote("v1", digest=wanted).digest == wanted
    assert residents.live is not served
    assert residents.versions == ("v1",)


def _files(store: VersionStore, version: str) -> tuple[Path, Path]:
    return store.layout.manifest_file(version), store.layout.tensor_file(version)


def test_a_version_with_another_digest_than_the_ledger_says_is_not_served(residents: ResidentVersions) -> None:
    residents.promote("v1")
    with pytest.raises(StoreDamaged, match="ledger"):
        residents.promote("v2", digest="sha256:other")
    assert residents.live is not None
    assert residents.live.version == "v1"
