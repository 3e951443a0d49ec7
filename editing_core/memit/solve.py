"""The least-squares solve of MEMIT (Eqn. 14), in float64.

Knows no model: it takes keys, residuals and a second moment, and gives the change of one matrix.
"""

# Dims: N edits, M width of the projection's input (d_ff), H of its output (d_model).

from __future__ import annotations

import torch
from torch import Tensor

from editing_core.errors import NotPositiveDefinite
from editing_core.precision import SOLVE_DTYPE


def solve_delta(keys_MN: Tensor, residuals_HN: Tensor, covariance_MM: Tensor, *, prior_weight: float) -> Tensor:
    """Return delta_HM = R Kᵀ (λC + K Kᵀ)⁻¹ in float64 (MEMIT, Eqn. 14).

    The bracket is symmetric positive definite, so it is factored by Cholesky. Raises NotPositiveDefinite when the
    covariance holds too few samples; the message says how many are needed.
    """
    keys = keys_MN.to(SOLVE_DTYPE)
    bracket = covariance_MM.to(SOLVE_DTYPE).mul(prior_weight).addmm_(keys, keys.T)
    factor, failed_at = torch.linalg.cholesky_ex(bracket)
    if int(failed_at) != 0:
        width = keys_MN.shape[0]
        raise NotPositiveDefinite(
            f"the second moment of the keys (width {width}) is not positive definite at row {int(failed_at)}: it was"
            f" made of too little text; `errata prepare` needs at least {width} tokens, {10 * width} are advised"
        )
    return residuals_HN.to(SOLVE_DTYPE) @ torch.cholesky_solve(keys, factor).T
