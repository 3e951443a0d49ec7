"""What a report tells of an edit beside its answers."""

from __future__ import annotations

from typing import Any

import torch

from editing_core.editor.standing import COINCIDING_COSINE, UNREACHED_NLL, Standing, noteworthy
from editing_core.memit.search.pool import Target


def target(nll: float) -> Target:
    return Target(targets_EH=torch.zeros(1, 2), delta_H=torch.zeros(2), loss=2 * nll, nll=nll, num_losses=25)


def reports() -> dict[str, dict[str, Any]]:
    """Of four edits: reached, not reached, already true, and one whose key is another's."""
    found: dict[str, dict[str, Any]] = {edit: {} for edit in "abcd"}
    standing = Standing(
        searches={"a": target(UNREACHED_NLL), "b": target(UNREACHED_NLL + 0.01), "d": target(0.02)},
        already_true={"c"},
        nearest={"a": ("b", 0.3), "d": ("a", COINCIDING_COSINE)},
    )
    standing.add_to(found)
    return found


def test_each_report_has_the_search_whether_it_reached_its_target_and_the_nearest_key() -> None:
    found = reports()
    assert {edit: row.get("reached") for edit, row in found.items()} == {"a": True, "b": False, "c": None, "d": True}
    assert found["d"]["search"] == {"loss": 0.04, "nll": 0.02, "losses_read": 25}
    assert found["a"]["nearest"] == {"edit": "b", "cosine": 0.3}
    assert [edit for edit, row in found.items() if row["already_true"]] == ["c"]


def test_a_batch_names_notable_edits_and_warns_above_the_limit_only() -> None:
    reported = noteworthy(reports(), limit=20)
    assert (reported["already_true"], reported["not_reached"]) == (["c"], ["b"])
    (warning,) = reported["warnings"]
    assert "edits d and a nearly coincide" in warning


def test_reports_without_measurements_are_not_notable() -> None:
    unknown = {"a": {"nearest": {"edit": "b", "cosine": None}}, "b": {"holds": True}}
    assert noteworthy(unknown, limit=20) == {"already_true": [], "not_reached": [], "warnings": []}
