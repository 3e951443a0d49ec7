"""An empty store."""

from __future__ import annotations

from pathlib import Path

import pytest

from editing_core.versions.layout import StoreLayout
from editing_core.versions.store import VersionStore


@pytest.fixture
def store(tmp_path: Path) -> VersionStore:
    return VersionStore(StoreLayout(tmp_path / "data"))
