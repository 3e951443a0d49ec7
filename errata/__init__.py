"""Knowledge editing from Python: ``from errata import Edit, open_editor``. The HTTP client is ``errata.client``.

Names are imported on first use, so that importing the package, or its client, does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from editing_core.checks.limits import CheckLimits
    from editing_core.edits import Edit, Neighbor
    from editing_core.errors import ErrataError
    from errata.check import Check
    from errata.edited import EditedModel
    from errata.editor import Editor, open_editor

__all__ = ["Check", "CheckLimits", "Edit", "EditedModel", "Editor", "ErrataError", "Neighbor", "open_editor"]

_MODULES = {
    "Check": "errata.check",
    "CheckLimits": "editing_core.checks.limits",
    "Edit": "editing_core.edits",
    "EditedModel": "errata.edited",
    "Editor": "errata.editor",
    "ErrataError": "editing_core.errors",
    "Neighbor": "editing_core.edits",
    "open_editor": "errata.editor",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
