"""Second moments of the keys, E[k kᵀ], of all edited layers in one pass over windows of tokens.

Blocks above the last edited layer do not run. Memory holds one matrix per layer and one batch. The state can be saved
and resumed. Knows no corpus and no edits.
"""

# Dims: B windows, T tokens, M width of the projection's input.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from editing_core.models.blocks import captured_inputs, embed, run_stretch, stretch
from editing_core.models.blocks import causal_mask as make_mask
from editing_core.models.load import LoadedModel
from editing_core.models.memory import free_bytes

LARGEST_SHARE = 0.1
"""Largest share of a device's free memory that the sum of one layer may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Covariances:
    """Final E[k kᵀ] of the edited layers."""

    means: Mapping[int, Tensor]
    """C of each layer [M, M], float32."""
    num_tokens: int
    """Minimum number of tokens in each of them."""
    change_since_half: float | None = None
    """Relative change of the diagonal by the second half of the tokens, in the layer with the largest change."""


@dataclass(slots=True)
class SecondMoments:
    """Sums of k kᵀ so far, float64, and the number of tokens in them."""

    sums: dict[int, Tensor]
    num_tokens: int
    half_way: dict[int, Tensor] = field(default_factory=dict)
    """The mean square of each key component [M] at the call of ``mark_half_way``."""

    @classmethod
    def empty(cls, loaded: LoadedModel, layers: Sequence[int]) -> SecondMoments:
        """Return sums over no tokens."""
        widths = {layer: key_width(loaded, layer) for layer in layers}
        return cls({layer: torch.zeros(m, m, dtype=torch.float64) for layer, m in widths.items()}, 0).placed(loaded)

    def placed(self, loaded: LoadedModel) -> SecondMoments:
        """Return the same sums, each on its layer's device if that has room, else on the CPU.

        Copying one sum of a large model to the CPU takes longer than running the blocks on its batch.
        """
        devices = {layer: loaded.family.projection_weight(loaded.model, layer).device for layer in self.sums}
        sums = {}
        for layer, total in self.sums.items():
            free = free_bytes(devices[layer])
            has_room = free is not None and total.nbytes <= LARGEST_SHARE * free
            sums[layer] = total.to(devices[layer] if has_room else "cpu")
        return SecondMoments(sums, self.num_tokens, self.half_way)

    @torch.no_grad()
    def add(self, loaded: LoadedModel, windows_BT: Sequence[Sequence[int]]) -> None:
        """Add the keys of full windows (equal length, no padding)."""
        layers = sorted(self.sums)
        ids = torch.tensor(windows_BT, device=loaded.device)
        num_windows, num_tokens = ids.shape
        mask = make_mask(torch.full((num_windows,), num_tokens, device=loaded.device), num_tokens, loaded.dtype)
        positions = torch.arange(num_tokens, device=loaded.device)[None].expand(num_windows, -1)
        lower = stretch(loaded.model, loaded.family, 0, last=layers[-1])
        projections = {layer: loaded.family.projection_module(loaded.model, layer) for layer in layers}
        with captured_inputs(projections) as seen:
            run_stretch(lower, embed(loaded.model, loaded.family, ids), mask, positions_RT=positions)
        for layer, keys in seen.items():
            flat = keys.flatten(0, 1).float()
            total = self.sums[layer]
            total += (flat.T @ flat).to(total.device)
        self.num_tokens += ids.numel()

    def mark_half_way(self) -> None:
        """Record the diagonals at half way, for ``changes_since_half_way``."""
        self.half_way = {layer: total.diagonal().cpu() / self.num_tokens for layer, total in self.sums.items()}

    def changes_since_half_way(self) -> dict[int, float]:
        """Return the relative change of each layer's diagonal since half way; empty if nothing was recorded."""
        now = {layer: total.diagonal().cpu() / self.num_tokens for layer, total in self.sums.items()}
        return {layer: float((now[layer] - then).norm() / now[layer].norm()) for layer, then in self.half_way.items()}

    def covariances(self) -> Covariances:
        """Return the covariances of the tokens so far."""
        return Covariances(
            means={layer: (total / max(self.num_tokens, 1)).float().cpu() for layer, total in self.sums.items()},
            num_tokens=self.num_tokens,
            change_since_half=max(self.changes_since_half_way().values(), default=None),
        )


def key_width(loaded: LoadedModel, layer: int) -> int:
    """Return M, the input width of a layer's MLP output projection (d_ff)."""
    rows, columns = loaded.family.projection_weight(loaded.model, layer).shape
    return int(rows if loaded.family.projection_is_transposed else columns)
