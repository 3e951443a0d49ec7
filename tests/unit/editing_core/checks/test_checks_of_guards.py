"""Guards are tested by every check, against the parent; neighbours are told apart by whether the solve held them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from editing_core.edits import Neighbor
from editing_core.guards import AcceptedGuard, Guard
from tests.support.tiny_models import TINY_FAMILIES, TinyFamily
from tests.unit.editing_core.checks.examples import (
    LOOSE,
    PROMPT,
    accepted,
    candidate_of,
    changed_answers,
    check,
    kept_answers,
)

each_family = pytest.mark.parametrize("family", TINY_FAMILIES)


def guard(subject: str, target: str, prompt: str = PROMPT) -> AcceptedGuard:
    made = Guard(prompt=prompt.replace("{}", subject), target=target, subject=subject)
    return AcceptedGuard(guard=made, created="2026-11-25T10:00:00Z", author=None)


@each_family
def test_guards_that_held_in_the_parent_are_lost_if_the_candidate_answers_otherwise(family: TinyFamily) -> None:
    ((changed, before, _), *_), ((same, word), *_) = changed_answers(family), kept_answers(family)
    guards = [guard(changed, before), guard(same, word), guard("never held", "Paris")]
    report = check(family, [], guards=guards)
    assert report.summary["guards"] == {
        "count": 1,
        "total": 2,
        "share": 0.5,
        "lost": [f"{guards[0].id} ({guards[0].guard.prompt} → {before})"],
    }
    (reason,) = report.reasons
    assert reason.startswith("only 1 of 2 guards kept their answer (50 % of at least 95 %); lost are: " + guards[0].id)
    assert check(family, [], guards=guards, limits=replace(LOOSE, min_guards_kept=0.5)).passed
    assert check(family, [], guards=guards, parent=candidate_of(family)).passed


@each_family
def test_a_takedown_is_not_refused_for_a_guard(family: TinyFamily) -> None:
    (changed, before, _), *_ = changed_answers(family)
    report = check(family, [], guards=[guard(changed, before)], is_takedown=True)
    assert report.passed
    assert report.summary["guards"]["share"] == 0.0


def test_a_guard_that_does_not_fit_the_model_stops_no_check() -> None:
    report = check("gptj", [], guards=[guard("nobody", "Paris", prompt="word " * 300 + "{}")])
    assert report.passed
    assert report.summary["guards"]["total"] == 0


@each_family
def test_protected_neighbours_are_counted_apart(family: TinyFamily) -> None:
    (lost, _, after), *_ = changed_answers(family)
    (kept, _), *_ = kept_answers(family)
    prompts = [PROMPT.replace("{}", subject) for subject in (lost, kept)]
    edit = accepted("somebody", after, neighborhood=tuple(Neighbor(prompt=prompt) for prompt in prompts))
    report = check(family, [edit], limits=replace(LOOSE, min_reliability=0.0), protected={prompts[1]})
    reported = report.summary["specificity"]
    assert reported["protected"] == {"count": 1, "total": 1, "share": 1.0}
    assert reported["unprotected"] == {"count": 0, "total": 1, "share": 0.0}
    found = report.edits[edit.id]["neighbors"]
    assert [row["protected"] for row in found["prompts"]] == [False, True]
    assert found["protected"] == {"kept": 1, "total": 1}
