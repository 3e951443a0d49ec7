"""One ``errata up`` with the demo model for each module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from service.cli.demo.running import RunningErrata
from service.client.client import Client
from tests.support.errata_process import errata_up


@pytest.fixture(scope="module")
def errata(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningErrata]:
    with errata_up(tmp_path_factory.mktemp("errata")) as running:
        yield running


@pytest.fixture
def client(errata: RunningErrata) -> Iterator[Client]:
    with Client(errata.url, timeout_seconds=60.0) as client:
        yield client
