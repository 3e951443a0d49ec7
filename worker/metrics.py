"""What the worker tells Prometheus.

The API shows the figures of all workers together: the ledger counts edits by outcome as it moves batches, and is told
the stages' times from here.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from redis.exceptions import RedisError

from worker.protocol.errors import LedgerDown
from worker.protocol.ledger import Ledger
from worker.protocol.logs import log_event

LOGGER = logging.getLogger(__name__)

STAGE_BUCKETS = (0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 900, 3600)


class Metrics:
    """The worker's figures, in a registry of their own."""

    def __init__(self) -> None:
        self._ledger: Ledger | None = None
        self.registry = CollectorRegistry()
        self._stage = Histogram(
            "errata_stage_seconds",
            "Time spent in a stage of the work",
            ["stage"],
            buckets=STAGE_BUCKETS,
            registry=self.registry,
        )
        self._edits = Counter(
            "errata_edits_total", "Edits that reached a final state", ["outcome"], registry=self.registry
        )
        self._depth = Gauge("errata_queue_depth", "Jobs that wait in the queue", registry=self.registry)
        self._open = Gauge("errata_open_batches", "Batches without a final state", registry=self.registry)
        self._revision = Gauge(
            "errata_pointer_revision", "How often the live version has changed", registry=self.registry
        )
        self._bytes = Gauge("errata_store_bytes", "Bytes of the store's files", ["kind"], registry=self.registry)

    def keep_in(self, ledger: Ledger) -> None:
        """Add the stages' times to the ledger's too, from now on."""
        self._ledger = ledger

    @contextmanager
    def stage(self, stage: str) -> Iterator[None]:
        """Measure a stage: computing, applying, checking."""
        began = time.monotonic()
        try:
            yield
        finally:
            seconds = time.monotonic() - began
            self._stage.labels(stage).observe(seconds)
            self._keep(stage, seconds)

    def count_edits(self, outcome: str, num_edits: int) -> None:
        """Count edits by outcome: applied, rejected, failed."""
        self._edits.labels(outcome).inc(num_edits)

    def _keep(self, stage: str, seconds: float) -> None:
        if self._ledger is None:
            return
        try:
            self._ledger.add_stage_seconds(stage, seconds)
        except (LedgerDown, RedisError) as error:  # a figure is not worth the work
            log_event(LOGGER, "figure.lost", level=logging.DEBUG, stage=stage, reason=str(error))

    def show(self, *, depth: int, open_batches: int, revision: int) -> None:
        """Show where things stand."""
        self._depth.set(depth)
        self._open.set(open_batches)
        self._revision.set(revision)

    def show_bytes(self, sizes: Mapping[str, int]) -> None:
        """Show how large the store is, by kind: versions, targets, artefacts, exports."""
        for kind, size in sizes.items():
            self._bytes.labels(kind).set(size)

    def expose(self, host: str, port: int) -> None:
        """Answer GET /metrics on this port, in a thread."""
        start_http_server(port, addr=host, registry=self.registry)
