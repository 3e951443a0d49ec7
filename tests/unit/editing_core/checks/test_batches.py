"""What a group's report says of its batches, one by one."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from editing_core.checks.batch_reports import batch_report, shortcomings
from editing_core.checks.limits import CheckLimits
from editing_core.checks.verdict import CheckReport

LIMITS = CheckLimits(
    min_reliability=0.7,
    min_specificity=0.8,
    min_earlier_kept=0.9,
    max_drift=0.5,
    max_perplexity_rise=0.1,
    max_delta_norm=1,
    max_delta_per_edit=1,
)


def row(*, holds: bool, kept: int = 10) -> dict[str, Any]:
    return {"holds": holds, "neighbors": {"kept": kept, "total": 10, "prompts": []}}


def report(**edits: dict[str, Any]) -> CheckReport:
    """Of a group that passes as a whole."""
    return CheckReport(passed=True, reasons=(), summary={"limits": asdict(LIMITS)}, edits=edits)


def test_batch_that_did_not_take_falls_short_in_a_group_that_did() -> None:
    found = report(**{f"good{i}": row(holds=True) for i in range(9)}, bad=row(holds=False))
    assert shortcomings(found, [f"good{i}" for i in range(9)]) == ()
    assert shortcomings(found, ["bad"]) == ("only 0 of 1 new edits hold",)


def test_batch_that_lost_its_neighbours_falls_short_in_a_group_that_kept_them() -> None:
    found = report(**{f"good{i}": row(holds=True) for i in range(9)}, bad=row(holds=True, kept=7))
    assert shortcomings(found, ["bad"]) == ("only 7 of 10 neighbours kept their answer",)


def test_edits_that_are_not_in_force_do_not_count_for_their_batch() -> None:
    found = report(inforce=row(holds=True))
    assert shortcomings(found, ["inforce", "superseded1", "superseded2"]) == ()
    assert shortcomings(found, ["superseded1"]) == ()


def test_batch_report_counts_its_own_edits_and_names_those_that_did_not_take() -> None:
    found = batch_report(report(a=row(holds=True), b=row(holds=False), other=row(holds=False)), ["a", "b", "gone"])
    assert (found["num_holding"], found["num_checked"], found["not_holding"]) == (1, 2, ["b"])
