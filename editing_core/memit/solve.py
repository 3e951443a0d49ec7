"""The least-squares solve of MEMIT (Eqn. 14), in float64, with keys whose output it holds.

Knows no model: it takes keys, residuals and a second moment, and returns the change of one matrix.
"""

# Dims: N edits, P held keys, B edits of a block, M width of the projection's input (d_ff), H of its output (d_model).

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from editing_core.errors import NotPositiveDefinite
from editing_core.precision import SOLVE_DTYPE

BLOCK_EDITS = 1024
"""Number of edits whose similarities to all others are in memory at once."""


@dataclass(frozen=True, slots=True)
class Solution:
    """The result of one solve."""

    delta_HM: Tensor
    """float64."""
    solved_MN: Tensor
    """K' = (λC + K Kᵀ)⁻¹ K. Since Δ k = R (K'ᵀ k), it gives the share of each edit in the change at a key k."""


def solve_holding(
    keys_MN: Tensor,
    residuals_HN: Tensor,
    covariance_MM: Tensor,
    *,
    prior_weight: float,
    held_MP: Tensor | None = None,
    held_weight: float = 1.0,
) -> Solution:
    """Solve with ``held_MP`` as edits of that weight that ask for no change: Δ = R Kᵀ (λC + K Kᵀ + w Kₚ Kₚᵀ)⁻¹.

    The bracket is symmetric positive definite, so Cholesky factors it. Raises NotPositiveDefinite if the covariance has
    too few samples; the message says how many it needs.
    """
    keys = keys_MN.to(SOLVE_DTYPE)
    bracket = covariance_MM.to(SOLVE_DTYPE).mul(prior_weight).addmm_(keys, keys.T)
    if held_MP is not None:
        held = held_MP.to(SOLVE_DTYPE)
        bracket.addmm_(held, held.T, alpha=held_weight)
    factor, failed_at = torch.linalg.cholesky_ex(bracket)
    if int(failed_at) != 0:
        width = keys_MN.shape[0]
        raise NotPositiveDefinite(
            f"the second moment of the keys (width {width}) is not positive definite at row {int(failed_at)}: it was"
            f" made of too little text; `errata prepare` needs at least {width} tokens, {10 * width} are advised"
        )
    solved = torch.cholesky_solve(keys, factor)
    return Solution(residuals_HN.to(SOLVE_DTYPE) @ solved.T, solved)


def nearest_keys(keys_MN: Tensor, solved_MN: Tensor, kinds: Sequence[object]) -> dict[int, tuple[int, float]]:
    """Return for each edit the index and cosine of the most similar key that belongs to another kind.

    The cosine is that of Kᵀ (λC + K Kᵀ)⁻¹ K. Entry (i, j) is the share of edit j's residual that reaches edit i. The
    cosine is 1 if the solve must treat both alike. Edits of one kind (one subject) share their residual.
    """
    keys = keys_MN.to(solved_MN.dtype)
    norms_N = (keys * solved_MN).sum(0).clamp(min=torch.finfo(keys.dtype).tiny).sqrt()
    numbers = {kind: number for number, kind in enumerate(dict.fromkeys(kinds))}
    kinds_N = torch.tensor([numbers[kind] for kind in kinds], device=keys.device)
    found: dict[int, tuple[int, float]] = {}
    for first in range(0, len(kinds), BLOCK_EDITS):
        block = slice(first, first + BLOCK_EDITS)
        cosines_BN = (keys[:, block].T @ solved_MN) / (norms_N[block, None] * norms_N)
        cosines_BN[kinds_N[block, None] == kinds_N] = -torch.inf
        best = cosines_BN.max(1)
        pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        found |= {first + i: pair for i, pair in enumerate(pairs) if pair[1] > -torch.inf}
    return found
