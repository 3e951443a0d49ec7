"""What a commit's end is counted as: why a batch was rejected, and what a version did to the edits that were there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from worker.commit.group import Group

_SHARES = {
    "guards": "min_guards_kept",
    "neighbors": "min_neighbors_kept",
    "earlier": "min_earlier_kept",
    "taken": "min_taken",
}


def rejection(summary: Mapping[str, Any]) -> str:
    """The first limit that the checks' summary breaks, as one of ``worker.metrics.REASONS``."""
    limits, perplexity = summary["limits"], summary["perplexity"]
    drift, rise = summary["drift"], perplexity["rise"]
    if drift is None or rise is None:  # what JSON cannot hold
        return "not_finite"
    for name, limit in _SHARES.items():
        share = summary[name]["share"]
        if share is not None and share < limits[limit]:
            return name
    if summary["drift_from_parent"] > limits["max_drift"]:
        return "harm"
    if perplexity["rise_over_parent"] > limits["max_perplexity_rise"]:
        return "harm"
    if drift > limits["max_drift"] or rise > limits["max_perplexity_rise"]:
        return "capacity"
    return "harm" if summary["delta_norms"] else "other"


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
