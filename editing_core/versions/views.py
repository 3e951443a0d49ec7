"""A view: a shallow copy of a model's module tree that shares every tensor but the edited weights.

Building one copies no other weight and writes nothing in place, so nothing has to be restored when a job dies; making
a version live is one assignment. Knows nothing of files.

The trap that this module guards: whatever hangs on a module and is *bound* to it (accelerate's ``device_map`` replaces
``forward`` by a partial over the module) would, copied as it is, silently compute with the original's weights. Bound
methods and partials are bound anew to the view's copies; what cannot be bound anew is refused.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from types import CellType, FunctionType, MethodType
from typing import Any, ClassVar, TypeVar, cast

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from editing_core.errors import ErrataError, StoreMismatch

ModuleT = TypeVar("ModuleT", bound=nn.Module)
Twins = dict[int, nn.Module]
"""From the id of an original module to its copy in the view."""


class UnsupportedHook(ErrataError):
    """Something is bound to the original's modules and cannot be bound to a view's."""

    slug: ClassVar[str] = "unsupported-hook"
    title: ClassVar[str] = "The model carries a hook that a view cannot share"


class CastingLinear(nn.Linear):
    """A linear layer that computes in its weight's dtype and answers in its input's.

    So an edited matrix stays float32 in a bfloat16 model: rounding a small rank-one update loses most of it.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Input of any floating dtype, [..., in_features] → [..., out_features] in the same dtype."""
        weight = self.weight
        bias = None if self.bias is None else self.bias.to(weight.dtype)
        return nn.functional.linear(input.to(weight.dtype), weight, bias).to(input.dtype)


class CastingConv1D(Conv1D):
    """The same for GPT-2's linear layer, whose weight is stored transposed."""

    def forward(self, x: Tensor) -> Tensor:
        """Input of any floating dtype, [..., in_features] → [..., out_features] in the same dtype."""
        weight = self.weight
        return (x.to(weight.dtype) @ weight + self.bias.to(weight.dtype)).to(x.dtype)


CASTING: dict[type[nn.Module], type[nn.Module]] = {nn.Linear: CastingLinear, Conv1D: CastingConv1D}
"""Layers whose weight may have another dtype than the model, and what they become in a view."""


def make_view(model: ModuleT, weights: Mapping[str, Tensor]) -> ModuleT:
    """Return a model that shares all of ``model``'s tensors but those named in ``weights``, which it uses as given.

    Names are full parameter names (``transformer.h.3.mlp.fc_out.weight``). A weight keeps its dtype and goes to the
    device of the one it stands for. The view has its own hook dictionaries: a hook put on one is not on the other.

    Raises StoreMismatch for a name or a shape that the model does not have, UnsupportedHook as told above.
    """
    _require_match(model, weights)
    twins: Twins = {}
    view = _copy_tree(model, twins)
    for original in list(model.modules()):
        _rebind_attributes(twins[id(original)], twins)
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


def _copy_tree(module: ModuleT, twins: Twins) -> ModuleT:
    if id(module) in twins:
        return cast("ModuleT", twins[id(module)])
    twin = module.__class__.__new__(module.__class__)
    twins[id(module)] = twin
    for name, value in module.__dict__.items():
        twin.__dict__[name] = value.copy() if isinstance(value, (dict, set)) and name.startswith("_") else value
    twin._modules = {
        name: None if child is None else _copy_tree(child, twins) for name, child in module._modules.items()
    }
    return twin


def _rebind_attributes(twin: nn.Module, twins: Twins) -> None:
    """Bind to the view whatever is bound to the original: methods and partials, among attributes and hooks."""
    for name, value in twin.__dict__.items():
        if name in {"_parameters", "_buffers", "_modules"}:
            continue
        if isinstance(value, dict) and name.startswith("_"):
            for key, item in value.items():
                value[key] = _rebind(item, twins, f"{type(twin).__name__}.{name}[{key!r}]")
        else:
            twin.__dict__[name] = _rebind(value, twins, f"{type(twin).__name__}.{name}")
    own_forward = twin.__dict__.get("forward")
    if own_forward is not None and not isinstance(own_forward, (MethodType, functools.partial)):
        raise UnsupportedHook(
            f"{type(twin).__name__}.forward was replaced by {own_forward!r}, which may be bound to the original "
            "weights: load the model without it"
        )


def _rebind(value: Any, twins: Twins, where: str) -> Any:
    if isinstance(value, nn.Module):
        return twins.get(id(value), value)
    if isinstance(value, MethodType):
        owner = value.__self__
        return MethodType(value.__func__, twins[id(owner)]) if id(owner) in twins else value
    if isinstance(value, functools.partial):
        return _rebind_partial(value, twins, where)
    if isinstance(value, (list, tuple)) and type(value) in {list, tuple}:
        return type(value)(_rebind(item, twins, where) for item in value)
    if _holds_module(value, twins):
        raise UnsupportedHook(
            f"{where} is {value!r}, which holds a module of the original model: a view would compute with the "
            "original weights. Load the model without it"
        )
    return value


def _rebind_partial(value: functools.partial[Any], twins: Twins, where: str) -> functools.partial[Any]:
    bound = functools.partial(
        _rebind(value.func, twins, where),
        *(_rebind(item, twins, where) for item in value.args),
        **{key: _rebind(item, twins, where) for key, item in value.keywords.items()},
    )
    bound.__dict__.update({key: _rebind(item, twins, where) for key, item in value.__dict__.items()})
    return bound


def _holds_module(value: Any, twins: Twins) -> bool:
    """Whether a function's closure, or the attributes of another callable object, hold a module of the original."""
    if isinstance(value, FunctionType):
        held = [_content(cell) for cell in value.__closure__ or ()]
    elif callable(value) and not isinstance(value, type):
        held = list(getattr(value, "__dict__", {}).values())
    else:
        return False
    return any(id(item) in twins or id(getattr(item, "__self__", None)) in twins for item in held)


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # an empty cell
        return None


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
