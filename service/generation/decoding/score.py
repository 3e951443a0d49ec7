"""Scores a target after a prompt from the logits before each of the target's tokens."""

# Dims: K tokens of the target, V vocabulary.
# ruff: noqa: N803, N806 -- shape letters

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from service.generation.errors import GenerationFailed

NUM_TOP = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """The probability of a target after a prompt."""

    logprob: float
    """Natural logarithm of the joint probability of the target's tokens."""
    rank: int
    """The rank of the target's first token among all tokens; 1 is the likeliest."""
    greedy_match: bool
    """Whether greedy decoding produces the target."""
    top: tuple[tuple[int, float], ...]
    """The likeliest first tokens with their probabilities."""

    @property
    def probability(self) -> float:
        """The joint probability of the target's tokens."""
        return math.exp(self.logprob)


@dataclass(slots=True)
class ScoreAccumulator:
    """Adds up a score as the logits for the target's tokens arrive, chunk by chunk."""

    logprobs: list[float] = field(default_factory=list)
    rank: int = 0
    greedy_match: bool = True
    top: tuple[tuple[int, float], ...] = ()

    def add(self, logits_KV: Tensor, wanted: Sequence[int]) -> None:
        """Add the next target tokens, ``wanted``, with the logits before each. Raises GenerationFailed on NaN."""
        logprobs_KV = model_logprobs(logits_KV)
        wanted_K = torch.tensor(list(wanted), device=logits_KV.device)
        logprobs_K = logprobs_KV.gather(1, wanted_K[:, None])[:, 0]
        if not torch.isfinite(logprobs_K).all():
            raise GenerationFailed("the model's logits are not finite: this version cannot score the target")
        if not self.logprobs:
            top = logprobs_KV[0].topk(min(NUM_TOP, logprobs_KV.shape[1]))
            self.top = tuple(zip(top.indices.tolist(), top.values.exp().tolist(), strict=True))
            self.rank = int((logprobs_KV[0] > logprobs_K[0]).sum()) + 1
        self.logprobs += logprobs_K.tolist()
        self.greedy_match = self.greedy_match and bool((logprobs_KV.argmax(dim=-1) == wanted_K).all())

    def result(self) -> Score:
        """Return the score of the complete target."""
        return Score(logprob=math.fsum(self.logprobs), rank=self.rank, greedy_match=self.greedy_match, top=self.top)


def model_logprobs(logits_KV: Tensor) -> Tensor:
    """Return the model's log-probabilities [K, V] in float32 or a wider dtype."""
    return torch.log_softmax(logits_KV.to(torch.promote_types(logits_KV.dtype, torch.float32)), dim=-1)
