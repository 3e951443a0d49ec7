"""Chooses the next token: greedily for all places at once, or by a request's own generator.

A sampled token takes exactly one uniform number of the request's generator and is found by its cumulative probability,
so that a seed gives the same text alone and in company.
"""

# ruff: noqa: N803, N806 -- shape letters

# Dims: N rows, V vocabulary.

from __future__ import annotations

import torch
from torch import Tensor


def greedy_tokens(logits_NV: Tensor) -> tuple[list[int], list[bool]]:
    """The likeliest token of each row, and whether the row's logits were numbers at all."""
    best_N = logits_NV.max(dim=-1)
    return best_N.indices.tolist(), torch.isfinite(best_N.values).tolist()


def sampled_token(logits_V: Tensor, *, temperature: float, top_p: float, generator: torch.Generator) -> int:
    """One token drawn from softmax(logits / temperature), cut to the fewest tokens that hold ``top_p`` of it.

    Works in float64 on the CPU, where ``generator`` must be.
    """
    logits_V = logits_V.to("cpu", torch.float64)
    # The largest is taken off before dividing, so that no temperature, however small, overflows.
    probabilities_V = torch.softmax((logits_V - logits_V.max()) / temperature, dim=-1)
    if top_p >= 1:
        return _drawn(probabilities_V, generator)
    ordered = probabilities_V.sort(descending=True, stable=True)
    kept = int(torch.searchsorted(ordered.values.cumsum(dim=-1), top_p)) + 1
    return int(ordered.indices[_drawn(ordered.values[:kept], generator)])


def _drawn(weights_V: Tensor, generator: torch.Generator) -> int:
    """A place, drawn by its weight."""
    cumulative_V = weights_V.cumsum(dim=-1)
    point = torch.rand((), generator=generator, dtype=torch.float64) * cumulative_V[-1]
    place = int(torch.searchsorted(cumulative_V, point, right=True))
    return min(place, weights_V.shape[0] - 1)
