"""A view: a shallow copy of a model's module tree that shares every tensor except the edited weights.

Building a view copies no other weight and writes nothing in place. So a failed job leaves nothing to restore, and a
version goes live by one assignment. Knows no files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from editing_core.errors import StoreMismatch
from editing_core.models.shallow_copies import ModuleT, UnsupportedHook, shallow_copy_tree


class CastingLinear(nn.Linear):
    """A linear layer that computes in its weight's dtype and returns its input's dtype.

    An edited matrix stays float32 in a bfloat16 model, because rounding would lose most of a small update.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Map an input of any floating dtype, [..., in_features], to [..., out_features] in the same dtype."""
        weight = self.weight
        bias = None if self.bias is None else self.bias.to(weight.dtype)
        return nn.functional.linear(input.to(weight.dtype), weight, bias).to(input.dtype)


class CastingConv1D(Conv1D):
    """The same for GPT-2's linear layer, which stores its weight transposed."""

    def forward(self, x: Tensor) -> Tensor:
        """Map an input of any floating dtype, [..., in_features], to [..., out_features] in the same dtype."""
        weight = self.weight
        return (x.to(weight.dtype) @ weight + self.bias.to(weight.dtype)).to(x.dtype)


CASTING: dict[type[nn.Module], type[nn.Module]] = {nn.Linear: CastingLinear, Conv1D: CastingConv1D}
"""Layers whose weight may have a different dtype from the model, and the classes that replace them in a view."""


def make_view(model: ModuleT, weights: Mapping[str, Tensor]) -> ModuleT:
    """Return a model that shares all of ``model``'s tensors except those named in ``weights``, which it uses as given.

    Names are full parameter names (``transformer.h.3.mlp.fc_out.weight``). A weight keeps its dtype and moves to the
    device of the weight that it replaces. The view has its own hook dictionaries, so a hook on one is not on the other.

    Raises StoreMismatch if the model does not have a name or a shape. Raises UnsupportedHook if an attribute cannot be
    bound to the view, or if a weight is offloaded.
    """
    _require_match(model, weights)
    view = shallow_copy_tree(model)
    for name, tensor in weights.items():
        _replace(view, name, tensor)
    return view


def _require_match(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    for name, tensor in weights.items():
        path, _, leaf = name.rpartition(".")
        try:
            module = model.get_submodule(path)
        except AttributeError:
            module = None
        known = module._parameters.get(leaf) if module is not None else None
        if module is None or known is None:
            raise StoreMismatch(f"the model has no parameter {name!r}: these weights belong to another model")
        if known.shape != tensor.shape:
            raise StoreMismatch(
                f"{name} has the shape {list(known.shape)} in the model and {list(tensor.shape)} in the weights: "
                "these weights belong to another model"
            )
        if known.is_meta or _offloads(getattr(module, "_hf_hook", None)):
            raise UnsupportedHook(
                f"{name} is offloaded: a hook loads the original's weight before each call. "
                "Load the model without offloading its edited layers"
            )


def _offloads(hook: Any) -> bool:
    return bool(getattr(hook, "offload", False)) or any(_offloads(part) for part in getattr(hook, "hooks", ()))


def _replace(view: nn.Module, name: str, tensor: Tensor) -> None:
    path, _, leaf = name.rpartition(".")
    module = view.get_submodule(path)
    known = module._parameters[leaf]
    assert known is not None
    module._parameters[leaf] = nn.Parameter(tensor.detach().to(known.device), requires_grad=False)
    if tensor.dtype == known.dtype:
        return
    casting = CASTING.get(type(module))
    if casting is None or leaf != "weight":
        raise StoreMismatch(
            f"{name} is {tensor.dtype} in the weights and {known.dtype} in the model, and only a linear layer's "
            f"weight may differ, not a {type(module).__name__}'s"
        )
    module.__class__ = casting
    assert torch.is_floating_point(tensor)
