"""Perplexity of a model on the tokens of a text."""

# Dims: W windows of one batch, T tokens of a window, V vocabulary.

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from editing_core.asking.scoring import OnRows, final_hidden, head_of, pad_right


@dataclass(frozen=True, slots=True, kw_only=True)
class Perplexities:
    """Perplexities on the held-out text."""

    original: float
    parent: float
    candidate: float

    @property
    def rise(self) -> float:
        """Relative increase over the original model."""
        return self.candidate / self.original - 1

    @property
    def rise_over_parent(self) -> float:
        """Relative increase over the parent version."""
        return self.candidate / self.parent - 1


def perplexity(
    model: nn.Module,
    token_ids: Sequence[int],
    *,
    window: int = 128,
    batch_size: int = 16,
    on_rows: OnRows = lambda num_rows: None,
) -> float:
    """Return exp of the mean negative log-likelihood, in nats per token.

    The text is cut into windows that do not overlap. Each window predicts all its tokens except the first, so figures
    are comparable if texts and windows are equal. If the model has a NaN or an infinity, the result shows it.
    """
    windows = [list(token_ids[i : i + window]) for i in range(0, len(token_ids) - 1, window)]
    if not windows:
        raise ValueError(f"perplexity needs at least 2 tokens, not {len(token_ids)}")
    total = 0.0
    for start in range(0, len(windows), batch_size):
        batch = windows[start : start + batch_size]
        total += _negative_log_likelihood(model, batch)
        on_rows(len(batch))
    mean = total / sum(len(ids) - 1 for ids in windows)
    try:
        return math.exp(mean)
    except OverflowError:
        return math.inf


@torch.no_grad()
def _negative_log_likelihood(model: nn.Module, windows: Sequence[Sequence[int]]) -> float:
    ids_WT, mask_WT = pad_right(windows, device=next(model.parameters()).device)
    hidden_WTH = final_hidden(model, ids_WT, mask_WT)
    is_predicted = mask_WT[:, 1:].bool()
    logits_PV = head_of(model)(hidden_WTH[:, :-1][is_predicted])
    wanted_P = ids_WT[:, 1:][is_predicted]
    losses_P = nn.functional.cross_entropy(logits_PV.float(), wanted_P, reduction="none")
    return float(losses_P.double().sum())


def num_windows(token_ids: Sequence[int], window: int = 128) -> int:
    """Return the number of rows that ``perplexity`` will report."""
    return len(range(0, len(token_ids) - 1, window))
