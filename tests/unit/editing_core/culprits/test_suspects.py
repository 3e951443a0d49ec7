"""Evidence blames the edits that the broken limit is about, and no more of them than are needed."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from editing_core.asking.perplexity import Perplexities
from editing_core.checks.limits import CheckLimits, Limit
from editing_core.checks.verdict import Measured, Share
from editing_core.culprits.suspects import Evidence, ranking, suspects

LIMITS = CheckLimits(
    min_reliability=0.7,
    min_specificity=0.8,
    min_earlier_kept=0.9,
    max_drift=0.5,
    max_perplexity_rise=0.1,
    max_delta_norm=15.0,
    max_delta_per_edit=0.5,
)
GOOD = Evidence(
    size=0.1,
    disturbance=0.01,
    unreached=0.2,
    loss=0.05,
    neighbors_lost=0,
    neighbors_total=10,
    earlier_lost=0,
    holds=True,
)
FINE = Measured(
    num_live=10,
    num_new=10,
    reliability=Share(10, 10),
    generation_success=None,
    specificity=Share(100, 100),
    earlier=Share(9, 9),
    drift=0.1,
    drift_from_parent=0.1,
    answers_kept=1.0,
    perplexity=Perplexities(original=10.0, parent=10.0, candidate=10.1),
    delta_norms={"w": 1.0},
)


def among_good(**of_bad: dict[str, Any]) -> list[Evidence]:
    """Ten edits; ``at_3={...}`` changes the fourth."""
    rows = [GOOD] * 10
    for place, changes in of_bad.items():
        rows[int(place.removeprefix("at_"))] = replace(GOOD, **changes)
    return rows


CASES: list[tuple[Limit, dict[str, Any], dict[str, Any], set[int]]] = [
    ("norms", {"size": 30.0}, {"delta_norms": {"w": 8.0}}, {3}),
    ("drift", {"disturbance": 2.0}, {"drift_from_parent": 3.0}, {3}),
    (
        "perplexity",
        {"disturbance": 2.0},
        {"perplexity": Perplexities(original=10.0, parent=10.0, candidate=20.0)},
        {3},
    ),
    ("specificity", {"neighbors_lost": 60, "neighbors_total": 60}, {"specificity": Share(90, 150)}, {3}),
    ("earlier", {"earlier_lost": 1}, {"earlier": Share(8, 9)}, {3}),
    ("finite", {"loss": math.nan}, {}, {3}),
]


@pytest.mark.parametrize(("limit", "bad", "figures", "blamed"), CASES, ids=[case[0] for case in CASES])
def test_the_edit_that_the_limit_is_about_is_the_first_and_only_suspect(
    limit: Limit, bad: dict[str, Any], figures: dict[str, Any], blamed: set[int]
) -> None:
    evidence = among_good(at_3=bad)
    assert ranking(evidence, [limit])[0] == 3
    assert suspects(evidence, replace(FINE, **figures), LIMITS, broken=[limit]) == blamed


def test_of_edits_that_did_not_take_only_as_many_as_the_share_needs_are_left_out() -> None:
    missed = {f"at_{place}": {"holds": False, "loss": float(place)} for place in range(4)}
    evidence = among_good(**missed)
    found = suspects(evidence, replace(FINE, reliability=Share(6, 10)), LIMITS, broken=["reliability"])
    assert found == {2, 3}, "6 of 8 are enough, and the highest losses go"


def test_several_broken_limits_each_have_their_suspects() -> None:
    evidence = among_good(at_1={"earlier_lost": 1}, at_8={"disturbance": 3.0})
    figures = replace(FINE, earlier=Share(8, 9), drift_from_parent=2.0)
    assert suspects(evidence, figures, LIMITS, broken=["earlier", "drift"]) == {1, 8}
    assert set(ranking(evidence, ["earlier", "drift"])[:2]) == {1, 8}


def test_a_broken_limit_always_has_a_suspect() -> None:
    assert len(suspects([GOOD] * 3, FINE, LIMITS, broken=["drift"])) == 1
