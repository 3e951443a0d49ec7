"""Shallow copies of modules. They share every tensor with the original, so single parts can be replaced.

If a copy keeps a method or partial that is bound to the original module, it silently runs the original.
(Accelerate's ``device_map``, for example, replaces ``forward`` by a partial over the module.) Such attributes are bound
to the copies instead. If one cannot be rebound, the copy is refused. Knows no weights by name and no families.
"""

from __future__ import annotations

import functools
from types import CellType, FunctionType, MethodType
from typing import Any, ClassVar, TypeVar, cast

from torch import nn

from editing_core.errors import ErrataError

ModuleT = TypeVar("ModuleT", bound=nn.Module)
Copies = dict[int, nn.Module]
"""Maps the id of an original module to its copy."""
MOVERS = frozenset({"to", "cuda", "npu", "xpu", "mlu", "musa", "sdaa"})
"""Methods that accelerate replaces to forbid moves, by functions that hold the original. A copy uses its class's."""


class UnsupportedHook(ErrataError):
    """Something is bound to the original's modules and cannot be bound to a view's."""

    slug: ClassVar[str] = "unsupported-hook"
    title: ClassVar[str] = "The model carries a hook that a view cannot share"


def shallow_copy_tree(module: ModuleT) -> ModuleT:
    """Copy a module and everything below it. Modules and their hook tables are new; tensors are shared.

    Raises UnsupportedHook if an attribute cannot be bound to the copy.
    """
    copies: Copies = {}
    made = _copy_tree(module, copies)
    for copy in copies.values():
        _rebind_attributes(copy, copies)
    return made


def shallow_copy(module: ModuleT) -> ModuleT:
    """Copy one module, with its own table of the original's children. May raise UnsupportedHook."""
    copy = _copy(module)
    _rebind_attributes(copy, {id(module): copy})
    return copy


def _copy(module: ModuleT) -> ModuleT:
    copy = module.__class__.__new__(module.__class__)
    for name, value in module.__dict__.items():
        copy.__dict__[name] = value.copy() if isinstance(value, (dict, set)) and name.startswith("_") else value
    return copy


def _copy_tree(module: ModuleT, copies: Copies) -> ModuleT:
    if id(module) in copies:
        return cast("ModuleT", copies[id(module)])
    copy = _copy(module)
    copies[id(module)] = copy
    copy._modules = {
        name: None if child is None else _copy_tree(child, copies) for name, child in module._modules.items()
    }
    return copy


def _rebind_attributes(copy: nn.Module, copies: Copies) -> None:
    """Bind the original's methods and partials to the copies, in attributes and hooks."""
    for name in MOVERS & copy.__dict__.keys():
        del copy.__dict__[name]
    for name, value in copy.__dict__.items():
        if name in {"_parameters", "_buffers", "_modules"}:
            continue
        if isinstance(value, dict) and name.startswith("_"):
            for key, item in value.items():
                value[key] = _rebind(item, copies, f"{type(copy).__name__}.{name}[{key!r}]")
        else:
            copy.__dict__[name] = _rebind(value, copies, f"{type(copy).__name__}.{name}")
    own_forward = copy.__dict__.get("forward")
    if own_forward is not None and not isinstance(own_forward, (MethodType, functools.partial)):
        raise UnsupportedHook(
            f"{type(copy).__name__}.forward was replaced by {own_forward!r}, which may be bound to the original "
            "weights: load the model without it"
        )


def _rebind(value: Any, copies: Copies, where: str) -> Any:
    if isinstance(value, nn.Module):
        return copies.get(id(value), value)
    if isinstance(value, MethodType):
        owner = value.__self__
        return MethodType(value.__func__, copies[id(owner)]) if id(owner) in copies else value
    if isinstance(value, functools.partial):
        return _rebind_partial(value, copies, where)
    if isinstance(value, (list, tuple)) and type(value) in {list, tuple}:
        return type(value)(_rebind(item, copies, where) for item in value)
    if _holds_module(value, copies):
        raise UnsupportedHook(
            f"{where} is {value!r}, which holds a module of the original model: a view would compute with the "
            "original weights. Load the model without it"
        )
    return value


def _rebind_partial(value: functools.partial[Any], copies: Copies, where: str) -> functools.partial[Any]:
    bound = functools.partial(
        _rebind(value.func, copies, where),
        *(_rebind(item, copies, where) for item in value.args),
        **{key: _rebind(item, copies, where) for key, item in value.keywords.items()},
    )
    bound.__dict__.update({key: _rebind(item, copies, where) for key, item in value.__dict__.items()})
    return bound


def _holds_module(value: Any, copies: Copies) -> bool:
    """Return whether a function's closure, or another callable's attributes, hold a module of the original."""
    if isinstance(value, FunctionType):
        held = [_content(cell) for cell in value.__closure__ or ()]
    elif callable(value) and not isinstance(value, type):
        held = list(getattr(value, "__dict__", {}).values())
    else:
        return False
    return any(id(item) in copies or id(getattr(item, "__self__", None)) in copies for item in held)


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # an empty cell
        return None
