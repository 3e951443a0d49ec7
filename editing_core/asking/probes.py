"""The probe set: ordinary prompts with the original model's answers. They measure the drift of a candidate.

The prompts come from held-out text. The set stores the original model's first choice and its whole distribution for
the token after each prompt.
"""

# Dims: P prompts, V vocabulary.

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor, nn

from editing_core.asking.scoring import OnRows, batches_by_length, final_hidden, head_of, pad_right
from editing_core.errors import InvalidSettings

_LEAST_TOKENS = 4


@dataclass(frozen=True, slots=True)
class ProbeSet:
    """Prompts and the original model's answers."""

    prompts: tuple[tuple[int, ...], ...]
    """Token ids, P prompts."""
    answers: tuple[int, ...]
    """The original model's first choice after each prompt."""
    log_probs: Tensor
    """ln p of the next token, [P, V], float32, on the CPU."""


@dataclass(frozen=True, slots=True)
class Drift:
    """The distance between two sets of next-token distributions."""

    mean_kl: float
    """Mean over the prompts of KL(before ‖ after), in nats."""
    answers_kept: float
    """Share of prompts with the same first choice."""


def build_probes(
    model: nn.Module, windows: Iterable[Sequence[int]], *, num_prompts: int = 200, max_tokens: int = 32
) -> ProbeSet:
    """Make prompts of 4 to ``max_tokens`` tokens from the first windows, and ask the model for its answers.

    The lengths cycle through that range, so prompts end at every place in a sentence.
    Raises InvalidSettings if no window has 4 tokens.
    """
    usable = (window for window in windows if len(window) >= _LEAST_TOKENS)
    prompts = tuple(
        tuple(window[: _LEAST_TOKENS + (7 * i) % max(1, max_tokens - _LEAST_TOKENS + 1)])
        for i, window in enumerate(islice(usable, num_prompts))
    )
    if not prompts:
        raise InvalidSettings("the held-out text is too short for a probe set: give a larger corpus")
    log_probs = next_log_probs(model, prompts)
    return ProbeSet(prompts, tuple(log_probs.argmax(1).tolist()), log_probs)


@torch.no_grad()
def next_log_probs(
    model: nn.Module,
    prompts: Sequence[Sequence[int]],
    *,
    batch_size: int = 32,
    on_rows: OnRows = lambda num_rows: None,
) -> Tensor:
    """Return the log-probabilities of the token after each prompt, [P, V], float32, on the CPU."""
    device = next(model.parameters()).device
    found: list[Tensor | None] = [None] * len(prompts)
    for batch in batches_by_length([len(prompt) for prompt in prompts], batch_size):
        ids_RT, mask_RT = pad_right([prompts[i] for i in batch], device=device)
        last_R = mask_RT.sum(1) - 1
        hidden_RTH = final_hidden(model, ids_RT, mask_RT)
        logits_RV = head_of(model)(hidden_RTH[torch.arange(len(batch), device=device), last_R])
        for place, log_probs_V in zip(batch, logits_RV.float().log_softmax(1).cpu(), strict=True):
            found[place] = log_probs_V
        on_rows(len(batch))
    return torch.stack([log_probs for log_probs in found if log_probs is not None])


def drift(before_PV: Tensor, after_PV: Tensor) -> Drift:
    """Compare two sets of distributions over the same prompts. Equal sets give exactly 0, and a NaN gives NaN."""
    difference_PV = before_PV.double() - after_PV.double()
    # 0 · ∞ counts as 0: a token without probability before the edit cannot lose any.
    terms_PV = torch.where(before_PV == -torch.inf, 0.0, before_PV.double().exp() * difference_PV)
    kept = (before_PV.argmax(1) == after_PV.argmax(1)).double().mean()
    return Drift(mean_kl=float(terms_PV.sum(1).mean()), answers_kept=float(kept))
