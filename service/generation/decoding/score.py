"""How likely a version finds a target after a prompt, put together from the logits before each of its tokens."""

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
    """What the model thinks of a target."""

    logprob: float
    """ln of the probability of all the target's tokens, one after the other."""
    rank: int
    """Of the target's first token among all tokens; 1 is the likeliest."""
    greedy_match: bool
    """Greedy decoding gives the target."""
    top: tuple[tuple[int, float], ...]
    """The likeliest first tokens with their probabilities."""

    @property
    def probability(self) -> float:
        """Of all the target's tokens, one after the other."""
        return math.exp(self.logprob)


@dataclass(slots=True)
class ScoreAccumulator:
    """The target's tokens that have been looked at."""

    logprobs: list[float] = field(default_factory=list)
    rank: int = 0
    greedy_match: bool = True
    top: tuple[tuple[int, float], ...] = ()

    def add(self, logits_KV: Tensor, wanted: Sequence[int]) -> None:
        """Look at the next tokens of the target, ``wanted``, each after its logits. Raises GenerationFailed on NaN."""
        logprobs_KV = model_logprobs(logits_KV)
        wanted_K = torch.tensor(list(wanted), device=logits_KV.device)
        logprobs_K = logprobs_KV.gather(1, wanted_K[:, None])[:, 0]
        if not torch.isfinite(logprobs_K).all():
            raise GenerationFailed("the model's logits are no numbers: this version cannot score the target")
        if not self.logprobs:
            top = logprobs_KV[0].topk(min(NUM_TOP, logprobs_KV.shape[1]))
            self.top = tuple(zip(top.indices.tolist(), top.values.exp().tolist(), strict=True))
            self.rank = int((logprobs_KV[0] > logprobs_K[0]).sum()) + 1
        self.logprobs += logprobs_K.tolist()
        self.greedy_match = self.greedy_match and bool((logprobs_KV.argmax(dim=-1) == wanted_K).all())

    def result(self) -> Score:
        """The score, once all tokens were looked at."""
        return Score(logprob=math.fsum(self.logprobs), rank=self.rank, greedy_match=self.greedy_match, top=self.top)


def model_logprobs(logits_KV: Tensor) -> Tensor:
    """Logarithms of the model's own probabilities, [K, V], in float32 at least."""
    return torch.log_softmax(logits_KV.to(torch.promote_types(logits_KV.dtype, torch.float32)), dim=-1)
