"""Twins: shallow copies of modules that share every tensor and behave as the original, so that parts can be exchanged.

Guards a trap: whatever hangs on a module and is *bound* to it (accelerate's ``device_map`` replaces ``forward`` by a
partial over the module) would, copied as it is, silently run the original. Bound methods and partials are bound anew to
the twins; what cannot be bound anew is refused. Knows no weights by name and no families.
"""

from __future__ import annotations

import functools
from types import CellType, FunctionType, MethodType
from typing import Any, ClassVar, TypeVar, cast

from torch import nn

from editing_core.errors import ErrataError

ModuleT = TypeVar("ModuleT", bound=nn.Module)
Twins = dict[int, nn.Module]
"""From the id of an original module to its twin."""
MOVERS = frozenset({"to", "cuda", "npu", "xpu", "mlu", "musa", "sdaa"})
"""Methods that accelerate wraps, in functions that hold the original, to forbid moves; a twin has its class's own."""


class UnsupportedHook(ErrataError):
    """Something is bound to the original's modules and cannot be bound to a view's."""

    slug: ClassVar[str] = "unsupported-hook"
    title: ClassVar[str] = "The model carries a hook that a view cannot share"


def twin_tree(module: ModuleT) -> ModuleT:
    """Copy a module with all that is below it; own modules, parameters, buffers and hooks, the same tensors.

    Raises UnsupportedHook as told above.
    """
    twins: Twins = {}
    made = _copy_tree(module, twins)
    for twin in twins.values():
        _rebind_attributes(twin, twins)
    return made


def twin_alone(module: ModuleT) -> ModuleT:
    """Copy one module; its children are the original's, in a table of its own. Raises UnsupportedHook as told above."""
    twin = _copy(module)
    _rebind_attributes(twin, {id(module): twin})
    return twin


def _copy(module: ModuleT) -> ModuleT:
    twin = module.__class__.__new__(module.__class__)
    for name, value in module.__dict__.items():
        twin.__dict__[name] = value.copy() if isinstance(value, (dict, set)) and name.startswith("_") else value
    return twin


def _copy_tree(module: ModuleT, twins: Twins) -> ModuleT:
    if id(module) in twins:
        return cast("ModuleT", twins[id(module)])
    twin = _copy(module)
    twins[id(module)] = twin
    twin._modules = {
        name: None if child is None else _copy_tree(child, twins) for name, child in module._modules.items()
    }
    return twin


def _rebind_attributes(twin: nn.Module, twins: Twins) -> None:
    """Bind to the view whatever is bound to the original: methods and partials, among attributes and hooks."""
    for name in MOVERS & twin.__dict__.keys():
        del twin.__dict__[name]
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
