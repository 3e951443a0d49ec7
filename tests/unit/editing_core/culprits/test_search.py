"""What is named can be left out and cannot be put back, whatever the test is like."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from editing_core.culprits.search import Found, find_culprits

Test = Callable[[frozenset[int]], Sequence[str]]
BROKEN = ("broken",)
PLENTY = 10_000


def search(
    num_items: int,
    test: Test,
    *,
    suspects: Sequence[Collection[int]] = (),
    ranking: Sequence[int] | None = None,
    max_tries: int = PLENTY,
) -> tuple[Found[str], list[frozenset[int]]]:
    """The outcome and what was left out in each try; ``suspects`` are the guesses in turn."""
    tried: list[frozenset[int]] = []
    guesses = iter(suspects)

    def noted(left_out: frozenset[int]) -> Sequence[str]:
        tried.append(left_out)
        return test(left_out)

    found = find_culprits(
        num_items,
        broken_by_all=BROKEN,
        test=noted,
        guess=lambda left_out: next(guesses, ()),
        rank=lambda: list(ranking or range(num_items)),
        max_tries=max_tries,
    )
    return found, tried


def poisoned(*culprits: int) -> Test:
    """Each of these breaks the test alone."""
    return lambda left_out: () if left_out >= set(culprits) else BROKEN


@st.composite
def monotone_tests(draw: st.DrawFn) -> tuple[int, Test]:
    """A test that some combinations of items break, each with whatever is beside it."""
    num_items = draw(st.integers(1, 40))
    items = st.integers(0, num_items - 1)
    combinations = draw(st.lists(st.frozensets(items, min_size=1, max_size=4), min_size=1, max_size=6))
    everything = frozenset(range(num_items))

    def test(left_out: frozenset[int]) -> Sequence[str]:
        return BROKEN if any(combination <= everything - left_out for combination in combinations) else ()

    return num_items, test


@st.composite
def any_tests(draw: st.DrawFn) -> tuple[int, Test]:
    """A test that breaks for any sets whatever."""
    num_items = draw(st.integers(1, 7))
    passing = draw(st.frozensets(st.integers(1, 2**num_items - 1)))
    return num_items, lambda left_out: () if sum(1 << item for item in left_out) in passing else BROKEN


@st.composite
def guesses(draw: st.DrawFn, num_items: int) -> tuple[list[frozenset[int]], list[int]]:
    items = st.integers(0, num_items - 1)
    ranking = draw(st.permutations(range(num_items)))
    return draw(st.lists(st.frozensets(items), max_size=4)), list(ranking)


@given(st.one_of(monotone_tests(), any_tests()), st.data())
@settings(max_examples=400, deadline=None)
def test_the_rest_passes_and_no_single_one_named_can_be_put_back(case: tuple[int, Test], data: st.DataObject) -> None:
    num_items, test = case
    suspects, ranking = data.draw(guesses(num_items))
    found, tried = search(num_items, test, suspects=suspects, ranking=ranking)
    assert found.is_complete
    assert len(tried) == len(set(tried)) == found.num_tries
    named = frozenset(found.culprits)
    if not named:
        assert test(frozenset(range(num_items))), "nothing is named only where leaving all out does not help"
        return
    assert not test(named)
    for item in named:
        others = named - {item}
        assert found.culprits[item] == (test(others) if others else BROKEN)
        assert found.culprits[item]


@given(monotone_tests(), st.integers(0, 12), st.data())
@settings(max_examples=200, deadline=None)
def test_tries_never_exceed_what_is_allowed_and_what_is_named_then_is_enough(
    case: tuple[int, Test], max_tries: int, data: st.DataObject
) -> None:
    num_items, test = case
    suspects, ranking = data.draw(guesses(num_items))
    found, tried = search(num_items, test, suspects=suspects, ranking=ranking, max_tries=max_tries)
    assert len(tried) == found.num_tries <= max_tries
    if found.culprits:
        assert not test(frozenset(found.culprits))
    else:
        assert not found.is_complete


def test_a_right_guess_costs_one_try_and_one_for_each_that_is_named() -> None:
    found, tried = search(43, poisoned(7, 20, 41), suspects=[{7, 20, 41}])
    assert list(found.culprits) == [7, 20, 41]
    assert len(tried) == 4


def test_a_single_culprit_that_was_guessed_costs_one_try() -> None:
    found, tried = search(43, poisoned(7), suspects=[{7}])
    assert found.culprits == {7: BROKEN}
    assert len(tried) == 1


def test_innocent_suspects_are_put_back() -> None:
    found, _ = search(43, poisoned(7, 20), suspects=[{7, 8, 9, 20, 30}])
    assert set(found.culprits) == {7, 20}


def test_a_guess_that_falls_short_is_widened() -> None:
    found, tried = search(43, poisoned(7, 20), suspects=[{7}, {20}])
    assert set(found.culprits) == {7, 20}
    assert tried == [{7}, {7, 20}, {20}], "what was tried is not tried again"


def test_without_a_guess_bisection_finds_a_few_among_many() -> None:
    found, tried = search(1000, poisoned(500, 901))
    assert set(found.culprits) == {500, 901}
    assert len(tried) < 70


def test_a_test_that_fails_without_any_item_blames_none() -> None:
    found, _ = search(5, lambda left_out: BROKEN, suspects=[{1}])
    assert not found.culprits
    assert found.is_complete


def test_two_that_break_only_together_give_one_culprit() -> None:
    def test(left_out: frozenset[int]) -> Sequence[str]:
        return () if left_out & {3, 4} else BROKEN

    found, _ = search(9, test, suspects=[{3, 4}], ranking=[3, 4, 0, 1, 2, 5, 6, 7, 8])
    assert list(found.culprits) == [3]
