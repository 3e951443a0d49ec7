"""Edits: their fields, when two are about the same fact, and which of several is in force.

Torch-free, for use in the API. Knows no tokenizer: ``editing_core.memit.tokens`` checks whether a subject ends with a
token.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import Any

from editing_core.errors import InvalidEdit

SLOT = "{}"
"""The place of the subject in a prompt template."""


@dataclass(frozen=True, slots=True)
class Neighbor:
    """A prompt about something else. Its answer must not change."""

    prompt: str
    target: str | None = None
    """The true object. None means the model's answer before the edit."""


@dataclass(frozen=True)
class Edit:
    """One wanted fact (s, r, o): after ``prompt`` with ``subject`` in its slot, the model must write ``target_new``."""

    subject: str
    prompt: str
    """Template with exactly one ``{}``."""
    target_new: str
    _: KW_ONLY
    relation: str = ""
    """The property that the prompt asks for. Two edits with equal subject and relation exclude each other.

    If the relation is empty, the prompt takes its place.
    """
    target_true: str | None = None
    paraphrases: tuple[str, ...] = ()
    """Other wordings, with one ``{}`` or with the subject written out."""
    neighborhood: tuple[Neighbor, ...] = ()
    protect: bool = False
    """Whether the solve holds the neighbourhood's outputs. Otherwise the neighbourhood is only checked afterwards."""
    source: str | None = None
    note: str | None = None

    def __post_init__(self) -> None:
        if not self.relation:
            object.__setattr__(self, "relation", self.prompt)

    @cached_property
    def identity(self) -> tuple[str, str]:
        """The normalised (subject, relation) of the edit."""
        return normalise(self.subject), normalise(self.relation)

    @property
    def filled_prompt(self) -> str:
        """The prompt with the subject in its place."""
        return fill(self.prompt, self.subject)

    @property
    def filled_paraphrases(self) -> tuple[str, ...]:
        """The paraphrases with the subject in its place."""
        return tuple(fill(text, self.subject) for text in self.paraphrases)

    def content_key(self) -> str:
        """SHA-256 (hex) of the fields that decide the edit's numbers: subject, prompt and new object."""
        return self._content_key

    @cached_property
    def _content_key(self) -> str:
        text = json.dumps([self.subject, self.prompt, self.target_new], ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; the inverse of ``from_json``."""
        return {
            "subject": self.subject,
            "prompt": self.prompt,
            "target_new": self.target_new,
            "target_true": self.target_true,
            "relation": self.relation,
            "paraphrases": list(self.paraphrases),
            "neighborhood": [{"prompt": n.prompt, "target": n.target} for n in self.neighborhood],
            "protect": self.protect,
            "source": self.source,
            "note": self.note,
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Edit:
        """Read the output of ``to_json``. A missing ``relation`` is the prompt template."""
        return cls(
            subject=record["subject"],
            prompt=record["prompt"],
            target_new=record["target_new"],
            target_true=record.get("target_true"),
            relation=record.get("relation") or record["prompt"],
            paraphrases=tuple(record.get("paraphrases") or ()),
            neighborhood=tuple(
                Neighbor(prompt=n["prompt"], target=n.get("target")) for n in record.get("neighborhood") or ()
            ),
            protect=bool(record.get("protect")),
            source=record.get("source"),
            note=record.get("note"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedEdit:
    """An edit with its origin: a row of a version's live set."""

    id: str
    edit: Edit
    batch: str
    acceptance: int
    """The batch's acceptance number. Among edits about the same fact, the highest is in force."""
    created: str
    """ISO 8601 with Z."""
    author: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; the inverse of ``from_json``."""
        return {
            "id": self.id,
            "edit": self.edit.to_json(),
            "batch": self.batch,
            "acceptance": self.acceptance,
            "created": self.created,
            "author": self.author,
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> AcceptedEdit:
        """Read the output of ``to_json``."""
        return cls(**{**record, "edit": Edit.from_json(record["edit"])})


def normalise(text: str) -> str:
    """Convert to Unicode NFC, reduce runs of white space to one space, and trim. Case is kept."""
    composed = text if text.isascii() else unicodedata.normalize("NFC", text)  # ASCII is NFC
    return " ".join(composed.split())


def fill(template: str, subject: str) -> str:
    """Put the subject into the template's slot, if it has one. ``str.format`` is unsafe: templates are users' text."""
    return template.replace(SLOT, subject, 1)


def validate_edit(edit: Edit) -> None:
    """Raise InvalidEdit, with the offending field as ``loc``, unless the edit can be used."""
    require_text(edit.subject, ("subject",))
    require_text(edit.prompt, ("prompt",))
    require_text(edit.target_new, ("target_new",))
    require_text(edit.relation, ("relation",))
    _require_slots(edit.prompt, allowed=(1,), loc=("prompt",))
    if any(mark in edit.subject for mark in "{}"):
        raise InvalidEdit(
            f"subject {edit.subject!r} contains a brace; braces mark the slot of a prompt", loc=("subject",)
        )
    if edit.target_true is not None:
        require_text(edit.target_true, ("target_true",))
    for i, text in enumerate(edit.paraphrases):
        require_text(text, ("paraphrases", i))
        _require_slots(text, allowed=(0, 1), loc=("paraphrases", i))
    for i, neighbor in enumerate(edit.neighborhood):
        require_text(neighbor.prompt, ("neighborhood", i, "prompt"))
        if neighbor.target is not None:
            require_text(neighbor.target, ("neighborhood", i, "target"))
    for name in ("source", "note"):
        text = getattr(edit, name)
        if text is not None:
            _require_encodable(text, (name,))


def require_text(text: str, loc: tuple[str | int, ...]) -> None:
    """Raise InvalidEdit unless the text has a visible character, no control character, and only valid Unicode."""
    if text.isprintable() and text.strip(" "):  # no surrogate, control character or separator but the space
        return
    _require_encodable(text, loc)
    if not any(unicodedata.category(char)[0] not in "ZC" for char in text):
        raise InvalidEdit(f"{loc[0]} is blank: give at least one character that can be seen", loc=loc)
    for char in text:
        if unicodedata.category(char) == "Cc":
            raise InvalidEdit(f"{loc[0]} contains the control character U+{ord(char):04X}: remove it", loc=loc)


def _require_encodable(text: str, loc: tuple[str | int, ...]) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        point = ord(text[error.start])
        raise InvalidEdit(
            f"{loc[0]} contains the lone surrogate U+{point:04X} at character {error.start}: send valid Unicode",
            loc=loc,
        ) from None


def _require_slots(text: str, *, allowed: tuple[int, ...], loc: tuple[str | int, ...]) -> None:
    count = text.count(SLOT)
    rest = text.replace(SLOT, "")
    if "{" in rest or "}" in rest:
        raise InvalidEdit(f"{loc[0]} {text!r} has a brace that is not the slot {SLOT!r}: remove it", loc=loc)
    if count not in allowed:
        wanted = " or ".join(str(n) for n in allowed)
        raise InvalidEdit(f"{loc[0]} {text!r} has {count} slots {SLOT!r}, not {wanted}", loc=loc)


def conflicts(edits: Sequence[Edit]) -> list[tuple[int, int]]:
    """Pairs of positions of edits that give one (subject, relation) two objects (MEMIT, Eqn. 5), the earlier first."""
    first_at: dict[tuple[str, str], int] = {}
    found = []
    for i, edit in enumerate(edits):
        j = first_at.setdefault(edit.identity, i)
        if normalise(edits[j].target_new) != normalise(edit.target_new):
            found.append((j, i))
    return found


def canonical(edits: Iterable[AcceptedEdit]) -> tuple[AcceptedEdit, ...]:
    """The edits in the order of the solve: by content, and thus independent of the order of arrival."""
    return tuple(sorted(edits, key=lambda accepted: (accepted.edit.content_key(), accepted.id)))


@dataclass(frozen=True, kw_only=True)
class EditSet:
    """The edits in force and the edits that they supersede, both in canonical order."""

    live: tuple[AcceptedEdit, ...]
    superseded: tuple[AcceptedEdit, ...] = ()
    """Edits that a live edit with the same subject and relation supersedes or repeats."""

    @cached_property
    def everything(self) -> tuple[AcceptedEdit, ...]:
        """The live edits, then the superseded ones."""
        return (*self.live, *self.superseded)

    @cached_property
    def ids(self) -> frozenset[str]:
        """The ids of all edits of the set, live and superseded."""
        return frozenset(accepted.id for accepted in self.everything)

    @cached_property
    def in_force(self) -> Mapping[tuple[str, str], AcceptedEdit]:
        """The live edit of each identity (normalised subject and relation)."""
        return {accepted.edit.identity: accepted for accepted in self.live}

    @cached_property
    def repeats(self) -> Mapping[str, str]:
        """By id of an edit that repeats a live edit accepted before it: the live edit's id."""
        held = self.in_force
        return {
            accepted.id: held[accepted.edit.identity].id
            for accepted in self.superseded
            if _acceptance_order(accepted) > _acceptance_order(held[accepted.edit.identity])
        }

    def joined(self, new: Iterable[AcceptedEdit], *, without: Collection[str] = ()) -> EditSet:
        """The set with the edits ``new`` added and the ids ``without`` removed. The order of calls does not matter."""
        return edit_set(edit for edit in (*self.everything, *new) if edit.id not in without)

    def change_from(self, before: EditSet) -> SetChange:
        """The changes from ``before`` to this set, edit by edit."""
        superseded: dict[str, str] = {}
        restored: dict[str, str] = {}
        for identity, now in self.in_force.items():
            earlier = before.in_force.get(identity)
            if earlier is None or earlier.id == now.id:
                continue
            if now.id not in before.ids:
                superseded[now.id] = earlier.id
            elif earlier.id not in self.ids:
                restored[earlier.id] = now.id
        return SetChange(
            superseded=superseded,
            taken_out=before.ids - self.ids,
            restored=restored,
            repeats={edit: held for edit, held in self.repeats.items() if edit not in before.ids},
        )

    def named_alike(self, edit: str) -> tuple[str, ...]:
        """The id of the edit, and of equal edits accepted just before or after it. They are taken out together."""
        found = next(accepted for accepted in self.everything if accepted.id == edit)
        stack = sorted(
            (row for row in self.everything if row.edit.identity == found.edit.identity), key=_acceptance_order
        )
        first = last = [row.id for row in stack].index(edit)
        while first > 0 and says_the_same(stack[first - 1].edit, found.edit):
            first -= 1
        while last + 1 < len(stack) and says_the_same(stack[last + 1].edit, found.edit):
            last += 1
        return tuple(row.id for row in stack[first : last + 1])


@dataclass(frozen=True, slots=True, kw_only=True)
class SetChange:
    """The differences between a set and an earlier one, by edit ids."""

    superseded: Mapping[str, str]
    """By id of a new live edit: the edit that was in force before with the same subject and relation."""
    taken_out: frozenset[str]
    """Edits of the earlier set that are gone."""
    restored: Mapping[str, str]
    """By id of an edit that is gone: the older edit that is in force again in its place."""
    repeats: Mapping[str, str]
    """By id of a new edit that repeats the edit in force: the id of the edit in force."""

    def of_batch(self, edits: Collection[str], removed: Collection[str]) -> dict[str, Any]:
        """The changes by one batch, as JSON: by its ``edits``, and by the ids that it asked to have ``removed``."""
        return {
            "superseded": {edit: self.superseded[edit] for edit in edits if edit in self.superseded},
            "taken_out": sorted(edit for edit in set(removed) if edit in self.taken_out),
            "not_taken_out": sorted(edit for edit in set(removed) if edit not in self.taken_out),
            "restored": sorted(self.restored[edit] for edit in set(removed) if edit in self.restored),
            "same_as": {edit: self.repeats[edit] for edit in edits if edit in self.repeats},
        }


def edit_set(edits: Iterable[AcceptedEdit]) -> EditSet:
    """The set of these edits. Each counts once."""
    stacks: dict[tuple[str, str], dict[str, AcceptedEdit]] = defaultdict(dict)
    for accepted in edits:
        stacks[accepted.edit.identity][accepted.id] = accepted
    live = {held.id: held for stack in stacks.values() for held in [_in_force(list(stack.values()))]}
    superseded = (accepted for stack in stacks.values() for accepted in stack.values() if accepted.id not in live)
    return EditSet(live=canonical(live.values()), superseded=canonical(superseded))


def says_the_same(one: Edit, other: Edit) -> bool:
    """Whether two edits agree in everything that the weights or the checks depend on."""
    left, right = one.to_json(), other.to_json()
    return all(left[name] == right[name] for name in left if name not in {"source", "note"})


def _in_force(stack: list[AcceptedEdit]) -> AcceptedEdit:
    """The edit accepted last. If the last edits repeat each other, the first of them."""
    stack.sort(key=_acceptance_order)
    held = stack.pop()
    while stack and says_the_same(stack[-1].edit, held.edit):
        held = stack.pop()
    return held


def _acceptance_order(accepted: AcceptedEdit) -> tuple[int, str]:
    return accepted.acceptance, accepted.id
