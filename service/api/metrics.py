"""The figures that Prometheus reads from the API: what was asked, how long it took, how things stand in the ledger.

Labels are bounded: routes by their template, never by their path.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector
from starlette.types import Scope

from editing_core.errors import NotFound
from worker.protocol.connections import Durability
from worker.protocol.errors import LedgerDown
from worker.protocol.jobs import FINAL_STATES
from worker.protocol.ledger import Ledger
from worker.protocol.queue import WorkQueue

LATENCY_BUCKETS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)
STAGES = ("computing", "applying", "checking", "exporting")


class ApiMetrics:
    """The registry of one process's API, and what is counted in it."""

    def __init__(
        self, ledger: Ledger, queue: WorkQueue, *, registry: CollectorRegistry, durability: Durability | None = None
    ) -> None:
        """``durability``: what Redis said about itself at start; None: it was not asked, and no figure tells."""
        self.registry = registry
        self.requests = Counter(
            "errata_http_requests_total", "Requests answered.", ("method", "route", "status"), registry=self.registry
        )
        self.latency = Histogram(
            "errata_http_request_duration_seconds",
            "From the first byte of a request to the last of its answer.",
            ("method", "route"),
            registry=self.registry,
            buckets=LATENCY_BUCKETS_SECONDS,
        )
        self.edits_accepted = Counter(
            "errata_edits_accepted_total", "Edits taken into the ledger.", registry=self.registry
        )
        self.registry.register(_LedgerCollector(ledger, queue))
        if durability is not None:
            kept = Gauge("errata_redis_durable", "1 when Redis keeps what was accepted.", registry=self.registry)
            kept.set(durability.ok)

    def observe(self, scope: Scope, status: int, duration_seconds: float) -> None:
        """Count one finished request."""
        route = getattr(scope.get("route"), "path", "unmatched")
        method = scope["method"] if scope["method"] in ("GET", "POST", "PUT", "DELETE") else "other"
        self.requests.labels(method, route, status).inc()
        self.latency.labels(method, route).observe(duration_seconds)

    def render(self) -> bytes:
        """All of it in Prometheus' text format; asks the ledger."""
        return generate_latest(self.registry)


class _LedgerCollector(Collector):
    """What the ledger says at the moment it is asked."""

    def __init__(self, ledger: Ledger, queue: WorkQueue) -> None:
        self._ledger = ledger
        self._queue = queue

    def describe(self) -> list[Metric]:
        """Nothing ahead of time: the ledger may be out of reach when this is registered."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Read the ledger; without it only ``errata_ledger_up`` is told."""
        try:
            figures = [*self._gauges(), self._edits(), self._stages()]
        except LedgerDown:
            figures = []
        yield GaugeMetricFamily("errata_ledger_up", "1 when Redis answers.", value=1 if figures else 0)
        yield from figures

    def _gauges(self) -> Iterator[Metric]:
        pointer = self._ledger.pointer()
        figures = (
            ("errata_queue_depth", "Jobs that wait for a worker.", self._queue.depth()),
            ("errata_open_batches", "Batches without a final state.", self._ledger.open_count()),
            ("errata_pointer_revision", "Number of the last promotion.", pointer.revision),
            ("errata_store_room", "Share of the checks' limits that is left, 0 to 1.", self._room(pointer.version)),
        )
        for name, meaning, value in figures:
            yield GaugeMetricFamily(name, meaning, value=value)

    def _room(self, version: str) -> float:
        try:
            return float(self._ledger.version(version).checks.get("room", 1.0))
        except NotFound:  # its record is not written yet, or lost
            return 1.0

    def _edits(self) -> Metric:
        family = CounterMetricFamily("errata_edits", "Edits that reached a final state.", labels=("outcome",))
        counts = self._ledger.edit_outcomes()
        for outcome in sorted(FINAL_STATES):
            family.add_metric((outcome,), counts.get(outcome, 0))
        return family

    def _stages(self) -> Metric:
        family = SummaryMetricFamily("errata_stage_seconds", "Time spent in a stage of the work.", labels=("stage",))
        times = self._ledger.stage_times()
        for stage in STAGES:
            count, seconds = times.get(stage, (0, 0.0))
            family.add_metric((stage,), count_value=count, sum_value=seconds)
        return family
