"""Every limit that is broken gives its own reason, and the right one is blamed."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace

import pytest

from editing_core.asking.perplexity import Perplexities
from editing_core.checks.limits import CheckLimits
from editing_core.checks.verdict import CheckReport, Measured, Share, judge

LIMITS = CheckLimits(
    min_reliability=0.7,
    min_specificity=0.8,
    min_earlier_kept=0.9,
    max_drift=0.5,
    max_perplexity_rise=0.1,
    max_delta_norm=1.0,
    max_delta_per_edit=0.5,
)
FINE = Measured(
    num_live=1204,
    num_new=10,
    reliability=Share(10, 10),
    generation_success=0.9,
    specificity=Share(95, 100),
    earlier=Share(200, 200),
    drift=0.1,
    drift_from_parent=0.01,
    answers_kept=0.97,
    perplexity=Perplexities(original=20.0, parent=20.8, candidate=21.0),
    delta_norms={"a.weight": 0.2},
)


def verdict(measured: Measured) -> CheckReport:
    return judge(measured, LIMITS, edits={})


def test_figures_within_all_limits_pass_without_reasons() -> None:
    report = verdict(FINE)
    assert report.passed
    assert report.reasons == ()


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"reliability": Share(6, 10, ("e1 (A → B)",))}, r"only 6 of 10 new edits hold \(60 % of at least 70 %\).*e1"),
        ({"specificity": Share(79, 100, ("e2 (C → D)",))}, r"only 79 of 100 neighbours kept.*lost by: e2"),
        ({"earlier": Share(17, 20, ("e3 (E → F)",))}, r"only 17 of 20 earlier edits still hold.*lost are: e3"),
        ({"delta_norms": {"a.weight": 0.2, "b.weight": 1.31}}, r"change of b\.weight is 1\.31 .*at most 1\.00"),
        ({"delta_norms": {"a.weight": 0.9}, "num_live": 2}, r"0\.64 for the root of 2 edits \(at most 0\.50\)"),
        ({"drift_from_parent": 0.61, "drift": 0.8}, r"this batch alone.*drift 0\.61 nats of 0\.50 nats allowed"),
        ({"drift": 0.8}, r"store is full: 1,204 live edits, drift 0\.80 nats of 0\.50 nats allowed"),
        (
            {"perplexity": Perplexities(original=20.0, parent=20.0, candidate=23.0)},
            r"this batch alone.*perplexity \+15\.0 % of \+10\.0 % allowed",
        ),
        (
            {"perplexity": Perplexities(original=20.0, parent=21.9, candidate=22.4)},
            r"the store is full: 1,204 live edits, perplexity \+12\.0 % of 10\.0 % allowed",
        ),
    ],
)
def test_a_broken_limit_is_the_only_reason_given(changed: dict[str, object], reason: str) -> None:
    report = verdict(replace(FINE, **changed))
    assert not report.passed
    (found,) = report.reasons
    assert re.search(reason, found), found


@pytest.mark.parametrize(
    "changed",
    [
        {"drift": math.nan},
        {"perplexity": Perplexities(original=20.0, parent=20.0, candidate=math.inf)},
        {"perplexity": Perplexities(original=20.0, parent=20.0, candidate=math.nan)},
        {"delta_norms": {"a.weight": math.nan}},
        {"not_finite": ("probabilities of targets",)},
    ],
)
def test_nan_and_infinity_fail_whatever_else_is_fine(changed: dict[str, object]) -> None:
    report = verdict(replace(FINE, **changed))
    assert not report.passed
    assert "no finite numbers" in report.reasons[0]


def test_a_report_is_json_even_with_nan_in_it() -> None:
    broken = replace(FINE, drift=math.nan, delta_norms={"a.weight": math.inf})
    report = judge(broken, LIMITS, edits={"e1": {"after": {"probability": math.nan}, "list": [1.0, math.nan]}})
    json.dumps([report.summary, report.edits, report.reasons], allow_nan=False)
    assert report.edits["e1"] == {"after": {"probability": None}, "list": [1.0, None]}


def test_a_commit_that_only_takes_edits_out_is_judged_against_the_original_alone() -> None:
    nothing_new = replace(
        FINE,
        num_new=0,
        reliability=Share(0, 0),
        generation_success=None,
        specificity=Share(0, 0),
        drift_from_parent=0.9,
        earlier=Share(0, 0),
    )
    assert verdict(nothing_new).passed
    assert "store is full" in verdict(replace(nothing_new, drift=0.9)).reasons[0]


def test_several_broken_limits_give_several_reasons() -> None:
    report = verdict(replace(FINE, reliability=Share(0, 10, tuple(f"e{i}" for i in range(10))), drift=0.8))
    assert len(report.reasons) == 2
    assert "e0, e1, e2, e3, e4 and 5 more" in report.reasons[0]


@pytest.mark.parametrize(("drift", "candidate", "room"), [(0.1, 20.0, 0.8), (0.1, 21.5, 0.25), (0.9, 20.0, 0.0)])
def test_the_room_left_is_that_of_the_scarcest(drift: float, candidate: float, room: float) -> None:
    perplexity = Perplexities(original=20.0, parent=20.0, candidate=candidate)
    report = verdict(replace(FINE, drift=drift, perplexity=perplexity))
    assert report.summary["room"] == pytest.approx(room)
