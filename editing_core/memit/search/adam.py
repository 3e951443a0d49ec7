"""Adam over rows that start and end at different times. Knows no losses."""

# Dims: G groups (one δ each), H hidden size.

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

BETAS = (0.9, 0.999)
EPSILON = 1e-8


class Adam:
    """The arithmetic of torch.optim.Adam with default betas. Every row counts its own steps."""

    def __init__(self, delta_GH: Tensor, learning_rate: float) -> None:
        self._learning_rate = learning_rate
        self._first = torch.zeros_like(delta_GH)
        self._second = torch.zeros_like(delta_GH)
        self._num_steps = torch.zeros(len(delta_GH), dtype=torch.float64, device=delta_GH.device)

    def step(self, delta_GH: Tensor, gradient_GH: Tensor) -> Tensor:
        """Return δ after one more step of each row."""
        self._num_steps += 1
        self._first.lerp_(gradient_GH, 1 - BETAS[0])
        self._second.mul_(BETAS[1]).addcmul_(gradient_GH, gradient_GH, value=1 - BETAS[1])
        rate = (self._learning_rate / (1 - BETAS[0] ** self._num_steps))[:, None].to(delta_GH.dtype)
        spread = self._second.sqrt() / ((1 - BETAS[1] ** self._num_steps) ** 0.5)[:, None].to(delta_GH.dtype)
        return delta_GH - rate * self._first / spread.add_(EPSILON)

    def select(self, keep_G: Tensor) -> None:
        """Keep only the rows for which ``keep_G`` is true."""
        self._first, self._second = self._first[keep_G], self._second[keep_G]
        self._num_steps = self._num_steps[keep_G]

    def extend(self, num_rows: int) -> None:
        """Append ``num_rows`` new rows after the existing ones."""
        self._first, self._second = (pad(held, (0, 0, 0, num_rows)) for held in (self._first, self._second))
        self._num_steps = pad(self._num_steps, (0, num_rows))
