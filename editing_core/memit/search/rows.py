"""The rows of one search: their tokens, and the target tokens that each row predicts. Knows no tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from editing_core.memit.tokens import EditRows, TokenRow

GUARDING = -1
"""The value of ``context`` for the guarding row; rewriting rows have the number of their context."""


@dataclass(frozen=True, slots=True)
class GroupRows:
    """The rows of one search: those of every edit about a subject, and the row that guards the subject's meaning."""

    edits: tuple[EditRows, ...]

    @property
    def num_rows(self) -> int:
        """Number of rows: the rewriting rows of all edits, and one guarding row."""
        return sum(len(edit.prompts) for edit in self.edits) + 1

    @property
    def longest(self) -> int:
        """Length of the longest row in tokens."""
        return max(len(plan.ids) for plan in plan_rows(0, self))

    @property
    def longest_suffix(self) -> int:
        """Length of the longest row in tokens, counted from its look-up token."""
        return max(len(plan.ids) - plan.row.lookup for plan in plan_rows(0, self))

    @property
    def num_asks(self) -> int:
        """Number of positions whose next token is predicted, including the guarding row's."""
        return sum(len(plan.target) for plan in plan_rows(0, self)) + 1


@dataclass(frozen=True, slots=True)
class RowPlan:
    """One row of a batch."""

    row: TokenRow
    ids: tuple[int, ...]
    target: tuple[int, ...]
    """Empty for the guarding row."""
    group: int
    weight: float
    """Share of this row's mean NLL in its group's loss."""
    context: int
    """Number of the context that the row begins with; ``GUARDING`` for guarding rows."""

    @property
    def is_bare(self) -> bool:
        """Whether the row is an edit's prompt in the bare context."""
        return self.context == 0


def plan_rows(index: int, group: GroupRows) -> list[RowPlan]:
    """Return the rows of the batch's group number ``index``; the guarding row comes last."""
    num_prompts = sum(len(edit.prompts) for edit in group.edits)
    plans = [
        RowPlan(row, (*row.ids, *edit.target[:-1]), edit.target, index, 1 / num_prompts, context=i)
        for edit in group.edits
        for i, row in enumerate(edit.prompts)
    ]
    guard = group.edits[0].kl
    return [*plans, RowPlan(guard, guard.up_to_lookup, (), index, 0.0, context=GUARDING)]


@dataclass(frozen=True, slots=True)
class Asks:
    """Every target token of a batch: its row, its place after the look-up token, its id, and its weight."""

    rows: list[int]
    places: list[int]
    answers: list[int]
    shares: list[float]


def asks_of(plans: Sequence[RowPlan]) -> Asks:
    """Return the target tokens of the rows."""
    asks = Asks([], [], [], [])
    for i, plan in enumerate(plans):
        first = len(plan.row.ids) - 1 - plan.row.lookup
        for t, answer in enumerate(plan.target):
            asks.rows.append(i)
            asks.places.append(first + t)
            asks.answers.append(answer)
            asks.shares.append(plan.weight / len(plan.target))
    return asks
