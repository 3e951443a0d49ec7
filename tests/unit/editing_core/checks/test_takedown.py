"""A set that edits were only taken out of is judged by harm that has grown, each kind by itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from editing_core.asking.perplexity import Perplexities
from editing_core.checks.takedown import judge_takedown
from editing_core.checks.verdict import Measured
from tests.unit.editing_core.checks.test_verdict import FINE, LIMITS

MUCH, LESS = 2 * LIMITS.max_drift, 1.5 * LIMITS.max_drift
HIGH, LOWER = 10 * (1 + 3 * LIMITS.max_perplexity_rise), 10 * (1 + 2 * LIMITS.max_perplexity_rise)


def measured(drift: tuple[float, float], perplexity: tuple[float, float]) -> Measured:
    """Of each cost what it was before, and what it is without the edits."""
    return replace(
        FINE,
        num_new=0,
        parent_drift=drift[0],
        drift=drift[1],
        perplexity=Perplexities(original=10.0, parent=perplexity[0], candidate=perplexity[1]),
    )


@pytest.mark.parametrize(
    ("drift", "perplexity", "words"),
    [
        ((MUCH, LESS), (HIGH, LOWER), ()),
        ((0.0, LESS), (10.0, 10.0), ("drift",)),
        ((0.0, 0.0), (10.0, LOWER), ("perplexity",)),
        ((MUCH, LESS), (10.0, LOWER), ("perplexity",)),
        ((LESS, MUCH), (HIGH, LOWER), ("drift",)),
        ((LESS, MUCH), (LOWER, HIGH), ("perplexity", "drift")),
    ],
)
def test_a_cost_counts_if_it_breaks_its_limit_and_has_grown(
    drift: tuple[float, float], perplexity: tuple[float, float], words: tuple[str, ...]
) -> None:
    report = judge_takedown(measured(drift, perplexity), LIMITS, edits={})
    assert report.passed == (not words)
    assert len(report.reasons) == len(words)
    for word, reason in zip(words, report.reasons, strict=True):
        assert f"more than with them: {word} " in reason


def test_numbers_that_are_not_finite_are_refused_whatever_they_were() -> None:
    report = judge_takedown(measured((0.0, float("nan")), (10.0, 10.0)), LIMITS, edits={})
    assert "no finite numbers" in report.reasons[0]
