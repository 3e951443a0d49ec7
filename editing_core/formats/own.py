"""Errata's own records: an edit as POST /edits takes it, read strictly and written back. Knows no file."""

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
"""What POST /edits takes at most: characters of a name or an object, of a sentence or a note, texts of a list."""


LONGEST_ID = 200
"""Characters of an edit's id, as POST /edits takes it."""


def parse(record: Mapping[str, Any]) -> Edit:
    """Read a record; raises InvalidEdit with the field that is unknown, missing or of the wrong kind."""
    check_names(list(record), "field")
    for name in TEXTS:
        if not isinstance(record.get(name), str | None) or (name in REQUIRED and record[name] is None):
            raise InvalidEdit(f"{name} is not text, but {kind_of(record[name])}", loc=(name,))
    for name in FLAGS:
        if not isinstance(record.get(name), bool | None):
            raise InvalidEdit(f"{name} is not true or false, but {kind_of(record[name])}", loc=(name,))
    _check_lists(record)
    return Edit.from_json(record)


def as_input(edit: Edit) -> dict[str, Any]:
    """The edit as POST /edits takes it: without what is not given, or goes without saying."""
    given = {name: value for name, value in edit.to_json().items() if value not in (None, [], False)}
    if edit.relation == edit.prompt:
        del given["relation"]
    return given


def require_sizes(edit: Edit) -> None:
    """Raise InvalidEdit, with the field, for what is longer than POST /edits takes it."""
    for name in ("subject", "target_new", "target_true"):
        _require_length(getattr(edit, name), SHORT, name)
    if edit.relation != edit.prompt:
        _require_length(edit.relation, SHORT, "relation")
    for name in ("prompt", "source", "note"):
        _require_length(getattr(edit, name), LONG, name)
    for name in LISTS:
        if len(items := getattr(edit, name)) > MOST_ITEMS:
            raise InvalidEdit(f"{name} holds {len(items)} items, and {MOST_ITEMS} are taken", loc=(name,))
    for i, text in enumerate(edit.paraphrases):
        _require_length(text, LONG, "paraphrases", i)
    for i, neighbor in enumerate(edit.neighborhood):
        _require_length(neighbor.prompt, LONG, "neighborhood", i, "prompt")
        _require_length(neighbor.target, SHORT, "neighborhood", i, "target")


def _require_length(text: str | None, limit: int, *loc: str | int) -> None:
    if text is not None and len(text) > limit:
        raise InvalidEdit(f"has {len(text):,} characters, and {limit:,} are taken", loc=loc)


def write_lines(edits: Iterable[Edit]) -> str:
    """The edits as JSONL, which reads back the same."""
    return "".join(json.dumps(as_input(edit), ensure_ascii=False) + "\n" for edit in edits)


def check_names(names: Sequence[str], kind: str) -> None:
    """Raise InvalidEdit for a name that is unknown, and where one that is required is missing."""
    for name in names:
        if name not in NAMES:
            raise InvalidEdit(f"unknown {kind} {name!r}: {', '.join(NAMES)}")
    for name in REQUIRED:
        if name not in names:
            raise InvalidEdit(f"{kind} {name!r} is missing")


def _check_lists(record: Mapping[str, Any]) -> None:
    paraphrases, neighborhood = (record.get(name) or [] for name in LISTS)
    if not isinstance(paraphrases, list) or not all(isinstance(text, str) for text in paraphrases):
        raise InvalidEdit("paraphrases is not a list of texts", loc=("paraphrases",))
    if not isinstance(neighborhood, list) or not all(_is_neighbor(item) for item in neighborhood):
        words = 'neighborhood is not a list of {"prompt": text, "target": text}'
        raise InvalidEdit(words, loc=("neighborhood",))


def _is_neighbor(item: object) -> bool:
    return (
        isinstance(item, dict)
        and set(item) <= {"prompt", "target"}
        and isinstance(item.get("prompt"), str)
        and isinstance(item.get("target"), str | None)
    )
