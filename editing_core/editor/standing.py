"""The results of an edit in the search and in the solve, for its report.

* ``already_true`` the original model gives the new object by itself, as it does for all edits about the subject. No z
  is searched, and the solve holds the edit as it holds guards.
* ``reached`` whether the search for z made the new object likely enough (``UNREACHED_NLL``). If not, no solve can help.
* ``nearest`` the live edit about another subject whose key is most similar in the metric of the solve, and the cosine.
  From ``COINCIDING_COSINE`` on, the batch's report warns that the two interfere. Below it, interference is possible.

Knows no model.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from editing_core.memit.search.pool import Target

UNREACHED_NLL = math.log(2)
"""Mean NLL of the target's tokens, over the contexts, above which a z does not reach. A token then has less than half
of the probability in the (geometric) mean, so another token may be the first choice."""
COINCIDING_COSINE = 0.6
"""4 of 300 ordinary edits of demo-gptj reach this cosine. Their residual is then met by half
(``tests.benchmarks.coinciding``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The results of a live set's edits in the search and in the solve."""

    searches: Mapping[str, Target]
    """The search of each edit, by edit id. Edits that are already true have none."""
    already_true: Collection[str]
    nearest: Mapping[str, tuple[str, float]]
    """By edit id, the id of the edit with the most similar key, and the cosine of the two keys."""

    def add_to(self, reports: Mapping[str, dict[str, Any]]) -> None:
        """Add these values to each edit's report."""
        for edit, row in reports.items():
            row["already_true"] = edit in self.already_true
            if (found := self.searches.get(edit)) is not None:
                row["search"] = {"loss": found.loss, "nll": found.nll, "losses_read": found.num_losses}
                row["reached"] = found.nll <= UNREACHED_NLL
            if (other := self.nearest.get(edit)) is not None:
                row["nearest"] = {"edit": other[0], "cosine": other[1]}


def noteworthy(reports: Mapping[str, Mapping[str, Any]], *, limit: int) -> dict[str, Any]:
    """Return the part of a batch's report that names single edits, at most ``limit`` of each kind."""
    close = {edit: row["nearest"] for edit, row in reports.items() if _coincides(row)}
    return {
        "already_true": [edit for edit, row in reports.items() if row.get("already_true")][:limit],
        "not_reached": [edit for edit, row in reports.items() if row.get("reached") is False][:limit],
        "warnings": [
            f"the keys of edits {edit} and {other['edit']} nearly coincide (cosine {other['cosine']:.2f}): each may "
            "weaken the other"
            for edit, other in close.items()
        ][:limit],
    }


def _coincides(row: Mapping[str, Any]) -> bool:
    nearest = row.get("nearest")
    return nearest is not None and nearest["cosine"] is not None and nearest["cosine"] >= COINCIDING_COSINE
