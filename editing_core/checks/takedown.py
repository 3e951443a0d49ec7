"""The verdict on a set after a commit that only takes edits out. Knows no model.

Only harm against the original is judged, and each kind only if it has grown. The harm of the remaining edits was judged
when they were accepted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from editing_core.checks.limits import CheckLimits
from editing_core.checks.verdict import CheckReport, Measured, not_finite, report_of


def judge_takedown(measured: Measured, limits: CheckLimits, *, edits: dict[str, dict[str, Any]]) -> CheckReport:
    """Compare the harm with its limits."""
    reasons = tuple(not_finite(measured)) or tuple(_harm(measured, limits))
    return report_of(measured, limits, reasons, edits=edits)


def _harm(measured: Measured, limits: CheckLimits) -> Iterator[str]:
    perplexity = measured.perplexity
    costs = (
        ("perplexity", perplexity.rise, perplexity.rise_over_parent, limits.max_perplexity_rise),
        ("drift", measured.drift, measured.drift - measured.parent_drift, limits.max_drift),
    )
    for what, cost, growth, limit in costs:
        if growth > 0 and not cost <= limit:
            yield (
                f"without these edits the others harm more than with them: {what} {cost:.3g} of {limit:.3g} allowed, "
                "against the original. Take more of them out, or raise the limit"
            )
