"""The families that Errata knows. A new family needs one small file and one line here."""

from __future__ import annotations

from editing_core.errors import UnknownModelFamily
from editing_core.models.families.family import Family
from editing_core.models.families.gpt2 import GPT2
from editing_core.models.families.gpt_neox import GPT_NEOX
from editing_core.models.families.gptj import GPTJ
from editing_core.models.families.llama import LLAMA

FAMILIES: dict[str, Family] = {family.model_type: family for family in (GPTJ, GPT_NEOX, GPT2, LLAMA)}


def family_of(model_type: str) -> Family:
    """Return the family of a checkpoint's ``model_type``. Raises UnknownModelFamily with the list of known ones."""
    try:
        return FAMILIES[model_type]
    except KeyError:
        known = ", ".join(sorted(FAMILIES))
        raise UnknownModelFamily(f"models of type {model_type!r} are not supported; known types: {known}") from None
