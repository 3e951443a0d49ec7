"""Runs a stretch of a model's blocks on hidden states, in the same way for every family and without library hooks.

A stretch is a shallow copy of the base model with some of its blocks. It shares every tensor. It is called with
``inputs_embeds``, so the library itself makes rotary embeddings, masks and caches. Knows no edits.
"""

# Dims: R rows, T tokens, H hidden size.

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from editing_core.models.families.family import Family
from editing_core.models.shallow_copies import shallow_copy


def stretch(model: nn.Module, family: Family, first: int, *, last: int, with_norm: bool = False) -> nn.Module:
    """Return the base model reduced to blocks ``first`` … ``last`` (inclusive), with the final norm on request."""
    base = shallow_copy(family.base_model(model))
    blocks = list(base.get_submodule(family.blocks).children())[first : last + 1]
    base._modules[family.blocks] = nn.ModuleList(blocks)
    if not with_norm:
        base._modules[family.final_norm] = nn.Identity()
    if family.positions is not None and first > 0:
        base._modules[family.positions] = _NoPositions()
    return base


class _NoPositions(nn.Module):
    """Replaces a table of positions above block 0, because the inputs there already contain the positions."""

    def forward(self, position_ids: Tensor) -> Tensor:
        """Return a zero for each position, [..., 1]."""
        return torch.zeros((*position_ids.shape, 1), dtype=torch.int8, device=position_ids.device)


def embed(model: nn.Module, family: Family, ids_RT: Tensor) -> Tensor:
    """Return the inputs of block 0, [R, T, H]."""
    embeddings = family.base_model(model).get_input_embeddings()  # type: ignore[operator]
    return embeddings(ids_RT)


def run_stretch(
    part: nn.Module, hidden_RTH: Tensor, mask: Tensor, *, positions_RT: Tensor, cache: Any = None
) -> Tensor:
    """Return hidden states [R, T, H] after the stretch. ``mask``: additive, [R, 1, T, keys], in the model's dtype."""
    output = part(
        inputs_embeds=hidden_RTH,
        attention_mask=mask,
        position_ids=positions_RT,
        past_key_values=cache,
        use_cache=cache is not None,
    )
    return output.last_hidden_state


def causal_mask(lengths_R: Tensor, num_tokens: int, dtype: torch.dtype) -> Tensor:
    """Return the additive mask [R, 1, T, T] of rows padded on the right. No token sees a later one or padding."""
    place = torch.arange(num_tokens, device=lengths_R.device)
    seen = (place[None, :] <= place[:, None])[None] & (place[None, None, :] < lengths_R[:, None, None])
    return additive_mask(seen[:, None], dtype)


def additive_mask(seen: Tensor, dtype: torch.dtype) -> Tensor:
    """Return 0 at ``seen``, else the most negative finite number, so a fully hidden row does not become NaN."""
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill(~seen, torch.finfo(dtype).min)


@contextmanager
def captured_inputs(modules: dict[int, nn.Module]) -> Iterator[dict[int, Tensor]]:
    """Store the last input of each module in the yielded dict, under its key, while the block runs."""
    seen: dict[int, Tensor] = {}

    def keep(key: int) -> Any:
        def hook(_module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            seen[key] = arguments[0]

        return hook

    handles = [module.register_forward_pre_hook(keep(key)) for key, module in modules.items()]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
