"""Searches for the edits that break a check, in few tries. A try leaves some edits out and tests the rest.

The result is 1-minimal: the rest passes, and fails if any single named edit is put back. The search does not assume
that fewer edits break less, or that each edit breaks a check alone. It first leaves out the suspects that a guess from
the evidence names. If the guesses fail, it leaves out more and more of the ranking. It then puts edits back, alone or
in halves. Knows only places in a ranking: no edits, models or limits.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

MOST_GUESSES = 3
MOST_SINGLY = 8
"""Up to this many left out items are put back one by one. If there are more, whole halves are tried first."""
ReasonT = TypeVar("ReasonT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found(Generic[ReasonT]):
    """The outcome of a search."""

    culprits: Mapping[int, Sequence[ReasonT]]
    """By place, worst first: why the test fails if it alone is put back. Empty: the test fails without any items."""
    num_tries: int
    is_complete: bool
    """False if the tries were used up. Then the rest passes without the named items, but some of them may be innocent.
    If none is named, no rest that passes was found."""


def find_culprits(
    num_items: int,
    *,
    broken_by_all: Sequence[ReasonT],
    test: Callable[[frozenset[int]], Sequence[ReasonT]],
    guess: Callable[[frozenset[int]], Collection[int]],
    rank: Callable[[], Sequence[int]],
    max_tries: int,
) -> Found[ReasonT]:
    """Find the items, out of ``num_items``, that must be left out.

    ``broken_by_all``: the reasons why all items together fail. ``test(left_out)``: the reasons why the rest fails,
    empty if it passes; called at most ``max_tries`` times, and never twice for the same set. ``guess(left_out)``: the
    items to leave out next; called before the first test, and again after each guess that failed. ``rank()``: all
    places, worst first; called only after the last guess.
    """
    search = _Search(num_items, broken_by_all, test, max_tries=max_tries)
    try:
        search.leave_out(guess, rank)
        if search.left_out:
            search.put_back(list(rank()))
    except _TriesUsedUp:
        return search.found(list(rank()), is_complete=False)
    return search.found(list(rank()), is_complete=True)


class _TriesUsedUp(Exception):
    """No further test is allowed."""


@dataclass(slots=True)
class _Search(Generic[ReasonT]):
    num_items: int
    broken_by_all: Sequence[ReasonT]
    test: Callable[[frozenset[int]], Sequence[ReasonT]]
    max_tries: int = field(kw_only=True)
    left_out: frozenset[int] = frozenset()
    """The rest passes without these items. Empty until such a rest is found."""
    _known: dict[frozenset[int], Sequence[ReasonT]] = field(default_factory=dict)

    @property
    def everything(self) -> frozenset[int]:
        return frozenset(range(self.num_items))

    def broken(self, left_out: frozenset[int]) -> Sequence[ReasonT]:
        if not left_out:
            return self.broken_by_all
        if left_out not in self._known:
            if len(self._known) >= self.max_tries:
                raise _TriesUsedUp
            self._known[left_out] = self.test(left_out)
        return self._known[left_out]

    def leave_out(self, guess: Callable[[frozenset[int]], Collection[int]], rank: Callable[[], Sequence[int]]) -> None:
        """Find a rest that passes, if one exists."""
        wide: frozenset[int] = frozenset()
        for _ in range(MOST_GUESSES):
            wider = wide | frozenset(guess(wide))
            if wider == wide:
                break
            wide = wider
            if self._passes(wide):
                return
        ranking, size = rank(), max(1, 2 * len(wide))
        while size < self.num_items:
            if self._passes(wide | frozenset(ranking[:size])):
                return
            size *= 2
        self._passes(self.everything)

    def put_back(self, ranking: Sequence[int]) -> None:
        """Put back items, the least suspicious first, until no single item can be put back."""
        while True:
            before = self.left_out
            ordered = [place for place in ranking if place in before]
            for group in [[place] for place in reversed(ordered)] if len(ordered) <= MOST_SINGLY else [ordered]:
                self._put_back_group(group)
            if self.left_out == before:
                return

    def found(self, ranking: Sequence[int], *, is_complete: bool) -> Found[ReasonT]:
        """The result so far. Items without a test have no reasons."""
        places = [place for place in ranking if place in self.left_out]
        return Found(
            culprits={place: self._known_broken(self.left_out - {place}) for place in places},
            num_tries=len(self._known),
            is_complete=is_complete,
        )

    def _known_broken(self, left_out: frozenset[int]) -> Sequence[ReasonT]:
        return self._known.get(left_out, ()) if left_out else self.broken_by_all

    def _passes(self, left_out: frozenset[int]) -> bool:
        if self.broken(left_out):
            return False
        self.left_out = left_out
        return True

    def _put_back_group(self, group: Sequence[int]) -> None:
        if self._passes(self.left_out - frozenset(group)) or len(group) == 1:
            return
        half = len(group) // 2
        self._put_back_group(group[half:])
        self._put_back_group(group[:half])
