"""Which keys a solve holds, and which it leaves alone because an edit is to move them."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from editing_core.editor.holding import Holder, Holding, subject_of_neighbor
from editing_core.edits import AcceptedEdit, Edit, Neighbor
from editing_core.guards import AcceptedGuard, Guard
from tests.support.tiny_loaded import CONTEXTS
from tests.support.tiny_models import NUM_POSITIONS, tiny_tokenizer

PROMPT = "The mother tongue of {} is"


def edit(subject: str, *neighbors: str, protect: bool = True, paraphrases: tuple[str, ...] = ()) -> AcceptedEdit:
    made = Edit(
        subject=subject,
        prompt=PROMPT,
        target_new="English",
        relation="P103",
        paraphrases=paraphrases,
        neighborhood=tuple(Neighbor(prompt=prompt) for prompt in neighbors),
        protect=protect,
    )
    return AcceptedEdit(id=f"e-{subject}", edit=made, batch="b", acceptance=1, created="2026-01-01T00:00:00Z")


def guard(prompt: str, subject: str | None = None) -> AcceptedGuard:
    return AcceptedGuard(guard=Guard(prompt=prompt, target="French", subject=subject), created="", author=None)


def hold(live: list[AcceptedEdit], guards: list[AcceptedGuard] | None = None) -> Holding:
    return Holder(tiny_tokenizer(), CONTEXTS, NUM_POSITIONS).hold(live, guards or [], settled={})


def text_at_lookup(holding: Holding, number: int = 0) -> list[str]:
    """What stands up to the look-up token in each context's row."""
    return [tiny_tokenizer().decode(row.up_to_lookup) for row in holding.rows[number]]


def test_only_the_neighbours_of_edits_that_ask_for_it_are_held() -> None:
    live = [edit("Ada", "The mother tongue of Rocard is"), edit("Borg", "Chopin spoke", protect=False)]
    assert hold(live).prompts == {"The mother tongue of Rocard is"}
    assert len(hold(live).rows) == 1


def test_a_neighbour_is_held_at_the_subject_that_stands_in_its_edits_slot_in_every_context() -> None:
    holding = hold([edit("Ada", "The mother tongue of Rocard is")])
    assert text_at_lookup(holding) == [context.replace("{}", "The mother tongue of Rocard") for context in CONTEXTS]
    reworded = edit("Ada", "Rocard is a native speaker of", paraphrases=("{} is a native speaker of",))
    assert text_at_lookup(hold([reworded]))[0] == "Rocard"


def test_a_prompt_without_a_known_subject_is_held_at_its_last_token() -> None:
    holding = hold([edit("Ada", "In France they speak")], [guard("The capital of France is")])
    assert {text_at_lookup(holding, n)[0] for n in (0, 1)} == {"In France they speak", "The capital of France is"}


def test_a_guard_is_held_at_the_last_place_where_its_subject_stands() -> None:
    assert text_at_lookup(hold([], [guard("Paris is called Paris by all", "Paris")]))[0] == "Paris is called Paris"


def test_what_is_held_twice_enters_once() -> None:
    live = [edit("Ada", "The mother tongue of Rocard is"), edit("Borg", "The mother tongue of Rocard is")]
    assert len(hold(live, [guard("The mother tongue of Rocard is", "Rocard")]).rows) == 1


@pytest.mark.parametrize(
    "held",
    [
        guard("Rocard lives in", "Rocard"),
        guard("Everybody knows that Michel Rocard lives in", "Michel Rocard"),
        guard("Do you know Rocard? He lives in"),
    ],
)
def test_guards_looked_up_at_a_token_that_an_edit_changes_are_only_tested(held: AcceptedGuard) -> None:
    assert hold([edit("Ada")], [held]).left_out == {}
    found = hold([edit("Rocard")], [held])
    assert (found.rows, found.prompts) == ((), frozenset())
    assert "'Rocard'" in found.left_out[held.id]


def test_an_edited_subject_that_is_named_elsewhere_does_not_end_a_guards_protection() -> None:
    assert hold([edit("Ada")], [guard("Ada and Rocard live in", "Rocard")]).left_out == {}


def test_a_neighbour_with_an_edit_of_its_own_is_not_held() -> None:
    assert hold([edit("Ada", "The mother tongue of Borg is"), edit("Borg")]).rows == ()


def test_guards_that_the_tokenizer_or_the_model_cannot_take_are_named() -> None:
    long, merged = guard("word " * 300 + "is"), guard("They speak French", "Fre")
    found = hold([], [long, merged])
    assert found.rows == ()
    assert "the model takes 256" in found.left_out[long.id]
    assert "merges" in found.left_out[merged.id]


def test_the_order_of_edits_and_guards_leaves_no_trace() -> None:
    live = [edit(f"Ada {n}", f"The mother tongue of Number {n} is", f"People say {n} is") for n in range(6)]
    guards = [guard(f"Guard {n} lives in", f"Guard {n}") for n in range(6)]
    expected = hold(live, guards)
    assert len(expected.rows) == 18
    for seed in range(5):
        random.Random(seed).shuffle(live)
        random.Random(seed).shuffle(guards)
        assert hold(live, guards) == replace(expected)


def test_a_slot_that_ends_in_space_names_no_subject() -> None:
    made = edit("Ada").edit
    assert subject_of_neighbor(made, "The mother tongue of Rocard  is") is None
    assert subject_of_neighbor(made, "The mother tongue of Rocard is") == "Rocard"
