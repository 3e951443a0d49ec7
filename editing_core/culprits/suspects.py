"""Ranks edits by the evidence against them, and estimates how many of the worst to leave out.

Each broken limit counts the figure that belongs to it. The estimate assumes that the parts of the harm add up; only a
test can confirm it. Knows no model and makes no test.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from editing_core.checks.limits import CheckLimits, Limit
from editing_core.checks.verdict import Measured


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The evidence against one new edit."""

    size: float
    """Part of the size of the change (see ``shares``)."""
    disturbance: float
    """Drift of the edited layers on ordinary text, caused by the edit's share."""
    unreached: float
    """The edit's own residual after the solve, relative to the residual before."""
    loss: float
    """The loss of the edit's search for z."""
    neighbors_lost: int
    neighbors_total: int
    earlier_lost: int
    """Earlier edits that no longer hold and that this edit moves more than any other new edit does."""
    holds: bool


def ranking(evidence: Sequence[Evidence], broken: Collection[Limit]) -> list[int]:
    """All places, worst first: by the largest share in any of the broken limits, then by disturbance."""
    shares = [_shares(evidence, limit) for limit in broken]

    def badness(place: int) -> tuple[float, float]:
        return max((share[place] for share in shares), default=0.0), _number(evidence[place].disturbance)

    return sorted(range(len(evidence)), key=lambda place: (badness(place), -place), reverse=True)


def suspects(
    evidence: Sequence[Evidence], figures: Measured, limits: CheckLimits, *, broken: Collection[Limit]
) -> frozenset[int]:
    """The smallest set of the worst edits without which, by the estimate, no limit of ``broken`` is broken."""
    found: set[int] = set()
    for limit in broken:
        by_limit = ranking(evidence, [limit])
        count = 0
        while count < len(evidence) and not _is_kept(limit, evidence, figures, limits=limits, out=by_limit[:count]):
            count += 1
        found.update(by_limit[: max(1, count)])
    return frozenset(found)


def _shares(evidence: Sequence[Evidence], limit: Limit) -> list[float]:
    blames = [_blame(row, limit) for row in evidence]
    worst = max(blames, default=0.0)
    if math.isinf(worst):
        return [float(math.isinf(blame)) for blame in blames]
    total = sum(blames)
    return [blame / total if total else 0.0 for blame in blames]


def _blame(row: Evidence, limit: Limit) -> float:
    """The edit's part in the broken limit. Not negative; infinite if a number is not finite."""
    match limit:
        case "reliability":
            return 0.0 if row.holds else 1.0 + _number(row.unreached) + _number(row.loss)
        case "specificity":
            return float(row.neighbors_lost)
        case "earlier":
            return float(row.earlier_lost)
        case "norms":
            return _number(row.size)
        case "drift" | "perplexity" | "guards":
            return _number(row.disturbance)
        case "finite":
            return max(_number(value) for value in (row.loss, row.size, row.disturbance))


def _is_kept(
    limit: Limit, evidence: Sequence[Evidence], figures: Measured, *, limits: CheckLimits, out: Collection[int]
) -> bool:
    """Whether the limit would be kept without these edits, if the parts of the harm added up."""
    rows = [evidence[place] for place in out]
    match limit:
        case "reliability":
            count, total = (
                figures.reliability.count - sum(row.holds for row in rows),
                figures.reliability.total - len(rows),
            )
            return _reaches(count, total, limits.min_reliability)
        case "specificity":
            total = figures.specificity.total - sum(row.neighbors_total for row in rows)
            kept = figures.specificity.count - sum(row.neighbors_total - row.neighbors_lost for row in rows)
            return _reaches(kept, total, limits.min_specificity)
        case "earlier":
            again = figures.earlier.count + sum(row.earlier_lost for row in rows)
            return _reaches(again, figures.earlier.total, limits.min_earlier_kept)
        case "guards":
            lost = figures.guards.total - figures.guards.count
            left = 1 - sum(_shares(evidence, limit)[place] for place in out)
            return 1 - lost * left / max(1, figures.guards.total) >= limits.min_guards_kept
        case _:
            left = 1 - sum(_shares(evidence, limit)[place] for place in out)
            return _harm(limit, figures, num_out=len(rows), left=left) <= _allowed(limit, limits)


def _harm(limit: Limit, figures: Measured, *, num_out: int, left: float) -> float:
    """The limit's figure if only this part of the harm is left."""
    match limit:
        case "norms":
            norm = max(figures.delta_norms.values(), default=0.0)
            return norm * math.sqrt(max(0.0, left) / max(1, figures.num_live - num_out))
        case "drift":
            return figures.drift_from_parent * left
        case "perplexity":
            return math.log1p(figures.perplexity.rise_over_parent) * left
        case _:
            return left


def _allowed(limit: Limit, limits: CheckLimits) -> float:
    match limit:
        case "norms":
            return limits.max_delta_per_edit
        case "drift":
            return limits.max_drift
        case "perplexity":
            return math.log1p(limits.max_perplexity_rise)
        case _:
            return 0.0


def _reaches(count: int, total: int, least: float) -> bool:
    return total <= 0 or count / total >= least


def _number(value: float) -> float:
    return max(0.0, value) if math.isfinite(value) else math.inf
