"""What is in force, and what lies beneath it."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from editing_core.edits import AcceptedEdit, Edit, EditSet, edit_set, says_the_same


def accepted(number: int, **fields: Any) -> AcceptedEdit:
    given = {"subject": "Rome", "prompt": "{} is in", "target_new": "France", "relation": "in"} | fields
    edit = Edit(**given)
    return AcceptedEdit(
        id=f"e{number}", edit=edit, batch=f"b{number}", acceptance=number, created="2026-01-01T00:00:00Z"
    )


def ids(rows: tuple[AcceptedEdit, ...]) -> list[str]:
    return sorted(row.id for row in rows)


def test_the_edit_accepted_last_is_in_force_whatever_order_they_come_in() -> None:
    first, second = accepted(1), accepted(2, target_new="Italy")
    for rows in ([first, second], [second, first]):
        assert ids(edit_set(rows).live) == ["e2"]
        assert ids(edit_set(rows).superseded) == ["e1"]


def test_taking_out_the_upper_edit_brings_back_the_one_beneath() -> None:
    edits = edit_set([accepted(1), accepted(2, target_new="Italy")]).joined((), without={"e2"})
    assert (ids(edits.live), edits.superseded) == (["e1"], ())


def test_taking_out_an_edit_that_lies_beneath_changes_nothing_in_force() -> None:
    edits = edit_set([accepted(1), accepted(2, target_new="Italy")]).joined((), without={"e1"})
    assert (ids(edits.live), edits.superseded) == (["e2"], ())


def test_a_repeated_edit_leaves_the_first_in_force_and_is_taken_out_with_it() -> None:
    edits = edit_set([accepted(1), accepted(2, note="again")])
    assert ids(edits.live) == ["e1"]
    assert edits.repeats == {"e2": "e1"}
    assert edits.named_alike("e1") == edits.named_alike("e2") == ("e1", "e2")


def test_the_same_said_again_counts_when_something_else_was_said_between() -> None:
    edits = edit_set([accepted(1), accepted(3)]).joined([accepted(2, target_new="Italy")])
    assert ids(edits.live) == ["e3"]
    assert edits.repeats == {}
    assert edits.named_alike("e3") == ("e3",)


def test_edits_that_differ_in_source_and_note_alone_say_the_same() -> None:
    assert says_the_same(accepted(1).edit, accepted(2, source="s", note="n").edit)
    assert not says_the_same(accepted(1).edit, accepted(2, paraphrases=("Where is {}?",)).edit)


def test_the_set_is_in_canonical_order() -> None:
    rows = [accepted(i, subject=name) for i, name in enumerate(("Oslo", "Bergen", "Rome", "Lima"))]
    assert edit_set(rows) == edit_set(rows[::-1]) == edit_set(rows[2:]).joined(rows[:2])


EDITS = st.lists(
    st.builds(
        accepted,
        st.integers(1, 40),
        subject=st.sampled_from(["Rome", " Rome", "Oslo"]),
        target_new=st.sampled_from(["France", "Italy"]),
    ),
    max_size=12,
    unique_by=lambda row: row.id,
)


@given(EDITS, st.data())
def test_a_set_is_a_function_of_its_edits_and_not_of_the_order_in_which_they_came(
    rows: list[AcceptedEdit], data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(rows))
    cut = data.draw(st.integers(0, len(rows)))
    assert edit_set(shuffled[:cut]).joined(shuffled[cut:]) == edit_set(rows)


@given(EDITS, st.data())
def test_taking_edits_out_gives_the_set_that_would_be_there_without_them(
    rows: list[AcceptedEdit], data: st.DataObject
) -> None:
    doomed = data.draw(st.sets(st.sampled_from([row.id for row in rows]))) if rows else set()
    left = edit_set(row for row in rows if row.id not in doomed)
    assert edit_set(rows).joined((), without=doomed) == left
    assert len(left.everything) == len(rows) - len(doomed)


def test_an_empty_set_has_nothing_in_force() -> None:
    assert edit_set([]) == EditSet(live=())


def test_a_change_says_what_a_batch_superseded_took_out_restored_and_repeated() -> None:
    before = edit_set([
        accepted(1),
        accepted(2, target_new="Italy"),
        accepted(3, subject="Ada"),
        accepted(4, subject="Eva"),
    ])
    new = [accepted(5, subject="Ada", target_new="Italy"), accepted(6, subject="Eva", note="again")]
    change = before.joined(new, without={"e2"}).change_from(before)
    assert change.of_batch(["e5", "e6"], ["e2", "e9"]) == {
        "superseded": {"e5": "e3"},
        "taken_out": ["e2"],
        "not_taken_out": ["e9"],
        "restored": ["e1"],
        "same_as": {"e6": "e4"},
    }
    assert change.of_batch([], []) == {
        "superseded": {},
        "taken_out": [],
        "not_taken_out": [],
        "restored": [],
        "same_as": {},
    }
