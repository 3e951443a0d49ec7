"""Selects the next token of every row: the likeliest, or one drawn with the request's own generator.

Sampling uses the Gumbel-max trick: each token gets an exponential time whose rate is the token's probability, and the
token with the smallest time is drawn. The other requests of a batch change a request's logits in their last bits. That
changes the drawn token only if the two smallest times are nearly equal: about once in 100,000 tokens in float32.
Inverting the cumulative distribution instead would move as many boundaries as the vocabulary has tokens.
"""

# ruff: noqa: N803, N806 -- shape letters

# Dims: N rows, S rows that are sampled, V vocabulary.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_NO_TOKEN = -1


@dataclass(frozen=True, slots=True)
class Draw:
    """The sampling parameters of one row."""

    row: int
    temperature: float
    top_p: float
    generator: torch.Generator
    """Generator of the request, on the CPU."""


def next_tokens(logits_NV: Tensor, draws: Sequence[Draw] = ()) -> tuple[list[int], list[bool]]:
    """Return the next token of each row, and whether the row's largest logit is finite."""
    best_N = logits_NV.max(dim=-1)
    tokens: list[int] = torch.where(best_N.values.isfinite(), best_N.indices, _NO_TOKEN).tolist()
    finite = [token != _NO_TOKEN for token in tokens]
    usable = [draw for draw in draws if finite[draw.row]]
    if usable:
        drawn = sampled_tokens(logits_NV[[draw.row for draw in usable]], usable)
        for draw, token in zip(usable, drawn, strict=True):
            tokens[draw.row] = token
    return tokens, finite


def sampled_tokens(logits_SV: Tensor, draws: Sequence[Draw]) -> list[int]:
    """Draw a token per row from softmax(logits / temperature), limited to the fewest tokens that reach ``top_p``."""
    device, size = logits_SV.device, logits_SV.shape[1]
    times_SV = torch.stack([torch.empty(size).exponential_(generator=draw.generator) for draw in draws]).to(device)
    temperatures_S1 = torch.tensor([[draw.temperature] for draw in draws], dtype=torch.float64, device=device)
    logits_SV = logits_SV.to(torch.float64)
    # Subtract the maximum before dividing, so even the smallest temperature does not overflow.
    scores_SV = (logits_SV - logits_SV.amax(dim=-1, keepdim=True)) / temperatures_S1
    if any(draw.top_p < 1 for draw in draws):
        top_p_S1 = torch.tensor([[draw.top_p] for draw in draws], dtype=torch.float64, device=device)
        scores_SV = scores_SV.masked_fill(_cut(torch.softmax(scores_SV, dim=-1), top_p_S1), -torch.inf)
    tokens: list[int] = (scores_SV - times_SV.log()).argmax(dim=-1).tolist()
    return tokens


def _cut(probabilities_SV: Tensor, top_p_S1: Tensor) -> Tensor:
    """Mark the tokens outside of the fewest that reach ``top_p``. Equally likely tokens are treated alike."""
    ordered_SV = probabilities_SV.sort(dim=-1, descending=True).values
    before_SV = ordered_SV.cumsum(dim=-1) - ordered_SV
    num_kept_S1 = ((before_SV < top_p_S1) | (top_p_S1 >= 1)).sum(dim=-1, keepdim=True).clamp_(min=1)
    return probabilities_SV < ordered_SV.gather(1, num_kept_S1 - 1)
