"""Lays rows out in bins: several rows share one line of a batch, so little of it is padding.

A row has a prefix (the tokens before its look-up token) and a suffix (from the look-up token on). The first tokens of
the prefix, its context, may be shared with other rows. Rows with the same shared tokens fill one bin, then the next.
One bin with rows a, b and c, in which ``s`` is a shared token, ``*`` a look-up token and ``.`` padding::

                prefix part (P places)           suffix part (S places)
              | s s s | a a | b b b | c | . |    | a* a a | b* b | c* c c | . . |

    b* sees     s s s         b b b                         b*
    the second b of the suffix sees the same, and itself

The mask keeps the rows apart: a token sees the shared tokens, and the tokens of its own row up to itself. Its position
is counted within its row. The prefix part is computed once, and only its keys and values are cached. Knows no model.
"""

# Dims: R rows, B bins, P places of a bin's prefix part, S places of its suffix part.

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from math import ceil

import torch
from torch import Tensor

BIN_TOKENS = 16
"""Suffix tokens of a bin, unless a row is longer. Longer bins hold less padding, but cost more in attention."""
PREFIX_SLACK = 1.25
"""Maximum prefix tokens of a bin, as a multiple of the average."""
SHARED, PADDING = -1, -2
"""Row numbers of places that all rows of a bin see, and of padding."""


@dataclass(frozen=True, slots=True)
class Extent:
    """The lengths of a row's parts."""

    shared: tuple[int, ...]
    """Ids of its first prefix tokens. Rows with equal ids share them."""
    num_own: int
    """Prefix tokens after the shared ones."""
    num_suffix: int


@dataclass(frozen=True, kw_only=True)
class Packing:
    """The bins of some rows. Places are counted within a bin; *flat* places through all bins, B · P or B · S."""

    bin_R: Tensor
    own_at_R: Tensor
    """Place of a row's first own prefix token in its bin's prefix part."""
    suffix_at_R: Tensor
    """Place of a row's first suffix token in its bin's suffix part."""
    num_shared_R: Tensor
    num_own_R: Tensor
    num_suffix_R: Tensor
    first_row_B: Tensor
    """Number of one row of each bin."""
    num_prefix: int
    """P, at least 1."""
    num_suffix: int
    """S."""

    @property
    def num_bins(self) -> int:
        """B."""
        return len(self.first_row_B)

    @cached_property
    def flat_own(self) -> Tensor:
        """Flat place of each row's first own prefix token, [R]."""
        return self.bin_R * self.num_prefix + self.own_at_R

    @property
    def flat_shared(self) -> Tensor:
        """Flat place of the first shared token of each row, which is the first place of its bin; [R]."""
        return self.bin_R * self.num_prefix

    @cached_property
    def flat_suffix(self) -> Tensor:
        """Flat place of each row's first suffix token, [R]."""
        return self.bin_R * self.num_suffix + self.suffix_at_R

    def prefix_index(self, shared_R: Tensor, own_R: Tensor, *, fill: int = 0) -> Tensor:
        """Return the token index of every flat prefix place [B · P], if row r's tokens begin at these indices."""
        index = torch.full((self.num_bins * self.num_prefix,), fill)
        self._write_shared(index, shared_R)
        _write_runs(index, self.flat_own, self.num_own_R, own_R)
        return index

    def suffix_index(self, first_R: Tensor) -> Tensor:
        """Return the token index of every flat suffix place [B · S], if row r's suffix begins at ``first_R[r]``."""
        index = torch.zeros(self.num_bins * self.num_suffix, dtype=torch.long)
        _write_runs(index, self.flat_suffix, self.num_suffix_R, first_R)
        return index

    def prefix_positions(self) -> Tensor:
        """Return the position of each prefix token in its row, [B, P]."""
        positions = self.prefix_index(torch.zeros_like(self.bin_R), self.num_shared_R)
        return positions.view(self.num_bins, self.num_prefix)

    def suffix_positions(self) -> Tensor:
        """Return the position of each suffix token in its row, [B, S]."""
        return self.suffix_index(self.num_shared_R + self.num_own_R).view(self.num_bins, self.num_suffix)

    def prefix_seen(self) -> Tensor:
        """Return the prefix places that each prefix place sees, [B, P, P]."""
        rows = self._prefix_rows()
        place = torch.arange(self.num_prefix)
        sees = (rows[:, :, None] == rows[:, None, :]) | (rows == SHARED)[:, None, :]
        return sees & (place[None, :] <= place[:, None])

    def suffix_seen(self) -> Tensor:
        """Return the prefix and suffix places that each suffix place sees, [B, S, P + S]."""
        before, rows = self._prefix_rows(), self._suffix_rows()
        place = torch.arange(self.num_suffix)
        sees_before = (rows[:, :, None] == before[:, None, :]) | (before == SHARED)[:, None, :]
        sees = (rows[:, :, None] == rows[:, None, :]) & (place[None, :] <= place[:, None])
        return torch.cat([sees_before, sees], dim=2)

    def _write_shared(self, index: Tensor, first_R: Tensor, *, step: int = 1) -> None:
        """Write each bin's shared part, taken from its first row."""
        leads = self.first_row_B
        _write_runs(index, self.flat_shared[leads], self.num_shared_R[leads], first_R[leads], step=step)

    def _prefix_rows(self) -> Tensor:
        rows = torch.full((self.num_bins * self.num_prefix,), PADDING)
        self._write_shared(rows, torch.full_like(self.bin_R, SHARED), step=0)
        _write_runs(rows, self.flat_own, self.num_own_R, torch.arange(len(self.bin_R)), step=0)
        return rows.view(self.num_bins, self.num_prefix)

    def _suffix_rows(self) -> Tensor:
        rows = torch.full((self.num_bins * self.num_suffix,), PADDING)
        _write_runs(rows, self.flat_suffix, self.num_suffix_R, torch.arange(len(self.bin_R)), step=0)
        return rows.view(self.num_bins, self.num_suffix)


def _write_runs(index: Tensor, to_R: Tensor, length_R: Tensor, first_R: Tensor, *, step: int = 1) -> None:
    """For every row, write ``length`` values first, first + step, … into ``index``, starting at ``to``."""
    ramp = torch.arange(int(length_R.sum())) - (length_R.cumsum(0) - length_R).repeat_interleave(length_R)
    index[to_R.repeat_interleave(length_R) + ramp] = first_R.repeat_interleave(length_R) + step * ramp


def pack(rows: Sequence[Extent], *, bin_tokens: int = BIN_TOKENS) -> Packing:
    """Put rows into bins, longest first, each into the fullest bin that still has room (best fit).

    Rows without suffixes are packed by their prefixes.
    """
    by_suffix = any(row.num_suffix for row in rows)
    sizes = [row.num_suffix if by_suffix else row.num_own for row in rows]
    others = [row.num_own if by_suffix else 0 for row in rows]
    room = max(bin_tokens, *sizes)
    other_room = max(ceil(PREFIX_SLACK * room * sum(others) / max(1, sum(sizes))), *others)
    bins = _Bins(room, other_room)
    for r in sorted(range(len(rows)), key=lambda r: (rows[r].shared, -sizes[r], -others[r], r)):
        bins.put(r, rows[r].shared, sizes[r], others[r])
    return _packing(rows, bins.content)


class _Bins:
    """Partly filled bins, indexed by their shared tokens and remaining room."""

    def __init__(self, room: int, other_room: int) -> None:
        self.content: list[list[int]] = []
        self._room, self._other_room = room, other_room
        self._other_used: list[int] = []
        self._open: defaultdict[tuple[int, ...], list[list[int]]] = defaultdict(
            lambda: [[] for _ in range(self._room + 1)]
        )

    def put(self, row: int, shared: tuple[int, ...], size: int, other: int) -> None:
        """Put a row into the fullest bin that has room, or into a new one."""
        stacks = self._open[shared]
        for left in range(size, self._room + 1):
            if stacks[left] and self._other_used[stacks[left][-1]] + other <= self._other_room:
                return self._add(stacks[left].pop(), row, left - size, other, stacks)
        self.content.append([])
        self._other_used.append(0)
        return self._add(len(self.content) - 1, row, self._room - size, other, stacks)

    def _add(self, number: int, row: int, left: int, other: int, stacks: list[list[int]]) -> None:
        self.content[number].append(row)
        self._other_used[number] += other
        stacks[left].append(number)


def _packing(rows: Sequence[Extent], content: Sequence[Sequence[int]]) -> Packing:
    bin_R, own_at_R, suffix_at_R = [0] * len(rows), [0] * len(rows), [0] * len(rows)
    num_prefix, num_suffix = 1, 0
    for number, members in enumerate(content):
        own = list(accumulate((rows[r].num_own for r in members), initial=len(rows[members[0]].shared)))
        suffix = list(accumulate((rows[r].num_suffix for r in members), initial=0))
        for r, own_at, suffix_at in zip(members, own, suffix, strict=False):
            bin_R[r], own_at_R[r], suffix_at_R[r] = number, own_at, suffix_at
        num_prefix, num_suffix = max(num_prefix, own[-1]), max(num_suffix, suffix[-1])
    return Packing(
        bin_R=torch.tensor(bin_R),
        own_at_R=torch.tensor(own_at_R),
        suffix_at_R=torch.tensor(suffix_at_R),
        num_shared_R=torch.tensor([len(row.shared) for row in rows]),
        num_own_R=torch.tensor([row.num_own for row in rows]),
        num_suffix_R=torch.tensor([row.num_suffix for row in rows]),
        first_row_B=torch.tensor([members[0] for members in content]),
        num_prefix=num_prefix,
        num_suffix=num_suffix,
    )
