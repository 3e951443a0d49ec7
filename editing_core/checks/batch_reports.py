"""The report on each batch of a group. A batch's verdict must not depend on the other batches. Knows no model."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from editing_core.checks.verdict import CheckReport, Share
from editing_core.editor.standing import noteworthy

NAMED_EDITS = 20
"""The largest number of edits that a batch's report names in each list."""


def batch_report(report: CheckReport, edit_ids: Collection[str]) -> dict[str, Any]:
    """The group's report, with the counts of one batch's own edits."""
    own = {edit: report.edits[edit] for edit in edit_ids if edit in report.edits}
    return {
        **report.summary,
        "passed": report.passed,
        "reasons": list(report.reasons),
        "num_holding": sum(1 for found in own.values() if found["holds"]),
        "num_checked": len(own),
        "not_holding": [edit for edit, found in own.items() if not found["holds"]][:NAMED_EDITS],
        **noteworthy(own, limit=NAMED_EDITS),
    }


def shortcomings(report: CheckReport, edit_ids: Collection[str]) -> tuple[str, ...]:
    """The limits on shares that one batch would break by its own edits. Edits not in force do not count."""
    limits = report.summary["limits"]
    own = [report.edits[edit] for edit in edit_ids if edit in report.edits]
    reliability = Share(sum(bool(found["holds"]) for found in own), len(own))
    kept = sum(found["neighbors"]["kept"] for found in own)
    specificity = Share(kept, sum(found["neighbors"]["total"] for found in own))
    return (
        *_short(reliability, limits["min_reliability"], "new edits hold"),
        *_short(specificity, limits["min_specificity"], "neighbours kept their answer"),
    )


def _short(share: Share, least: float, what: str) -> Iterator[str]:
    if share.value is not None and not share.value >= least:
        yield f"only {share.count} of {share.total} {what}"
