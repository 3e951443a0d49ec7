"""A rejected batch is counted under the limit that it broke."""

from __future__ import annotations

from typing import Any

import pytest

from worker.commit.figures import rejection
from worker.metrics import REASONS

LIMITS = {
    "min_taken": 0.7,
    "min_neighbors_kept": 0.8,
    "min_earlier_kept": 0.9,
    "min_guards_kept": 0.95,
    "max_drift": 0.5,
    "max_perplexity_rise": 0.1,
}
FINE: dict[str, Any] = {
    "limits": LIMITS,
    "taken": {"share": 1.0},
    "neighbors": {"share": 1.0},
    "earlier": {"share": None},
    "guards": {"share": None},
    "drift": 0.1,
    "drift_from_parent": 0.1,
    "perplexity": {"rise": 0.01, "rise_over_parent": 0.01},
    "delta_norms": {},
}


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"taken": {"share": 0.69}}, "taken"),
        ({"neighbors": {"share": 0.79}, "taken": {"share": 0.1}}, "neighbors"),
        ({"earlier": {"share": 0.89}}, "earlier"),
        ({"guards": {"share": 0.94}, "neighbors": {"share": 0.1}}, "guards"),
        ({"drift": 0.6, "drift_from_parent": 0.6}, "harm"),
        ({"perplexity": {"rise": 0.2, "rise_over_parent": 0.2}}, "harm"),
        ({"drift": 0.6}, "capacity"),
        ({"perplexity": {"rise": 0.2, "rise_over_parent": 0.0}}, "capacity"),
        ({"delta_norms": {"a.weight": 20.0}}, "harm"),
        ({"drift": None}, "not_finite"),
        ({"perplexity": {"rise": None, "rise_over_parent": None}}, "not_finite"),
        ({}, "other"),
    ],
)
def test_the_broken_limit_is_the_reason(changed: dict[str, Any], reason: str) -> None:
    assert rejection(FINE | changed) == reason
    assert reason in REASONS
