"""Reads the fields of a record. Errors name the field that is missing or has the wrong type.

Lists and optional texts are only tests of an edit. Published tests come from web pages, so their line breaks become
spaces.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from editing_core.edits import SLOT
from editing_core.errors import InvalidEdit
from editing_core.formats.json_records import kind_of
from editing_core.formats.lines import field_path

Record = Mapping[str, Any]


def inner(record: Record, *loc: str) -> Record:
    """Return the object at the path ``loc``. Raises InvalidEdit."""
    value = _at(record, *loc)
    if not isinstance(value, Mapping):
        raise _wrong(value, "an object", *loc)
    return value


def text(record: Record, *loc: str) -> str:
    """Return the text at the path ``loc``. Raises InvalidEdit."""
    value = _at(record, *loc)
    if not isinstance(value, str):
        raise _wrong(value, "text", *loc)
    return value


def optional_text(record: Record, name: str) -> str | None:
    """Return the text of a field that may be missing, null or empty. Raises InvalidEdit."""
    value = record.get(name)
    return None if value is None or value == "" else one_line(text(record, name))


def texts(record: Record, name: str) -> tuple[str, ...]:
    """Return the texts of a list. A single text is a list of one; a missing field is empty. Raises InvalidEdit."""
    value = record.get(name)
    if value is None:
        return ()
    if isinstance(value, str):
        return (one_line(value),)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InvalidEdit(f"{name} must be a list of texts", loc=(name,))
    return tuple(one_line(item) for item in value)


def one_line(words: str) -> str:
    """Replace line breaks and other control characters by spaces."""
    return words if words.isprintable() else " ".join(words.split())


def slotted(sentence: str, subject: str, *loc: str) -> str:
    """Return the sentence with the slot instead of the subject's first occurrence, preferably as whole words.

    Raises InvalidEdit if the sentence does not contain the subject.
    """
    if SLOT in sentence:
        return sentence
    places = re.search(rf"(?<!\w){re.escape(subject)}(?!\w)", sentence) or re.search(re.escape(subject), sentence)
    if places is None or not subject:
        raise InvalidEdit(f"{field_path(loc)} {sentence!r} does not contain the subject {subject!r}", loc=loc)
    return sentence[: places.start()] + SLOT + sentence[places.end() :]


def in_words_of_file(error: InvalidEdit, fields: Mapping[str, str]) -> str:
    """Return the error text, which begins with the field's name in the record.

    ``fields`` maps the parts of an edit that have another name in the record to their paths there.
    """
    if not error.loc:
        return error.detail
    part = str(error.loc[0])
    name = field_path((fields.get(part, part), *error.loc[1:]))
    return error.detail if error.detail.startswith(name) else f"{name}: {error.detail}"


def _at(record: Record, *loc: str) -> Any:
    value: Any = record
    for i, part in enumerate(loc, start=1):
        value = value.get(part) if isinstance(value, Mapping) else None
        if value is None:
            raise InvalidEdit(f"{field_path(loc[:i])} is missing", loc=loc[:i])
    return value


def _wrong(value: object, wanted: str, *loc: str) -> InvalidEdit:
    return InvalidEdit(f"{field_path(loc)} must be {wanted}, but is {kind_of(value)}", loc=loc)
