"""Reads and writes Errata's own records: edits as POST /edits accepts them, parsed strictly. Opens no files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from editing_core.edits import Edit
from editing_core.errors import InvalidEdit
from editing_core.formats.json_records import kind_of

TEXTS = ("subject", "prompt", "target_new", "target_true", "relation", "source", "note")
LISTS = ("paraphrases", "neighborhood")
FLAGS = ("protect",)
NAMES = (*TEXTS, *LISTS, *FLAGS)
REQUIRED = ("subject", "prompt", "target_new")
SHORT, LONG, MOST_ITEMS = 2_000, 20_000, 100
"""Limits of POST /edits: characters of a name or an object, characters of a sentence or a note, texts in a list."""


LONGEST_ID = 200
"""Largest number of characters of an edit's id in POST /edits."""


def parse(record: Mapping[str, Any]) -> Edit:
    """Read a record. Raises InvalidEdit with the field that is unknown, missing or of the wrong type."""
    check_names(list(record), "field")
    for name in TEXTS:
        if not isinstance(record.get(name), str | None) or (name in REQUIRED and record[name] is None):
            raise InvalidEdit(f"{name} must be text, but is {kind_of(record[name])}", loc=(name,))
    for name in FLAGS:
        if not isinstance(record.get(name), bool | None):
            raise InvalidEdit(f"{name} must be true or false, but is {kind_of(record[name])}", loc=(name,))
    _check_lists(record)
    return Edit.from_json(record)


def as_input(edit: Edit) -> dict[str, Any]:
    """Return the edit as POST /edits accepts it, without fields that are empty or have their default."""
    given = {name: value for name, value in edit.to_json().items() if value not in (None, [], False)}
    if edit.relation == edit.prompt:
        del given["relation"]
    return given


def require_sizes(edit: Edit) -> None:
    """Raise InvalidEdit with the first field that is longer than POST /edits accepts."""
    for name in ("subject", "target_new", "target_true"):
        _require_length(getattr(edit, name), SHORT, name)
    if edit.relation != edit.prompt:
        _require_length(edit.relation, SHORT, "relation")
    for name in ("prompt", "source", "note"):
        _require_length(getattr(edit, name), LONG, name)
    for name in LISTS:
        if len(items := getattr(edit, name)) > MOST_ITEMS:
            raise InvalidEdit(f"{name} has {len(items)} items, and at most {MOST_ITEMS} are allowed", loc=(name,))
    for i, text in enumerate(edit.paraphrases):
        _require_length(text, LONG, "paraphrases", i)
    for i, neighbor in enumerate(edit.neighborhood):
        _require_length(neighbor.prompt, LONG, "neighborhood", i, "prompt")
        _require_length(neighbor.target, SHORT, "neighborhood", i, "target")


def _require_length(text: str | None, limit: int, *loc: str | int) -> None:
    if text is not None and len(text) > limit:
        raise InvalidEdit(f"has {len(text):,} characters, and at most {limit:,} are allowed", loc=loc)


def write_lines(edits: Iterable[Edit]) -> str:
    """Return the edits as JSONL. Reading it gives the same edits."""
    return "".join(json.dumps(as_input(edit), ensure_ascii=False) + "\n" for edit in edits)


def check_names(names: Sequence[str], kind: str) -> None:
    """Raise InvalidEdit if a name is unknown or a required name is missing."""
    for name in names:
        if name not in NAMES:
            raise InvalidEdit(f"unknown {kind} {name!r}: {', '.join(NAMES)}")
    for name in REQUIRED:
        if name not in names:
            raise InvalidEdit(f"{kind} {name!r} is missing")


def _check_lists(record: Mapping[str, Any]) -> None:
    paraphrases, neighborhood = (record.get(name) or [] for name in LISTS)
    if not isinstance(paraphrases, list) or not all(isinstance(text, str) for text in paraphrases):
        raise InvalidEdit("paraphrases must be a list of texts", loc=("paraphrases",))
    if not isinstance(neighborhood, list) or not all(_is_neighbor(item) for item in neighborhood):
        words = 'neighborhood must be a list of {"prompt": text, "target": text}'
        raise InvalidEdit(words, loc=("neighborhood",))


def _is_neighbor(item: object) -> bool:
    return (
        isinstance(item, dict)
        and set(item) <= {"prompt", "target"}
        and isinstance(item.get("prompt"), str)
        and isinstance(item.get("target"), str | None)
    )
