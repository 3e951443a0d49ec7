"""A set of edits as a function of what was accepted: what is in force, and what lies beneath it.

Of several edits about one thing the one accepted last is in force; the others stay beneath, so that taking the upper
one out gives the set that would be there had it never been made. An edit that says the same as the one just beneath it
changes nothing: the earlier one stays in force. Torch-free; knows no versions and no ledger.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from editing_core.edits import AcceptedEdit, Edit, canonical


@dataclass(frozen=True, slots=True, kw_only=True)
class EditSet:
    """What is in force and what is not, both in canonical order."""

    live: tuple[AcceptedEdit, ...]
    superseded: tuple[AcceptedEdit, ...] = ()
    """Edits that a live one about the same thing supersedes, or repeats."""

    @property
    def everything(self) -> tuple[AcceptedEdit, ...]:
        """All that the set was made of."""
        return (*self.live, *self.superseded)

    def joined(self, new: Iterable[AcceptedEdit], *, without: Collection[str] = ()) -> EditSet:
        """The set with ``new`` ones in it and those with the ids ``without`` taken out; the order of calls is free."""
        return edit_set(edit for edit in (*self.everything, *new) if edit.id not in without)

    def named_alike(self, edit: str) -> tuple[str, ...]:
        """The edit's id and those that say the same just before or after it: they are taken out together."""
        found = next(accepted for accepted in self.everything if accepted.id == edit)
        stack = sorted((row for row in self.everything if row.edit.identity == found.edit.identity), key=_place)
        first = last = [row.id for row in stack].index(edit)
        while first > 0 and says_the_same(stack[first - 1].edit, found.edit):
            first -= 1
        while last + 1 < len(stack) and says_the_same(stack[last + 1].edit, found.edit):
            last += 1
        return tuple(row.id for row in stack[first : last + 1])

    def repeats(self) -> dict[str, str]:
        """Of each edit that says what the one in force says, and was accepted after it: that one's id."""
        live = {accepted.edit.identity: accepted for accepted in self.live}
        return {
            accepted.id: held.id
            for accepted in self.superseded
            for held in [live[accepted.edit.identity]]
            if _place(accepted) > _place(held)
        }


def edit_set(edits: Iterable[AcceptedEdit]) -> EditSet:
    """The set that these edits make, each counted once."""
    stacks: dict[tuple[str, str], dict[str, AcceptedEdit]] = defaultdict(dict)
    for accepted in edits:
        stacks[accepted.edit.identity][accepted.id] = accepted
    live = {held.id: held for stack in stacks.values() for held in [_in_force(list(stack.values()))]}
    beneath = (accepted for stack in stacks.values() for accepted in stack.values() if accepted.id not in live)
    return EditSet(live=canonical(live.values()), superseded=canonical(beneath))


def says_the_same(one: Edit, other: Edit) -> bool:
    """Whether two edits differ in nothing that the weights or the checks depend on."""
    left, right = one.to_json(), other.to_json()
    return all(left[name] == right[name] for name in left if name not in {"source", "note"})


def _in_force(stack: list[AcceptedEdit]) -> AcceptedEdit:
    """Of edits about one thing the one accepted last; of several that say the same in a row the first."""
    stack.sort(key=_place)
    held = stack.pop()
    while stack and says_the_same(stack[-1].edit, held.edit):
        held = stack.pop()
    return held


def _place(accepted: AcceptedEdit) -> tuple[int, str]:
    return accepted.acceptance, accepted.id
