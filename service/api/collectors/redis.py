"""What Redis says about itself: whether what was accepted is on its disk, and how much it holds."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric

from worker.protocol.ledger.ledger import Ledger


def redis_figures(ledger: Ledger) -> Iterator[Metric]:
    """The state of the append-only file, and memory. Raises LedgerDown."""
    told = ledger.connection.redis_info("persistence") | ledger.connection.redis_info("memory")
    figures = (
        ("errata_redis_append_only", "1 when Redis keeps an append-only file.", told.get("aof_enabled") == "1"),
        ("errata_redis_last_write_ok", "1 when the last write to it succeeded.", _is_ok(told, "aof_last_write_status")),
        (
            "errata_redis_last_rewrite_ok",
            "1 when it was last written anew without an error.",
            _is_ok(told, "aof_last_bgrewrite_status"),
        ),
        ("errata_redis_append_only_bytes", "Size of the append-only file.", int(told.get("aof_current_size", 0))),
        ("errata_redis_memory_bytes", "Memory that Redis uses.", int(told.get("used_memory", 0))),
    )
    for name, meaning, value in figures:
        yield GaugeMetricFamily(name, meaning, value=float(value))


def _is_ok(told: dict[str, str], name: str) -> bool:
    return told.get(name, "ok") == "ok"
