"""Stored checks and edit reports, read by the names of today. Knows no model.

Stores written before the measures had their present names hold the former ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_FORMER_NAMES = {
    "reliability": "taken",
    "generalization": "paraphrases",
    "specificity": "neighbors",
    "generation_success": "told",
    "holds": "taken",
}


def recorded(found: Mapping[str, Any], name: str) -> Any:
    """The measure ``name`` of a version's checks, or ``holds`` of an edit's report; None if it was not measured."""
    return found[name] if name in found else found.get(_FORMER_NAMES.get(name, name))
