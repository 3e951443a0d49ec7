"""The Prometheus metrics of the API: requests, their durations, and the state of the ledger.

Labels are bounded: a route is labelled by its template, never by its path.
"""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import Scope

from service.api.collectors.ledger import LedgerCollector
from worker.protocol.connections import Durability
from worker.protocol.ledger.ledger import Ledger
from worker.protocol.queue import WorkQueue

LATENCY_BUCKETS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)
CLASSES = ("2xx", "3xx", "4xx", "5xx")
"""Classes of HTTP statuses; a client that disconnected counts as 4xx."""


class ApiMetrics:
    """The metrics of the API of one process, and their registry."""

    def __init__(
        self, ledger: Ledger, queue: WorkQueue, *, registry: CollectorRegistry, durability: Durability | None = None
    ) -> None:
        """``durability`` is the report of Redis at startup. Without it, the metric of durability does not exist."""
        self.registry = registry
        self.requests = Counter(
            "errata_http_requests_total", "Requests answered.", ("method", "route", "status"), registry=self.registry
        )
        self.latency = Histogram(
            "errata_http_request_duration_seconds",
            "Time from the first byte of a request to the last byte of its response.",
            ("method", "route"),
            registry=self.registry,
            buckets=LATENCY_BUCKETS_SECONDS,
        )
        self.classes = Counter(
            "errata_http_responses_total",
            "Requests answered, by class of the HTTP status.",
            ("class",),
            registry=self.registry,
        )
        for name in CLASSES:
            self.classes.labels(name)
        self.edits_accepted = Counter(
            "errata_edits_accepted_total", "Edits accepted into the ledger.", registry=self.registry
        )
        self.registry.register(LedgerCollector(ledger, queue))
        if durability is not None:
            durable = Gauge(
                "errata_redis_durable", "1 if Redis keeps accepted batches through a crash.", registry=self.registry
            )
            durable.set(durability.ok)

    def begin_at_zero(self, paths: Mapping[str, Mapping[str, object]]) -> None:
        """Create the duration metric of each route before its first request; ``paths`` as in OpenAPI."""
        for route, operations in paths.items():
            for method in operations:
                self.latency.labels(method.upper(), route)

    def observe(self, scope: Scope, status: int, duration_seconds: float) -> None:
        """Count one finished request."""
        route = getattr(scope.get("route"), "path", "unmatched")
        method = scope["method"] if scope["method"] in ("GET", "POST", "PUT", "DELETE") else "other"
        self.requests.labels(method, route, status).inc()
        self.classes.labels(f"{status // 100}xx").inc()
        self.latency.labels(method, route).observe(duration_seconds)

    def render(self) -> bytes:
        """Return all metrics in Prometheus' text format. Reads the ledger."""
        return generate_latest(self.registry)
