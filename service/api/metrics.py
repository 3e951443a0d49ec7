"""The figures that Prometheus reads from the API: what was asked, how long it took, how things stand in the ledger.

Labels are bounded: routes by their template, never by their path.
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
"""Of answers; a client that went away counts as 4xx."""


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
        self.classes = Counter(
            "errata_http_responses_total",
            "Requests answered, by class of the status.",
            ("class",),
            registry=self.registry,
        )
        for name in CLASSES:
            self.classes.labels(name)
        self.edits_accepted = Counter(
            "errata_edits_accepted_total", "Edits taken into the ledger.", registry=self.registry
        )
        self.registry.register(LedgerCollector(ledger, queue))
        if durability is not None:
            kept = Gauge("errata_redis_durable", "1 when Redis keeps what was accepted.", registry=self.registry)
            kept.set(durability.ok)

    def begin_at_zero(self, paths: Mapping[str, Mapping[str, object]]) -> None:
        """Have each route's time there before it is first asked; ``paths``: as OpenAPI lists them."""
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
        """All of it in Prometheus' text format; asks the ledger."""
        return generate_latest(self.registry)
