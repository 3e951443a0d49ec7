"""Neighbours are about subjects without an edit, drawn by seed and by nothing else."""

from __future__ import annotations

from dataclasses import replace

from editing_core.edits import AcceptedEdit, Edit, Neighbor
from editing_core.neighbors import NeighborPicker, names_in
from tests.support.tiny_models import TEXT

NAMES = [f"Name{letter}" for letter in "abcdefghijklmnopqrst"]
TEXTS = [f"we saw {name} there" for name in NAMES]
PROMPT = "The mother tongue of {} is"


def accepted(subject: str, *, neighborhood: tuple[str, ...] = (), relation: str = "P103") -> AcceptedEdit:
    edit = Edit(
        subject=subject,
        prompt=PROMPT,
        target_new="English",
        relation=relation,
        neighborhood=tuple(Neighbor(prompt=prompt, target="French") for prompt in neighborhood),
    )
    return AcceptedEdit(id=subject, edit=edit, batch="b", acceptance=1, created="2024-05-01T10:00:00Z")


def picked(edit: AcceptedEdit, *others: AcceptedEdit, seed: int = 0) -> list[str]:
    picker = NeighborPicker([edit, *others], TEXTS, seed=seed)
    return [question.prompt for question in picker.pick(edit.edit)]


def test_an_edit_without_neighbours_gets_ten_in_its_own_words() -> None:
    found = picked(accepted("Darrieux"))
    assert len(set(found)) == 10
    assert set(found) <= {PROMPT.replace("{}", name) for name in NAMES}


def test_the_seed_decides_which_and_the_rest_of_the_batch_does_not() -> None:
    alone = picked(accepted("Darrieux"))
    assert picked(accepted("Darrieux"), accepted("Rocard")) == alone
    assert picked(accepted("Darrieux"), seed=1) != alone


def test_subjects_of_the_same_relation_come_first() -> None:
    other = accepted("Rocard", neighborhood=("The mother tongue of Jean Marais is", "Zola was a native speaker of"))
    elsewhere = accepted("Sartre", neighborhood=("The mother tongue of Nobody Else is",), relation="other")
    found = picked(accepted("Darrieux"), other, elsewhere)
    assert found[0] == "The mother tongue of Jean Marais is"
    assert len(found) == 10
    assert "The mother tongue of Nobody Else is" not in found


def test_subjects_with_an_edit_are_left_out_in_any_relation() -> None:
    others = [accepted(name, relation="other") for name in NAMES[:12]]
    found = picked(accepted("Darrieux"), *others)
    assert set(found) == {PROMPT.replace("{}", name) for name in NAMES[12:]}


def test_a_name_that_is_part_of_an_edited_subject_is_left_out() -> None:
    found = picked(accepted("Darrieux"), accepted(f"Old {NAMES[0]} the Great"))
    assert PROMPT.replace("{}", NAMES[0]) not in found


def test_given_neighbours_are_used_as_they_are_each_once() -> None:
    edit = accepted("Darrieux", neighborhood=("Zola speaks", "Zola speaks", "Marais speaks"))
    picker = NeighborPicker([edit], TEXTS, seed=0)
    assert [(q.prompt, q.target, q.is_made) for q in picker.pick(edit.edit)] == [
        ("Zola speaks", "French", False),
        ("Marais speaks", "French", False),
    ]


def test_a_given_neighbour_that_another_edit_answers_is_left_out() -> None:
    edit = accepted("Darrieux", neighborhood=("Emile Zola speaks", "Marais speaks"))
    assert picked(edit, accepted("Emile  Zola")) == ["Marais speaks"]
    assert picked(edit, accepted("Emile Zola", relation="birthplace")) == ["Emile Zola speaks", "Marais speaks"]


def test_an_edit_whose_given_neighbours_are_all_left_out_gets_ten_made_ones() -> None:
    edit = accepted("Darrieux", neighborhood=("Emile Zola speaks",))
    assert len(picked(edit, accepted("Emile Zola"))) == 10
    assert "Emile Zola speaks" not in picked(edit, accepted("Emile Zola"))


def test_a_given_neighbour_that_is_word_for_word_anothers_prompt_is_left_out() -> None:
    edit = accepted("Darrieux", neighborhood=("The mother tongue of Emile Zola is", "Marais speaks"))
    twin = accepted("Emile Zola", relation="written otherwise")
    assert picked(edit, twin) == ["Marais speaks"]


def test_a_neighbour_about_the_edits_own_subject_in_another_relation_is_kept_when_given() -> None:
    edit = accepted("Darrieux", neighborhood=("The birthplace of Rocard is",))
    assert picked(edit, replace(accepted("Rocard"), edit=replace(accepted("Rocard").edit, relation="P19"))) == [
        "The birthplace of Rocard is"
    ]


def test_names_are_runs_of_capitals_that_are_not_ordinary_words() -> None:
    found = names_in(TEXT)
    assert {"Danielle Darrieux", "Toyota", "France"} <= found
    assert not {"The", "Therefore", "Because", "In", "I"} & found


def test_a_name_that_may_be_cut_at_the_ends_of_a_text_is_left_out() -> None:
    assert names_in(["Andre met Anna Schmidt, then Otto Mei"]) == {"Anna Schmidt"}
    assert names_in(["he saw Paris's gates"]) == {"Paris"}
    assert names_in(["日本 の 東京"]) == set()
