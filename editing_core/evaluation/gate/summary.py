"""The figures of a candidate as a report shows them: plain JSON. Knows no model and no verdict."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from editing_core.evaluation.gate.verdict import CheckLimits, Measured


def summary_of(measured: Measured, limits: CheckLimits) -> dict[str, Any]:
    """All figures with their limits, as plain JSON."""
    perplexity = measured.perplexity
    used = max(perplexity.rise / limits.max_perplexity_rise, measured.drift / limits.max_drift)
    summary = {
        "num_live": measured.num_live,
        "num_new": measured.num_new,
        "taken": measured.taken.to_json(),
        "told": measured.told,
        "paraphrases": measured.paraphrases.to_json(),
        "neighbors": measured.neighbors.to_json(),
        "earlier": {**measured.earlier.to_json(), "lost": list(measured.earlier.blame)},
        "guards": {**measured.guards.to_json(), "lost": list(measured.guards.blame)},
        "drift": measured.drift,
        "drift_from_parent": measured.drift_from_parent,
        "probe_answers_kept": measured.answers_kept,
        "perplexity": {**asdict(perplexity), "rise": perplexity.rise, "rise_over_parent": perplexity.rise_over_parent},
        "delta_norms": dict(measured.delta_norms),
        "room": min(1.0, max(0.0, 1 - used)) if math.isfinite(used) else 0.0,
        "limits": asdict(limits),
    }
    plain: dict[str, Any] = without_nan(summary)
    return plain


def without_nan(value: Any) -> Any:
    """The same with None for every number that JSON does not know."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(item) for item in value]
    return value
