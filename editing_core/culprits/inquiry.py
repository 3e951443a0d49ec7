"""Finds the edits that break the checks: suspects from evidence, proven by tries on real weights.

The rest passes without the named edits. Each named edit broke a limit when it alone was put back. Knows no batches.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from editing_core.checks.limits import Limit
from editing_core.checks.verdict import Broken
from editing_core.culprits.search import find_culprits
from editing_core.culprits.suspects import Evidence, ranking, suspects
from editing_core.culprits.trials import Trials, Try
from editing_core.edits import AcceptedEdit

Sets = Callable[[frozenset[str]], tuple[Sequence[AcceptedEdit], Sequence[AcceptedEdit]]]
"""Maps the ids of left out edits to the live set without them, and to its new edits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inquest:
    """The result of an inquiry."""

    culprits: Mapping[str, Sequence[Broken]]
    """By edit id, worst first: the limits that break if it alone is put back; empty if the tries ran out before."""
    num_tries: int
    is_complete: bool
    """False if the tries were used up (see ``search.Found``)."""
    rest: Try | None
    """The set without the culprits, which breaks no limit. None if no culprit is named."""


class Inquiry:
    """One search, on one parent."""

    def __init__(
        self,
        trials: Trials,
        sets: Sets,
        *,
        broken: Collection[Broken],
        max_tries: int,
        on_progress: Callable[[int, int], None],
    ) -> None:
        """``broken``: the limits that all edits together break.

        ``on_progress(tries done, tries expected)`` is called often and may raise.
        """
        self._trials, self._sets, self._max_tries = trials, sets, max_tries
        self._on_progress = on_progress
        self._broken_by_all = tuple(broken)
        self._reported: tuple[Limit, ...] = tuple(dict.fromkeys(found.limit for found in broken))
        self._seen: dict[Limit, None] = dict.fromkeys(self._reported)
        """Every limit that was broken in any try."""
        self._ids = [accepted.id for accepted in sets(frozenset())[1]]
        self._evidence: dict[str, Evidence] = {}
        self._failed: tuple[Try, tuple[Limit, ...]] | None = None
        self._passed: tuple[frozenset[str], Try] | None = None
        self._num_tries, self._num_foreseen = 0, 1

    def run(self) -> Inquest:
        """Find the culprits."""
        found = find_culprits(
            len(self._ids),
            broken_by_all=self._broken_by_all,
            test=self._test,
            guess=self._guess,
            rank=self._rank,
            max_tries=self._max_tries,
        )
        culprits = {self._ids[place]: tuple(broken) for place, broken in found.culprits.items()}
        rest = self._rest(frozenset(culprits)) if culprits else None
        return Inquest(culprits=culprits, num_tries=found.num_tries, is_complete=found.is_complete, rest=rest)

    def _test(self, places: frozenset[int]) -> tuple[Broken, ...]:
        self._failed = None  # frees its weights before the next solve
        left_out = frozenset(self._ids[place] for place in places)
        attempt = self._solve(left_out)
        broken = self._trials.broken(attempt, first=self._reported)
        limits = tuple(dict.fromkeys(found.limit for found in broken))
        self._seen |= dict.fromkeys(limits)
        if broken:
            self._failed = attempt, limits
        else:
            self._passed = left_out, attempt
        self._num_tries += 1
        return broken

    def _guess(self, places: frozenset[int]) -> frozenset[int]:
        attempt, limits = self._failed or (self._all(), self._reported)
        self._evidence |= self._trials.evidence(attempt, limits)
        ids = [accepted.id for accepted in attempt.new if accepted.id in self._evidence]
        found = suspects(
            [self._evidence[edit] for edit in ids], attempt.measuring.figures, self._trials.limits, broken=limits
        )
        wanted = places | {self._ids.index(ids[place]) for place in found if ids[place] in self._ids}
        self._num_foreseen = self._num_tries + 1 + len(wanted)
        return wanted

    def _rank(self) -> list[int]:
        return ranking([self._evidence[edit] for edit in self._ids], tuple(self._seen))

    def _all(self) -> Try:
        attempt = self._solve(frozenset())
        attempt.measuring.measure(self._reported)
        return attempt

    def _rest(self, left_out: frozenset[str]) -> Try:
        if self._passed is None or self._passed[0] != left_out:
            self._passed = left_out, self._solve(left_out)
        return self._passed[1]

    def _solve(self, left_out: frozenset[str]) -> Try:
        live, new = self._sets(left_out)
        return self._trials.solve(live, new, on_progress=self._step)

    def _step(self, _done: int, _total: int) -> None:
        self._num_foreseen = max(self._num_foreseen, self._num_tries + 1)
        self._on_progress(self._num_tries, self._num_foreseen)
