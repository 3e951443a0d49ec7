"""The Prometheus metrics of a worker.

The API exports the metrics of all workers together: the ledger counts edits by outcome, and this module adds the times
of stages to it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from redis.exceptions import RedisError

from worker.protocol.errors import LedgerDown
from worker.protocol.ledger.batches import STAGES
from worker.protocol.ledger.ledger import Ledger
from worker.protocol.logs import log_event

LOGGER = logging.getLogger(__name__)

STAGE_BUCKETS = (0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 900, 3600)
OUTCOMES = ("applied", "rejected", "failed", "dropped")
KINDS = ("versions", "targets", "artefacts", "exports")
REASONS = ("input", "reliability", "specificity", "earlier", "guards", "harm", "capacity", "not_finite", "other")
"""Reasons of rejections: edits that do not fit the model, limits of the checks, weights that cannot be served."""


class _Counts:
    """Counters since the start of the process; every label value starts at 0."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.stage = Histogram(
            "errata_worker_stage_seconds",
            "Time spent in a stage of the work; queued: from a batch's acceptance to the start of a shard.",
            ["stage"],
            buckets=STAGE_BUCKETS,
            registry=registry,
        )
        self.edits = Counter(
            "errata_worker_edits_total", "Edits that reached a final state here", ["outcome"], registry=registry
        )
        self.rejections = Counter(
            "errata_worker_rejections_total", "Batches rejected here, by reason", ["reason"], registry=registry
        )
        self.rejected_edits = Counter(
            "errata_worker_rejected_edits_total",
            "Edits of batches rejected here, by reason",
            ["reason"],
            registry=registry,
        )
        self.superseded = Counter(
            "errata_edits_superseded_total", "Edits that a later one about the same thing replaced", registry=registry
        )
        self.taken_out = Counter("errata_edits_taken_out_total", "Edits that were taken out", registry=registry)
        self.targets = Counter("errata_worker_targets_total", "Edits whose z was searched or found", registry=registry)
        self.steps = Counter("errata_worker_z_steps_total", "Steps of searches for z", registry=registry)
        self.requeues = Counter(
            "errata_worker_requeues_total", "Forgotten units of work that were enqueued again", registry=registry
        )
        by_reason = ((self.rejections, REASONS), (self.rejected_edits, REASONS))
        for counter, values in ((self.stage, STAGES), (self.edits, OUTCOMES), *by_reason):
            for value in values:
                counter.labels(value)


class Metrics:
    """The metrics of the worker, in a registry of their own."""

    def __init__(self) -> None:
        self._ledger: Ledger | None = None
        self.registry = CollectorRegistry()
        self.refused_jobs = Counter(
            "errata_worker_refused_jobs_total", "Jobs in the queue that Errata did not write", registry=self.registry
        )
        self._counts = _Counts(self.registry)
        self._bytes = Gauge("errata_store_bytes", "Bytes of the store's files", ["kind"], registry=self.registry)
        for kind in KINDS:
            self._bytes.labels(kind)
        self._ready = Gauge(
            "errata_worker_ready", "1 when the model is loaded and work is taken", registry=self.registry
        )
        self._gpu = Gauge(
            "errata_worker_gpu_memory_bytes", "Memory of GPUs that this process holds.", registry=self.registry
        )
        self._unit_age = Gauge(
            "errata_worker_unit_age_seconds", "Since when the present unit of work is in hand", registry=self.registry
        )

    def watch(self, unit_age_seconds: Callable[[], float], *, gpu_bytes: Callable[[], int]) -> None:
        """Report these values to Prometheus, and mark the process as ready."""
        self._unit_age.set_function(unit_age_seconds)
        self._gpu.set_function(gpu_bytes)
        self._ready.set(1)

    def report_to(self, ledger: Ledger) -> None:
        """Also add the times of stages to the ledger."""
        self._ledger = ledger

    @contextmanager
    def stage(self, stage: str) -> Iterator[None]:
        """Measure a stage, one of ``STAGES``."""
        began = time.monotonic()
        try:
            yield
        finally:
            seconds = time.monotonic() - began
            self.went_through(stage, seconds)

    def went_through(self, stage: str, seconds: float) -> None:
        """Record a stage that was measured elsewhere."""
        self._counts.stage.labels(stage).observe(seconds)
        self._keep(stage, seconds)

    def count_edits(self, outcome: str, num_edits: int) -> None:
        """Count edits by outcome: applied, rejected, failed, dropped."""
        self._counts.edits.labels(outcome).inc(num_edits)

    def count_rejection(self, reason: str, num_edits: int) -> None:
        """Count a rejected batch and its edits; ``reason`` is one of ``REASONS``."""
        known = reason if reason in REASONS else "other"
        self._counts.rejections.labels(known).inc()
        self._counts.rejected_edits.labels(known).inc(num_edits)

    def count_set(self, *, num_superseded: int, num_taken_out: int) -> None:
        """Count earlier edits that a published version superseded or removed."""
        self._counts.superseded.inc(num_superseded)
        self._counts.taken_out.inc(num_taken_out)

    def count_targets(self, num_edits: int, num_steps: int) -> None:
        """Count edits whose z is now on disk, and the steps of the searches for missing ones."""
        self._counts.targets.inc(num_edits)
        self._counts.steps.inc(num_steps)

    def count_requeues(self, num_units: int) -> None:
        """Count forgotten units of work."""
        self._counts.requeues.inc(num_units)

    def _keep(self, stage: str, seconds: float) -> None:
        if self._ledger is None:
            return
        try:
            self._ledger.transitions.add_stage_seconds(stage, seconds)
        except (LedgerDown, RedisError) as error:  # a lost metric must not stop the work
            log_event(LOGGER, "figure.lost", level=logging.DEBUG, stage=stage, reason=str(error))

    def show_bytes(self, sizes: Mapping[str, int]) -> None:
        """Set the size of the store by kind: versions, targets, artefacts, exports."""
        for kind, size in sizes.items():
            self._bytes.labels(kind).set(size)

    def expose(self, host: str, port: int) -> None:
        """Serve GET /metrics on this port, in a thread."""
        start_http_server(port, addr=host, registry=self.registry)
