"""Guards: facts that edits must not change. Torch-free; knows no tokenizer and no ledger."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from editing_core.edits import normalise, require_text
from editing_core.errors import InvalidEdit


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """A fact: the model answers ``prompt`` with ``target``, and must continue to do so."""

    prompt: str
    target: str
    subject: str | None = None
    """The subject exactly as in the prompt. The model looks up the fact there."""

    @property
    def id(self) -> str:
        """An id made from prompt and subject: no guard is stored twice, and no two guards contradict each other."""
        text = json.dumps([normalise(self.prompt), normalise(self.subject or "")], ensure_ascii=True)
        return f"g{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; the inverse of ``from_json``."""
        return {"prompt": self.prompt, "target": self.target, "subject": self.subject}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Guard:
        """Read the output of ``to_json``."""
        return cls(prompt=record["prompt"], target=record["target"], subject=record.get("subject"))


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedGuard:
    """A guard with its origin."""

    guard: Guard
    created: str
    """ISO 8601 with Z."""
    author: str | None = None

    @property
    def id(self) -> str:
        """The guard's id."""
        return self.guard.id

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; the inverse of ``from_json``."""
        return {"guard": self.guard.to_json(), "created": self.created, "author": self.author}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> AcceptedGuard:
        """Read the output of ``to_json``."""
        return cls(**{**record, "guard": Guard.from_json(record["guard"])})


def canonical_guards(guards: Iterable[AcceptedGuard]) -> tuple[AcceptedGuard, ...]:
    """The guards sorted by id. The order of arrival does not matter."""
    return tuple(sorted(guards, key=lambda accepted: accepted.id))


def validate_guard(guard: Guard) -> None:
    """Raise InvalidEdit, with the offending field as ``loc``, unless the guard can be used."""
    require_text(guard.prompt, ("prompt",))
    require_text(guard.target, ("target",))
    if any(mark in guard.prompt for mark in "{}"):
        raise InvalidEdit(
            f"prompt {guard.prompt!r} contains a brace: write the subject out, and name it in `subject`",
            loc=("prompt",),
        )
    if guard.subject is None:
        return
    require_text(guard.subject, ("subject",))
    if guard.subject not in guard.prompt:
        raise InvalidEdit(
            f"subject {guard.subject!r} is not in the prompt {guard.prompt!r}: write it as it stands there",
            loc=("subject",),
        )
