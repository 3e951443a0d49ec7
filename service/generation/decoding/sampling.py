"""Chooses the next token of every row: the likeliest, or one drawn by the request's own generator.

A sampled token takes exactly one uniform number of the request's generator and is found by its cumulative probability
in the order of the vocabulary, in float64: what company a request has changes logits in their last bits, and so moves
the borders between tokens by about a millionth of the whole. Sorting by probability would let two tokens of nearly
equal probability change places.
"""

# ruff: noqa: N803, N806 -- shape letters

# Dims: N rows, S rows that are sampled, V vocabulary.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Draw:
    """How one row is sampled."""

    row: int
    temperature: float
    top_p: float
    generator: torch.Generator
    """On the CPU."""


def next_tokens(logits_NV: Tensor, draws: Sequence[Draw] = ()) -> tuple[list[int], list[bool]]:
    """The next token of each row, and whether the row's logits were numbers at all."""
    best_N = logits_NV.max(dim=-1)
    finite = torch.isfinite(best_N.values).tolist()
    tokens: list[int] = best_N.indices.tolist()
    usable = [draw for draw in draws if finite[draw.row]]
    if usable:
        drawn = sampled_tokens(logits_NV[[draw.row for draw in usable]], usable)
        for draw, token in zip(usable, drawn, strict=True):
            tokens[draw.row] = token
    return tokens, finite


def sampled_tokens(logits_SV: Tensor, draws: Sequence[Draw]) -> list[int]:
    """A token for each row, from softmax(logits / temperature), cut to the fewest tokens that hold ``top_p`` of it."""
    device = logits_SV.device
    points = [float(torch.rand((), generator=draw.generator, dtype=torch.float64)) for draw in draws]
    temperatures_S1 = torch.tensor([[draw.temperature] for draw in draws], dtype=torch.float64, device=device)
    logits_SV = logits_SV.to(torch.float64)
    # The largest is taken off before dividing, so that no temperature, however small, overflows.
    weights_SV = torch.softmax((logits_SV - logits_SV.amax(dim=-1, keepdim=True)) / temperatures_S1, dim=-1)
    if any(draw.top_p < 1 for draw in draws):
        weights_SV = _cut(weights_SV, torch.tensor([[min(draw.top_p, 1.0)] for draw in draws], device=device))
    cumulative_SV = weights_SV.cumsum(dim=-1)
    points_S1 = torch.tensor([[point] for point in points], dtype=torch.float64, device=device)
    places_S1 = torch.searchsorted(cumulative_SV, points_S1 * cumulative_SV[:, -1:], right=True)
    last_S1 = (weights_SV > 0).to(torch.int8).flip(-1).argmax(dim=-1, keepdim=True)
    places_S1 = torch.minimum(places_S1, weights_SV.shape[1] - 1 - last_S1)
    tokens: list[int] = places_S1[:, 0].tolist()
    return tokens


def _cut(weights_SV: Tensor, top_p_S1: Tensor) -> Tensor:
    """Zero what is less likely than the fewest tokens that hold ``top_p``; equal ones stay together."""
    ordered_SV = weights_SV.sort(dim=-1, descending=True).values
    before_SV = ordered_SV.cumsum(dim=-1) - ordered_SV
    num_kept_S1 = (before_SV < top_p_S1.to(torch.float64)).sum(dim=-1, keepdim=True).clamp_(min=1)
    least_S1 = ordered_SV.gather(1, num_kept_S1 - 1)
    return weights_SV.masked_fill(weights_SV < least_S1, 0.0)
