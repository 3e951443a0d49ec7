"""What a guard is, and which are refused."""

from __future__ import annotations

import pytest

from editing_core.errors import InvalidEdit
from editing_core.guards import AcceptedGuard, Guard, canonical_guards, validate_guard


def guard(
    prompt: str = "The mother tongue of Rocard is", target: str = "French", subject: str | None = "Rocard"
) -> Guard:
    return Guard(prompt=prompt, target=target, subject=subject)


def test_two_guards_that_ask_the_same_have_one_id_whatever_their_target_and_spelling() -> None:
    assert guard().id == guard(target="English").id == guard("The  mother tongue of Rocard is ").id
    assert len({guard().id, guard(subject=None).id, guard("Rocard speaks").id}) == 3


def test_a_guard_comes_back_from_json() -> None:
    accepted = AcceptedGuard(guard=guard(), created="2026-11-25T10:00:00.000Z", author="ann")
    assert AcceptedGuard.from_json(accepted.to_json()) == accepted


def test_the_canonical_order_is_that_of_the_ids() -> None:
    accepted = [AcceptedGuard(guard=guard(f"{n} is"), created="", author=None) for n in ("a", "b", "c")]
    assert canonical_guards(accepted) == canonical_guards(accepted[::-1])


@pytest.mark.parametrize(
    ("wrong", "place"),
    [
        (guard(prompt="{} is", subject=None), "prompt"),
        (guard(prompt=" "), "prompt"),
        (guard(target="\n"), "target"),
        (guard(subject="Darrieux"), "subject"),
        (guard(subject=""), "subject"),
    ],
)
def test_a_guard_that_cannot_be_used_is_refused_by_its_field(wrong: Guard, place: str) -> None:
    with pytest.raises(InvalidEdit) as raised:
        validate_guard(wrong)
    assert raised.value.loc == (place,)
    validate_guard(guard())
