"""Taking an edit's texts out of what others wrote about it: reports, errors, checks. Knows no Redis and no file."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from editing_core.edits import Edit

ERASED = "[erased]"
"""What stands where a text was."""
SHORT = 4
"""A shorter text is looked for as a whole word only: it would be found inside of many others."""


@dataclass(frozen=True, slots=True)
class Needles:
    """The texts of one edit that are to be found nowhere any more."""

    edit: str
    """The edit's id: a string that names it, in an error, is taken out whole."""
    texts: frozenset[str]
    _pattern: re.Pattern[str] | None = field(init=False, compare=False, default=None)

    def __post_init__(self) -> None:
        """Longest first, so that a text which holds another goes with it."""
        parts = [_part(text) for text in sorted(self.texts, key=lambda text: (-len(text), text))]
        object.__setattr__(self, "_pattern", re.compile("|".join(parts)) if parts else None)

    def redact(self, value: Any) -> Any:
        """The same JSON value without the texts."""
        if isinstance(value, str):
            return self._redact_text(value)
        if isinstance(value, dict):
            return {self.redact(name): self.redact(item) for name, item in value.items()}
        if isinstance(value, list):
            return [self.redact(item) for item in value]
        return value

    def quoted_in(self, text: str) -> bool:
        """Whether the text quotes the edit."""
        return self._pattern is not None and self._pattern.search(text) is not None

    def _redact_text(self, text: str) -> str:
        if self.edit in text and text != self.edit:
            return f"{ERASED} ({self.edit})"
        return self._pattern.sub(ERASED, text) if self._pattern is not None else text


def texts_of(edit: Edit) -> frozenset[str]:
    """Every text that an edit brought in, also as it stands when it is used."""
    given: Iterable[str | None] = (
        *(edit.subject, edit.prompt, edit.relation, edit.target_new, edit.target_true, edit.source, edit.note),
        *(edit.filled_prompt, *edit.paraphrases, *edit.filled_paraphrases),
        *(text for neighbor in edit.neighborhood for text in (neighbor.prompt, neighbor.target)),
    )
    return frozenset(text.strip() for text in given if text is not None and text.strip())


def _part(text: str) -> str:
    escaped = re.escape(text)
    return rf"(?<!\w){escaped}(?!\w)" if len(text) < SHORT else escaped
