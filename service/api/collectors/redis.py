"""Metrics of Redis itself: whether accepted batches are on disk, and the memory in use."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric

from worker.protocol.ledger.ledger import Ledger


def redis_metrics(ledger: Ledger) -> Iterator[Metric]:
    """Yield the state of the append-only file and the memory in use. Raises LedgerDown."""
    reported = ledger.connection.redis_info("persistence") | ledger.connection.redis_info("memory")
    gauges = (
        ("errata_redis_append_only", "1 if Redis keeps an append-only file.", reported.get("aof_enabled") == "1"),
        (
            "errata_redis_last_write_ok",
            "1 if the last write to the append-only file succeeded.",
            _is_ok(reported, "aof_last_write_status"),
        ),
        (
            "errata_redis_last_rewrite_ok",
            "1 if the last rewrite of the append-only file succeeded.",
            _is_ok(reported, "aof_last_bgrewrite_status"),
        ),
        ("errata_redis_append_only_bytes", "Size of the append-only file.", int(reported.get("aof_current_size", 0))),
        ("errata_redis_memory_bytes", "Memory that Redis uses.", int(reported.get("used_memory", 0))),
    )
    for name, meaning, value in gauges:
        yield GaugeMetricFamily(name, meaning, value=float(value))


def _is_ok(reported: dict[str, str], name: str) -> bool:
    return reported.get(name, "ok") == "ok"
