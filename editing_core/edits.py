"""What an edit is, when two are about the same thing, and which of several counts.

Torch-free, so that the API can use it. Knows no tokenizer: whether a subject's end is a token's end is found by
``editing_core.memit.tokens``.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

from editing_core.errors import InvalidEdit

SLOT = "{}"
"""Where the subject goes in a prompt template."""


@dataclass(frozen=True, slots=True)
class Neighbor:
    """A prompt about something else whose answer must not change."""

    prompt: str
    target: str | None = None
    """The true object; None: what the model answered before the edit."""


@dataclass(frozen=True, slots=True)
class Edit:
    """One wanted fact (s, r, o): ``prompt`` with ``subject`` in its slot is to be followed by ``target_new``."""

    subject: str
    prompt: str
    """Template with exactly one ``{}``."""
    target_new: str
    _: KW_ONLY
    relation: str = ""
    """What the prompt asks about the subject; two edits with equal subject and relation exclude each other.

    If it is empty, the prompt takes its place.
    """
    target_true: str | None = None
    paraphrases: tuple[str, ...] = ()
    """Other wordings, with one ``{}`` or with the subject written out."""
    neighborhood: tuple[Neighbor, ...] = ()
    protect: bool = False
    """Whether the solve holds on to what it has for the neighbourhood, and does not only ask it afterwards."""
    source: str | None = None
    note: str | None = None

    def __post_init__(self) -> None:
        if not self.relation:
            object.__setattr__(self, "relation", self.prompt)

    @property
    def identity(self) -> tuple[str, str]:
        """Normalised (subject, relation): what the edit is about."""
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
        """Sha256 (hex) over what decides the edit's numbers: subject, prompt, new object."""
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
        """Read what ``to_json`` wrote; a missing ``relation`` is the prompt template."""
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
    """An edit with where it came from: a row of a version's live set."""

    id: str
    edit: Edit
    batch: str
    acceptance: int
    """The batch's acceptance number; of several edits about one thing the highest counts."""
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
        """Read what ``to_json`` wrote."""
        return cls(**{**record, "edit": Edit.from_json(record["edit"])})


def normalise(text: str) -> str:
    """Unicode NFC, runs of white space to one space, trimmed; upper and lower case stay different."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def fill(template: str, subject: str) -> str:
    """Put the subject into the template's slot, if it has one (never ``str.format``: templates are users' text)."""
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
    """Raise InvalidEdit unless the text can be seen, holds no control character, and is Unicode."""
    _require_encodable(text, loc)
    if not any(unicodedata.category(char)[0] not in "ZC" for char in text):
        raise InvalidEdit(f"{loc[0]} is blank: give at least one character that can be seen", loc=loc)
    if text.isprintable():
        return
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
    """Pairs of positions whose edits give one (subject, relation) two objects (MEMIT, Eqn. 5), earlier one first."""
    first_at: dict[tuple[str, str], int] = {}
    found = []
    for i, edit in enumerate(edits):
        j = first_at.setdefault(edit.identity, i)
        if normalise(edits[j].target_new) != normalise(edit.target_new):
            found.append((j, i))
    return found


def canonical(edits: Iterable[AcceptedEdit]) -> tuple[AcceptedEdit, ...]:
    """The order in which a set is solved: by content, so that the order of arrival leaves no trace."""
    return tuple(sorted(edits, key=lambda accepted: (accepted.edit.content_key(), accepted.id)))


@dataclass(frozen=True, slots=True, kw_only=True)
class EditSet:
    """What is in force and what is not, both in canonical order."""

    live: tuple[AcceptedEdit, ...]
    superseded: tuple[AcceptedEdit, ...] = ()
    """Edits that a live one about the same thing supersedes, or repeats."""

    @property
    def everything(self) -> tuple[AcceptedEdit, ...]:
        """All that the set was made of."""
        return (*self.live, *self.superseded)

    def joined(self, new: Iterable[AcceptedEdit], *, without: Collection[str] = ()) -> EditSet:
        """The set with ``new`` ones in it and those with the ids ``without`` taken out; the order of calls is free."""
        return edit_set(edit for edit in (*self.everything, *new) if edit.id not in without)

    def named_alike(self, edit: str) -> tuple[str, ...]:
        """The edit's id and those that say the same just before or after it: they are taken out together."""
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

    def repeats(self) -> dict[str, str]:
        """Of each edit that says what the one in force says, and was accepted after it: that one's id."""
        live = {accepted.edit.identity: accepted for accepted in self.live}
        return {
            accepted.id: held.id
            for accepted in self.superseded
            for held in [live[accepted.edit.identity]]
            if _acceptance_order(accepted) > _acceptance_order(held)
        }


def edit_set(edits: Iterable[AcceptedEdit]) -> EditSet:
    """The set that these edits make, each counted once."""
    stacks: dict[tuple[str, str], dict[str, AcceptedEdit]] = defaultdict(dict)
    for accepted in edits:
        stacks[accepted.edit.identity][accepted.id] = accepted
    live = {held.id: held for stack in stacks.values() for held in [_in_force(list(stack.values()))]}
    beneath = (accepted for stack in stacks.values() for accepted in stack.values() if accepted.id not in live)
    return EditSet(live=canonical(live.values()), superseded=canonical(beneath))


def says_the_same(one: Edit, other: Edit) -> bool:
    """Whether two edits differ in nothing that the weights or the checks depend on."""
    left, right = one.to_json(), other.to_json()
    return all(left[name] == right[name] for name in left if name not in {"source", "note"})


def _in_force(stack: list[AcceptedEdit]) -> AcceptedEdit:
    """Of edits about one thing the one accepted last; of several that say the same in a row the first."""
    stack.sort(key=_acceptance_order)
    held = stack.pop()
    while stack and says_the_same(stack[-1].edit, held.edit):
        held = stack.pop()
    return held


def _acceptance_order(accepted: AcceptedEdit) -> tuple[int, str]:
    return accepted.acceptance, accepted.id
