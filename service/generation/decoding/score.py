"""How likely a version finds a target after a prompt: one forward pass over both."""

# Dims: T tokens of prompt and target, K tokens of the target, V vocabulary.
# ruff: noqa: N806 -- shape letters

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

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


def score(model: nn.Module, prompt_ids: Sequence[int], target_ids: Sequence[int]) -> Score:
    """Score one target; both must not be empty and fit the context together. Raises GenerationFailed on a NaN."""
    device = next(model.parameters()).device
    with torch.inference_mode():
        ids_1T = torch.tensor([[*prompt_ids, *target_ids[:-1]]], device=device)
        logits_KV = model(input_ids=ids_1T, use_cache=False, logits_to_keep=len(target_ids)).logits[0]
        logprobs_KV = torch.log_softmax(logits_KV.to(torch.promote_types(logits_KV.dtype, torch.float32)), dim=-1)
        wanted_K = torch.tensor(list(target_ids), device=device)
        logprobs_K = logprobs_KV.gather(1, wanted_K[:, None])[:, 0]
        if not torch.isfinite(logprobs_K).all():
            raise GenerationFailed("the model's logits are no numbers: this version cannot score the target")
        top = logprobs_KV[0].topk(min(NUM_TOP, logprobs_KV.shape[1]))
        return Score(
            logprob=math.fsum(logprobs_K.tolist()),
            rank=int((logprobs_KV[0] > logprobs_K[0]).sum()) + 1,
            greedy_match=bool((logprobs_KV.argmax(dim=-1) == wanted_K).all()),
            top=tuple(zip(top.indices.tolist(), top.values.exp().tolist(), strict=True)),
        )
