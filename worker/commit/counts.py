"""How the end of a commit is counted: why a batch was rejected, and what a version did to earlier edits."""

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
"""By limit of the checks, the gravest first."""


def rejection(report: CheckReport) -> str:
    """Why the batch was rejected, as one of ``worker.metrics.REASONS``; the gravest broken limit decides."""
    if any(reason.startswith(NOT_FINITE) for reason in report.reasons):
        return "not_finite"
    broken = {found.limit for found in report.broken}
    blamed = next((reason for limit, reason in _REASON_OF.items() if limit in broken), None)
    return blamed or "capacity"  # a limit that only all live edits together break is no batch's fault


def changed(group: Group) -> dict[str, int]:
    """How many edits of the parent a new one supersedes, and how many are taken out."""
    return {"num_superseded": len(group.change.superseded), "num_taken_out": len(group.change.taken_out)}
