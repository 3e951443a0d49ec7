"""Metrics at the end of a commit: the reason for a rejection, and the effect of a version on earlier edits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from editing_core.checks.verdict import NOT_FINITE
from worker.commit.group import Group

if TYPE_CHECKING:
    from editing_core.checks.limits import Limit
    from editing_core.checks.verdict import CheckReport

_REASON_OF: dict[Limit, str] = {
    "finite": "not_finite",
    "guards": "guards",
    "specificity": "specificity",
    "earlier": "earlier",
    "norms": "harm",
    "drift": "harm",
    "perplexity": "harm",
    "reliability": "reliability",
}
"""Rejection reason by check limit, most severe first."""


def rejection(report: CheckReport) -> str:
    """Return the reason for the rejection, one of ``worker.metrics.REASONS``. The most severe broken limit decides."""
    if any(reason.startswith(NOT_FINITE) for reason in report.reasons):
        return "not_finite"
    broken = {found.limit for found in report.broken}
    blamed = next((reason for limit, reason in _REASON_OF.items() if limit in broken), None)
    return blamed or "capacity"  # a limit that breaks only for all live edits together


def changed(group: Group) -> dict[str, int]:
    """Count the edits of the parent that new edits supersede, and the edits that are removed."""
    return {"num_superseded": len(group.change.superseded), "num_taken_out": len(group.change.taken_out)}
