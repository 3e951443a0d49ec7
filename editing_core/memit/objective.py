"""The loss of the search for z, and the bound on δ (MEMIT, Eqn. 16, with two terms of the public implementation).

For one search, with δ added to the hidden state h of the target layer at the look-up token of every row::

    L(δ) =   1/R Σ_r 1/T Σ_t  −log p(o_t | context_r ⊕ prompt(s) ⊕ o_<t, δ)       NLL of the new object o
           + kl_factor · KL( p(· | "{s} is a", δ)  ‖  p(· | "{s} is a", 0) )         keeps the subject's meaning
           + weight_decay · ‖δ‖ / ‖h‖²                                              first power over square

    after each step:  δ ← δ · min(1, clamp_factor · ‖h‖ / ‖δ‖)

R rows (contexts) and T tokens of the object. The KL divergence is read at the subject's last token, with its arguments
in the order of the public implementation. Eqn. 16 of the paper has only the NLL. Both the plain search (``plain``) and
the fast one (``search``) use these functions. Knows no model.
"""

# Dims: G searches (one δ each), H hidden size, V vocabulary.

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import kl_div

from editing_core.memit.config import MemitConfig


def search_loss(
    delta_GH: Tensor,
    *,
    nll_G: Tensor,
    now_GV: Tensor,
    start_GV: Tensor,
    hidden_norm_G: Tensor,
    config: MemitConfig,
) -> Tensor:
    """Return L of each search, [G].

    ``nll_G``: the first term. ``now_GV`` and ``start_GV``: log-probabilities after ``"{s} is a"`` with and without δ.
    ``hidden_norm_G``: ‖h‖ of the bare row.
    """
    divergence_G = kl_div(start_GV, now_GV, log_target=True, reduction="none").sum(-1)
    decay_G = config.weight_decay * delta_GH.norm(dim=-1) / hidden_norm_G**2
    return nll_G + config.kl_factor * divergence_G + decay_G


def clamp_delta(delta_GH: Tensor, hidden_norm_G: Tensor, clamp_factor: float) -> Tensor:
    """Return δ, scaled down if ‖δ‖ exceeds ``clamp_factor`` · ‖h‖."""
    norm_G = delta_GH.norm(dim=-1)
    limit_G = clamp_factor * hidden_norm_G
    return torch.where((norm_G > limit_G)[:, None], delta_GH * (limit_G / norm_G)[:, None], delta_GH)
