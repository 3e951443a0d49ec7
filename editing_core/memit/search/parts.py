"""The parts of a model as a search runs them: the library's function, computed only at the places that are read.

A part is a stretch of copies of the model's blocks. The MLP of the last one runs only at the places that are read. An
activation that the library writes as a chain of operations is replaced by torch's own. Knows no batches and no losses.
"""

# Dims: B bins, T tokens, H hidden size, Q places that are read.

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from editing_core.models.activations import fuse_gelu
from editing_core.models.blocks import run_stretch, stretch
from editing_core.models.load import LoadedModel
from editing_core.models.shallow_copies import shallow_copy_tree

TO_THE_TOP = 10**6
"""A layer number beyond any model's last block."""


class _OnlyWhereRead(nn.Module):
    """An MLP that computes some flat places [Q] of its input, and returns 0 elsewhere."""

    def __init__(self, mlp: nn.Module) -> None:
        super().__init__()
        self.mlp = mlp
        self.places_Q: Tensor | None = None
        """Places to compute; None: all."""

    def forward(self, hidden: Tensor) -> Tensor:
        """Map [B, T, H] to [B, T, H]."""
        if self.places_Q is None:
            return self.mlp(hidden)
        flat = hidden.flatten(0, 1)
        places = self.places_Q.to(flat.device)
        computed = self.mlp(flat[None, places])[0]
        return torch.zeros_like(flat).index_copy(0, places, computed).view_as(hidden)


class Part:
    """Some consecutive blocks of a model, with the final norm on request."""

    def __init__(self, loaded: LoadedModel, first: int, *, last: int, with_norm: bool = False) -> None:
        self._stretch = stretch(loaded.model, loaded.family, first, last=last, with_norm=with_norm)
        self._last_mlp = _exchange(self._stretch, loaded)

    def run(
        self,
        hidden_BTH: Tensor,
        mask: Tensor,
        *,
        positions_BT: Tensor,
        cache: Any = None,
        read_Q: Tensor | None = None,
    ) -> Tensor:
        """Return hidden states [B, T, H] after the blocks. If ``read_Q`` is given, only those flat places are valid."""
        self._last_mlp.places_Q = read_Q
        return run_stretch(self._stretch, hidden_BTH, mask, positions_RT=positions_BT, cache=cache)


def _exchange(part: nn.Module, loaded: LoadedModel) -> _OnlyWhereRead:
    """Replace the blocks by copies with faster parts, and return the last block's MLP."""
    blocks = part.get_submodule(loaded.family.blocks)
    copies = [shallow_copy_tree(block) for block in blocks.children()]
    for copy in copies:
        fuse_gelu(copy)
    path, _, _ = loaded.family.projection.rpartition(".")
    parent, _, name = path.rpartition(".")
    last_mlp = _OnlyWhereRead(copies[-1].get_submodule(path))
    copies[-1].get_submodule(parent)._modules[name] = last_mlp
    part._modules[loaded.family.blocks] = nn.ModuleList(copies)
    return last_mlp
