"""A store of three versions of a tiny model, and memory for two in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from editing_core.versions.identity import bind_identity
from editing_core.versions.layout import StoreLayout
from editing_core.versions.store import VersionStore
from service.generation.versions.resident import ResidentVersions
from tests.support.generation import small_residents, write_version
from tests.unit.service.generation.versions.examples import LOADED


@pytest.fixture
def store(tmp_path: Path) -> VersionStore:
    bind_identity(tmp_path, model=LOADED.fingerprint, model_source="tiny")
    store = VersionStore(StoreLayout(tmp_path))
    for version in ("v1", "v2", "v3"):
        write_version(store, LOADED, version)
    return store


@pytest.fixture
def residents(store: VersionStore) -> Iterator[ResidentVersions]:
    with small_residents(LOADED, store) as made:
        yield made
