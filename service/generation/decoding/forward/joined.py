"""Joins the query, key and value weights of GPT-J's attention in memory, so one product computes all three.

With few rows, a product takes as long as reading its matrix, and three small matrices do not saturate a GPU's memory
bandwidth. This makes no second copy: the parameters become views of the joined matrix.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers.models.gptj.modeling_gptj import GPTJAttention


def join_projections(model: nn.Module) -> None:
    """Join the three weights of each attention. While a layer is joined, its weights are in memory twice.

    The parameters stay the same objects. Only plain linear layers without a bias are joined.
    """
    for module in model.modules():
        parts = projections_of(module)
        if not parts or joined_weight(parts) is not None:
            continue
        joined = torch.cat([part.weight.detach() for part in parts])
        for part, rows in zip(parts, joined.split([len(part.weight) for part in parts]), strict=True):
            part.weight.data = rows


def projections_of(module: nn.Module) -> Sequence[nn.Linear]:
    """Return the three projections of a GPT-J attention if one product can compute them, else an empty sequence."""
    if not isinstance(module, GPTJAttention):
        return ()
    parts = (module.q_proj, module.k_proj, module.v_proj)
    if not all(map(_is_plain, parts)) or len({(part.weight.dtype, part.weight.device) for part in parts}) > 1:
        return ()
    return parts


def joined_weight(parts: Sequence[nn.Linear]) -> Tensor | None:
    """Return the weights stacked as one tensor, without a copy; None unless they are adjacent in memory."""
    first = parts[0].weight.detach()
    place = first.storage_offset()
    for part in parts:
        weight = part.weight
        is_next = weight.untyped_storage().data_ptr() == first.untyped_storage().data_ptr()
        if not (is_next and weight.is_contiguous() and weight.storage_offset() == place):
            return None
        place += weight.numel()
    num_rows, width = sum(len(part.weight) for part in parts), first.shape[1]
    return first.as_strided((num_rows, width), (width, 1))


def _is_plain(part: nn.Module) -> bool:
    bias: Tensor | None = getattr(part, "bias", None)
    return type(part) is nn.Linear and bias is None and "forward" not in part.__dict__
