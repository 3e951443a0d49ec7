"""What a commit's end is counted as: why a batch was rejected, and what a version did to the edits that were there."""

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
"""By each limit of the checks, the gravest first."""


def rejection(report: CheckReport) -> str:
    """Why the batch was rejected, as one of ``worker.metrics.REASONS``: of several broken limits the gravest."""
    if any(reason.startswith(NOT_FINITE) for reason in report.reasons):
        return "not_finite"
    broken = {found.limit for found in report.broken}
    blamed = next((reason for limit, reason in _REASON_OF.items() if limit in broken), None)
    return blamed or "capacity"  # what only all live edits together break is no batch's fault


def changed(group: Group) -> dict[str, int]:
    """How many edits of the parent a later one replaced, and how many were taken out."""
    before = {accepted.edit.identity: accepted.id for accepted in group.parent.live}
    now = {accepted.edit.identity: accepted.id for accepted in group.live}
    own = {accepted.id for accepted in group.edits}
    known = {accepted.id for accepted in group.parent.edit_set.everything}
    return {
        "num_superseded": sum(edit in own and before.get(what, edit) != edit for what, edit in now.items()),
        "num_taken_out": len(group.removed & known),
    }
