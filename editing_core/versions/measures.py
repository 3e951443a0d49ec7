"""Reads measures from stored checks and edit reports by their current names. Knows no model.

Older stores hold some measures under former names.
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
    """The measure ``name`` of a version's checks, or ``holds`` of an edit's report. None if it was not measured."""
    return found[name] if name in found else found.get(_FORMER_NAMES.get(name, name))
