"""Rows side by side in bins: none overlaps another, and a token sees the tokens of its own row and no others."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from editing_core.memit.search.packing import Extent, Packing, pack

SHARED = ((), (7,), (7, 8, 9, 10))
extents = st.builds(Extent, st.sampled_from(SHARED), st.integers(0, 9), st.integers(1, 20))


def numbered(rows: list[Extent], packing: Packing) -> tuple[torch.Tensor, torch.Tensor]:
    """Which row's prefix and suffix tokens lie where, as a number for each token of each row (-1: padding)."""
    starts = torch.tensor([1000 * r for r in range(len(rows))])
    prefix = packing.prefix_index(starts, starts + packing.num_shared_R, fill=-1)
    suffix = packing.suffix_index(starts + packing.num_shared_R + packing.num_own_R)
    return prefix, suffix


@given(rows=st.lists(extents, min_size=1, max_size=30))
@settings(deadline=None)
def test_every_token_of_every_row_has_its_place(rows: list[Extent]) -> None:
    packing = pack(rows)
    prefix, suffix = numbered(rows, packing)
    for r, row in enumerate(rows):
        own, at = int(packing.flat_own[r]), int(packing.flat_suffix[r])
        length = len(row.shared) + row.num_own
        assert prefix[own : own + row.num_own].tolist() == [1000 * r + len(row.shared) + t for t in range(row.num_own)]
        assert suffix[at : at + row.num_suffix].tolist() == [1000 * r + length + t for t in range(row.num_suffix)]


@given(rows=st.lists(extents, min_size=1, max_size=30))
@settings(deadline=None)
def test_rows_in_a_bin_have_the_same_shared_tokens(rows: list[Extent]) -> None:
    packing = pack(rows)
    for b in range(packing.num_bins):
        assert len({rows[r].shared for r in (packing.bin_R == b).nonzero().squeeze(1).tolist()}) == 1


@given(rows=st.lists(extents, min_size=1, max_size=30))
@settings(deadline=None)
def test_a_suffix_token_sees_the_whole_prefix_and_the_earlier_suffix_of_its_row_alone(rows: list[Extent]) -> None:
    packing = pack(rows)
    seen = packing.suffix_seen().flatten(0, 1)
    for r, row in enumerate(rows):
        shared = list(range(len(row.shared)))
        own = [int(packing.own_at_R[r]) + t for t in range(row.num_own)]
        at = packing.num_prefix + int(packing.suffix_at_R[r])
        for t in range(row.num_suffix):
            expected = [*shared, *own, *(at + i for i in range(t + 1))]
            assert seen[int(packing.flat_suffix[r]) + t].nonzero().squeeze(1).tolist() == expected


@given(rows=st.lists(extents, min_size=1, max_size=30))
@settings(deadline=None)
def test_a_prefix_token_sees_what_comes_before_it_in_its_row_alone(rows: list[Extent]) -> None:
    packing = pack(rows)
    seen = packing.prefix_seen().flatten(0, 1)
    positions = packing.prefix_positions().flatten()
    for r, row in enumerate(rows):
        shared = list(range(len(row.shared)))
        for t in range(row.num_own):
            own = [int(packing.own_at_R[r]) + i for i in range(t + 1)]
            assert seen[int(packing.flat_own[r]) + t].nonzero().squeeze(1).tolist() == [*shared, *own]
            assert int(positions[int(packing.flat_own[r]) + t]) == len(row.shared) + t


def test_short_rows_fill_the_room_that_long_ones_leave() -> None:
    rows = [Extent((), 3, n) for n in (7, 7, 9, 1, 1, 7)]
    packing = pack(rows, bin_tokens=16)
    assert packing.num_bins == 2
    assert packing.num_suffix == 16


def test_a_row_longer_than_a_bin_makes_the_bins_longer() -> None:
    packing = pack([Extent((), 2, 40), Extent((), 2, 20), Extent((), 2, 20)], bin_tokens=16)
    assert (packing.num_bins, packing.num_suffix) == (2, 40)


def test_rows_without_suffixes_are_packed_by_their_prefixes() -> None:
    packing = pack([Extent((1, 2), n, 0) for n in (5, 5, 6)], bin_tokens=16)
    assert (packing.num_bins, packing.num_prefix, packing.num_suffix) == (1, 18, 0)
