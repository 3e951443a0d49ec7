"""The checks ask real models and tell what each edit did."""

from __future__ import annotations

from dataclasses import replace

import pytest

from editing_core.asking.continuations import continue_greedily
from editing_core.edits import Neighbor
from tests.support.tiny_models import TINY_FAMILIES, TinyFamily, tiny_tokenizer
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


@each_family
def test_edits_that_the_candidate_answers_pass_and_say_what_changed(family: TinyFamily) -> None:
    new = [accepted(subject, after, target_true=before) for subject, before, after in changed_answers(family)[:4]]
    report = check(family, new)
    assert report.passed, report.reasons
    assert len(new) >= 2
    for edit in new:
        found = report.edits[edit.id]
        assert found["holds"] is True
        assert (found["before"]["true_rank"], found["after"]["rank"]) == (1, 1)
        assert found["before"]["rank"] > 1
        assert found["after"]["probability"] > found["before"]["probability"]
        assert [found["writes"]] == continue_greedily(candidate_of(family), tiny_tokenizer(), [edit.edit.filled_prompt])
        assert found["generation_success"] == 1.0
        assert 0 < found["neighbors"]["total"] <= 10, "made; those that said the new object before do not count"
    assert report.summary["reliability"] == {"count": len(new), "total": len(new), "share": 1.0}


@each_family
def test_generalization_counts_the_paraphrases_that_hold(family: TinyFamily) -> None:
    changed = changed_answers(family)[:2]
    paraphrase = accepted(changed[0][0], changed[0][2]).edit.prompt
    taken = [accepted(subject, after, paraphrases=(paraphrase,)) for subject, _, after in changed]
    missed = accepted("nobody at all", "Paris", paraphrases=(paraphrase,))
    assert check(family, taken).summary["generalization"] == {"count": len(taken), "total": len(taken), "share": 1.0}
    assert check(family, [*taken, missed]).summary["generalization"]["count"] == len(taken)
    assert check(family, [accepted(changed[0][0], changed[0][2])]).summary["generalization"]["share"] is None


@each_family
def test_edits_that_did_not_take_stay_in_a_batch_that_passes_by_its_share(family: TinyFamily) -> None:
    taken = [accepted(subject, after) for subject, _, after in changed_answers(family)[:3]]
    missed = accepted("nobody at all", "Paris")
    report = check(family, [*taken, missed])
    assert report.passed
    assert report.edits[missed.id]["holds"] is False
    assert report.summary["reliability"]["share"] == 0.75


@each_family
def test_a_batch_that_did_not_take_fails_and_its_edits_are_named(family: TinyFamily) -> None:
    report = check(family, [accepted("nobody", "Paris")])
    assert not report.passed
    assert "e-nobody (nobody → Paris)" in report.reasons[0]


@each_family
def test_neighbours_are_lost_exactly_if_the_new_object_replaces_the_answer(family: TinyFamily) -> None:
    ((subject, before, after), *_), ((same_subject, same), *_) = changed_answers(family), kept_answers(family)
    lost, kept = (Neighbor(prompt=PROMPT.replace("{}", s)) for s in (subject, same_subject))
    edit = accepted("somebody", after, neighborhood=(lost, kept))
    found = check(family, [edit]).edits[edit.id]["neighbors"]
    assert (found["kept"], found["total"]) == (1, 2)
    assert found["prompts"] == [
        {"prompt": lost.prompt, "expected": before, "got": after, "kept": False, "made": False, "protected": False},
        {"prompt": kept.prompt, "expected": same, "got": same, "kept": True, "made": False, "protected": False},
    ]
    strict = replace(LOOSE, min_specificity=0.8, min_reliability=0.0)
    (reason,) = check(family, [edit], limits=strict).reasons
    assert "only 1 of 2 neighbours kept their answer (50 % of at least 80 %)" in reason
    assert edit.id in reason


@each_family
def test_a_given_neighbour_is_compared_with_the_new_object_and_counts_only_if_it_was_right_before(
    family: TinyFamily,
) -> None:
    (subject, before, after), *_ = changed_answers(family)
    prompt = PROMPT.replace("{}", subject)
    lost = accepted("somebody", after, neighborhood=(Neighbor(prompt=prompt, target=before),))
    never = accepted("another", before, neighborhood=(Neighbor(prompt=prompt, target=after),))
    report = check(family, [lost, never])
    assert report.edits[lost.id]["neighbors"]["total"] == 1
    assert report.edits[lost.id]["neighbors"]["kept"] == 0
    assert report.edits[never.id]["neighbors"]["total"] == 0


@each_family
def test_only_earlier_edits_that_held_in_the_parent_can_be_lost(family: TinyFamily) -> None:
    (subject, before, after), *_ = changed_answers(family)
    (same_subject, same), *_ = kept_answers(family)
    lost = accepted(subject, before)
    live = [lost, accepted(same_subject, same), accepted("never held", "Paris")]
    report = check(family, [], live=live)
    assert report.summary["earlier"] == {
        "count": 1,
        "total": 2,
        "share": 0.5,
        "lost": [f"{lost.id} ({subject} → {before})"],
    }
    assert "only 1 of 2 earlier edits still hold" in report.reasons[0]
    superseding = replace(accepted(subject, after), id="new", acceptance=9)
    assert check(family, [superseding], live=[*live[1:], superseding]).summary["earlier"]["share"] == 1.0
    assert check(family, [superseding], live=[*live, superseding]).summary["earlier"]["share"] == 1.0


def test_above_the_limit_the_oldest_and_a_sample_drawn_by_seed_are_asked() -> None:
    answers = kept_answers("gptj")[:12]
    live = [replace(accepted(s, a), acceptance=n) for n, (s, a) in enumerate(answers)]
    limits = replace(LOOSE, max_earlier=6)
    assert check("gptj", [], live=live, limits=limits).summary["earlier"]["total"] == 6
    assert check("gptj", [], live=live).summary["earlier"]["total"] == 12


def test_paraphrases_and_neighbours_that_do_not_fit_the_model_are_named_and_left_out() -> None:
    long = "word " * 300
    edit = accepted("nobody", "Paris", paraphrases=(long + "{}",), neighborhood=(Neighbor(prompt=long),))
    found = check("gptj", [edit]).edits[edit.id]
    assert [item["prompt"] for item in found["left_out"]] == [f"{long}nobody", long]
    assert "the model takes 256" in found["left_out"][0]["reason"]
    assert found["neighbors"]["total"] == 0


def test_equal_checks_give_equal_reports() -> None:
    new = [accepted(subject, after) for subject, _, after in changed_answers("gptj")[:3]]
    assert check("gptj", new) == check("gptj", new)
