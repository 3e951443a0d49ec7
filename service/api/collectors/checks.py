"""The results of the live version's checks as metrics. If nothing was checked, the value is the best one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client.core import GaugeMetricFamily, Metric

from editing_core.versions.measures import recorded

SHARES = ("reliability", "generalization", "specificity", "earlier", "guards")
PLAIN = {"generation_success": "generation_success", "probe_answers": "probe_answers_kept"}


def check_metrics(checks: Mapping[str, Any]) -> Iterator[Metric]:
    """Yield shares, drift, perplexity and remaining room of the live version. ``checks`` is as in its record."""
    yield GaugeMetricFamily(
        "errata_store_room", "Share of the checks' limits that is left, 0 to 1.", value=_number(checks.get("room"), 1.0)
    )
    family = GaugeMetricFamily(
        "errata_check_share", "Share of prompts that pass, in the checks of the live version.", labels=("check",)
    )
    for name in SHARES:
        family.add_metric((name,), _number((recorded(checks, name) or {}).get("share"), 1.0))
    for label, name in PLAIN.items():
        family.add_metric((label,), _number(recorded(checks, name), 1.0))
    yield family
    perplexity = checks.get("perplexity") or {}
    gauges = (
        ("errata_check_drift_nats", "KL divergence from the original on the probe set.", checks.get("drift"), 0.0),
        ("errata_check_perplexity_ratio", "Perplexity over the original's.", _ratio(perplexity), 1.0),
    )
    for name, meaning, value, nothing in gauges:
        yield GaugeMetricFamily(name, meaning, value=_number(value, nothing))


def _ratio(perplexity: Mapping[str, Any]) -> float | None:
    rise = perplexity.get("rise")
    return None if rise is None else 1.0 + float(rise)


def _number(value: Any, nothing: float) -> float:
    return nothing if value is None else float(value)
