"""What an edit is: identity, contradiction, which of several counts, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from editing_core.edits import AcceptedEdit, Edit, conflicts, fill, normalise, validate_edit
from editing_core.errors import InvalidEdit
from editing_core.memit.groups import subject_groups


def edit(**fields: Any) -> Edit:
    return Edit(**{"subject": "Rome", "prompt": "{} lies in", "target_new": "Spain", "relation": "in", **fields})


def accepted(number: int, acceptance: int, **fields: Any) -> AcceptedEdit:
    return AcceptedEdit(
        id=f"e{number}", edit=edit(**fields), batch="b", acceptance=acceptance, created="2026-01-01T00:00:00Z"
    )


def test_composed_and_decomposed_letters_and_spaces_are_one_subject_and_case_is_not() -> None:
    assert normalise("  E\u0301mile \t Zola ") == normalise("Émile Zola")
    assert normalise("émile") != normalise("Émile")


def test_a_template_is_filled_by_replacing_and_never_by_formatting() -> None:
    assert fill("{} is in", "{0.__class__}") == "{0.__class__} is in"


def test_two_objects_for_one_subject_and_relation_contradict_and_one_object_does_not() -> None:
    batch = [edit(), edit(target_new="Italy"), edit(relation="other"), edit(target_new=" Spain ")]
    assert conflicts(batch) == [(0, 1)]


def test_edits_about_one_subject_form_one_group_under_any_spelling_of_its_spaces() -> None:
    rows = [accepted(1, 1), accepted(2, 2, subject=" Rome", relation="age"), accepted(3, 3, subject="Oslo")]
    assert sorted(sorted(row.id for row in group.edits) for group in subject_groups(rows)) == [["e1", "e2"], ["e3"]]


def test_an_edit_survives_json() -> None:
    record = accepted(1, 1, paraphrases=("Where is {}?",), note="n", target_true="Italy")
    assert AcceptedEdit.from_json(record.to_json()) == record


@pytest.mark.parametrize(
    ("fields", "told", "loc"),
    [
        ({"subject": "  "}, "blank", ("subject",)),
        ({"target_new": ""}, "blank", ("target_new",)),
        ({"prompt": "It lies in"}, "0 slots", ("prompt",)),
        ({"prompt": "{} and {}"}, "2 slots", ("prompt",)),
        ({"prompt": "{0.__class__} is"}, "brace", ("prompt",)),
        ({"prompt": "{} is {x}"}, "brace", ("prompt",)),
        ({"subject": "R{}me"}, "brace", ("subject",)),
        ({"subject": "Ro\ud800me"}, "lone surrogate U\\+D800", ("subject",)),
        ({"target_new": "Spa\x00in"}, "control character U\\+0000", ("target_new",)),
        ({"paraphrases": ("fine {}", "{} {}")}, "2 slots", ("paraphrases", 1)),
        ({"note": "\udfff"}, "lone surrogate", ("note",)),
    ],
)
def test_an_edit_that_cannot_be_used_is_refused_with_the_place(fields: dict[str, Any], told: str, loc: Any) -> None:
    with pytest.raises(InvalidEdit, match=told) as refused:
        validate_edit(edit(**fields))
    assert refused.value.loc == loc


@pytest.mark.parametrize("subject", ["🙂", "👩‍👩‍👧", "שלום", "مرحبا", "e\u0301", "नमस्ते", "O'Neill & Söhne (GmbH)"])
def test_subjects_of_every_script_are_accepted(subject: str) -> None:
    validate_edit(edit(subject=subject))
