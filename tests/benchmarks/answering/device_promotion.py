"""Gaps between the tokens of running streams while another version is loaded and begins to answer.

The decode loop, the resident versions and the files are the service's own; HTTP and the pointer are left out.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from editing_core.models.load import LoadedModel
from editing_core.models.memory import free_bytes
from editing_core.versions.identity import bind_identity
from editing_core.versions.layout import ORIGINAL, StoreLayout
from editing_core.versions.store import VersionStore
from service.generation.decoding.loop import DecodeLoop
from service.generation.decoding.requests import Piece
from service.generation.versions.loading import EngineLimits, Resident, VersionLoader
from service.generation.versions.memory_budget import MemoryBudget
from service.generation.versions.resident import ResidentVersions
from tests.benchmarks.answering.device_steps import random_requests
from tests.benchmarks.measuring.random_versions import random_matrices, write_version

NUM_PLACES = 16
VERSION = "v1"
QUIET_SECONDS = 1.0
"""Seconds that the streams run alone before the promotion, and together with those of the new version after it."""
STREAM_TOKENS = 1500


@dataclass(slots=True)
class Streams:
    """When each stream of one version got its tokens."""

    times: list[list[float]]
    answers: list[Future[Any]] = field(default_factory=list)

    def gaps(self, start: float, end: float) -> list[float]:
        """Seconds between two tokens of a stream, between the two times."""
        return [
            after - before
            for times in self.times
            for before, after in pairwise(times)
            if before < end and after > start
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionGaps:
    """Seconds between two tokens of one of the running streams."""

    alone: list[float]
    during: list[float]
    """From the order to load until the version was live."""
    beside: list[float]
    """While as many streams of the new version began and ran."""
    promoted_seconds: float


def promotion_gaps(loaded: LoadedModel, count: int, folder: Path) -> PromotionGaps:
    """Run ``count`` streams of the original, promote a version with random matrices, run as many of its streams."""
    with _served(loaded, folder) as (loop, residents):
        original = residents.promote(ORIGINAL)
        running = _begin(loop, original, count)
        time.sleep(QUIET_SECONDS)
        before = _now()
        time.sleep(QUIET_SECONDS)
        ordered = _now()
        promoted = residents.promote(VERSION)
        live = _now()
        fresh = _begin(loop, promoted, count)
        time.sleep(QUIET_SECONDS)
        ended = _now()
        for answer in (*running.answers, *fresh.answers):
            assert not answer.done(), "a stream ended before the measurement did"
            answer.cancel()
    return PromotionGaps(
        alone=running.gaps(before, ordered),
        during=running.gaps(ordered, live),
        beside=running.gaps(live, ended),
        promoted_seconds=live - ordered,
    )


@contextmanager
def _served(loaded: LoadedModel, folder: Path) -> Iterator[tuple[DecodeLoop, ResidentVersions]]:
    bind_identity(folder, model=loaded.fingerprint, model_source=loaded.source)
    store = VersionStore(StoreLayout(folder))
    if VERSION not in store.list():
        write_version(store, loaded, VERSION, random_matrices(loaded))
    limits = EngineLimits(num_places=NUM_PLACES, max_waiting=NUM_PLACES, prefill_tokens=128)
    loop = DecodeLoop()
    loader = VersionLoader(loaded, store, limits)
    loader.warm_up()
    residents = ResidentVersions(
        loader,
        loop,
        memory=MemoryBudget(limit_bytes=None, free_bytes=lambda: free_bytes(loaded.device)),
        max_resident=2,
    )
    loop.start()
    try:
        yield loop, residents
    finally:
        loop.stop()
        residents.close()


def _begin(loop: DecodeLoop, resident: Resident, count: int) -> Streams:
    streams = Streams([[] for _ in range(count)])

    def note(number: int, _: Piece) -> None:
        streams.times[number].append(_now())

    streams.answers = loop.submit(resident.engine, random_requests(count, STREAM_TOKENS), listener=note)
    return streams


def _now() -> float:
    return time.perf_counter()
