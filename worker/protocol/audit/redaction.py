"""Removes the texts of an edit from reports, errors and checks. Does not access Redis or files."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from editing_core.edits import Edit

ERASED = "[erased]"
"""Replacement of a removed text."""
SHORT = 4
"""Texts shorter than this match only as whole words, because they occur inside many other words."""


@dataclass(frozen=True, slots=True)
class Needles:
    """The texts of one edit that must be removed."""

    edit: str
    """Id of the edit. A string that contains it, such as an error, is replaced as a whole."""
    texts: frozenset[str]
    _pattern: re.Pattern[str] | None = field(init=False, compare=False, default=None)

    def __post_init__(self) -> None:
        """Compile the pattern, longest texts first: a text that contains another one then matches as a whole."""
        parts = [_part(text) for text in sorted(self.texts, key=lambda text: (-len(text), text))]
        object.__setattr__(self, "_pattern", re.compile("|".join(parts)) if parts else None)

    def redact(self, value: Any) -> Any:
        """Return the JSON value without the texts."""
        if isinstance(value, str):
            return self._redact_text(value)
        if isinstance(value, dict):
            return {self.redact(name): self.redact(item) for name, item in value.items()}
        if isinstance(value, list):
            return [self.redact(item) for item in value]
        return value

    def quoted_in(self, text: str) -> bool:
        """Return whether the text quotes the edit."""
        return self._pattern is not None and self._pattern.search(text) is not None

    def _redact_text(self, text: str) -> str:
        if self.edit in text and text != self.edit:
            return f"{ERASED} ({self.edit})"
        return self._pattern.sub(ERASED, text) if self._pattern is not None else text


def texts_of(edit: Edit) -> frozenset[str]:
    """Return all texts of an edit, including its filled templates."""
    given: Iterable[str | None] = (
        *(edit.subject, edit.prompt, edit.relation, edit.target_new, edit.target_true, edit.source, edit.note),
        *(edit.filled_prompt, *edit.paraphrases, *edit.filled_paraphrases),
        *(text for neighbor in edit.neighborhood for text in (neighbor.prompt, neighbor.target)),
    )
    return frozenset(text.strip() for text in given if text is not None and text.strip())


def _part(text: str) -> str:
    escaped = re.escape(text)
    return rf"(?<!\w){escaped}(?!\w)" if len(text) < SHORT else escaped
