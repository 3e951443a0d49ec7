"""Reading the fields of a record, with the name of the one that is missing or of the wrong kind.

Lists and optional texts only test an edit; published ones come from web pages, and their line breaks become spaces.
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
    """The object at the place; raises InvalidEdit."""
    value = _at(record, *loc)
    if not isinstance(value, Mapping):
        raise _wrong(value, "an object", *loc)
    return value


def text(record: Record, *loc: str) -> str:
    """The text at the place; raises InvalidEdit."""
    value = _at(record, *loc)
    if not isinstance(value, str):
        raise _wrong(value, "text", *loc)
    return value


def optional_text(record: Record, name: str) -> str | None:
    """The text of a field that may be missing, null or empty; raises InvalidEdit."""
    value = record.get(name)
    return None if value is None or value == "" else one_line(text(record, name))


def texts(record: Record, name: str) -> tuple[str, ...]:
    """The texts of a list, one text alone as a list of one, nothing as none; raises InvalidEdit."""
    value = record.get(name)
    if value is None:
        return ()
    if isinstance(value, str):
        return (one_line(value),)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InvalidEdit(f"{name} is not a list of texts", loc=(name,))
    return tuple(one_line(item) for item in value)


def one_line(words: str) -> str:
    """The text with its line breaks and other controls as spaces."""
    return words if words.isprintable() else " ".join(words.split())


def slotted(sentence: str, subject: str, *loc: str) -> str:
    """The sentence as a template: the slot in place of the subject, where it first stands as words of its own.

    Raises InvalidEdit when the sentence does not hold the subject.
    """
    if SLOT in sentence:
        return sentence
    places = re.search(rf"(?<!\w){re.escape(subject)}(?!\w)", sentence) or re.search(re.escape(subject), sentence)
    if places is None or not subject:
        raise InvalidEdit(f"{field_path(loc)} {sentence!r} does not hold the subject {subject!r}", loc=loc)
    return sentence[: places.start()] + SLOT + sentence[places.end() :]


def in_words_of_file(error: InvalidEdit, fields: Mapping[str, str]) -> str:
    """The error's words behind the record's own name of the field, where they do not begin with it.

    ``fields``: where a part of the edit stands in the record, where that is not its own name.
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
    return InvalidEdit(f"{field_path(loc)} is not {wanted}, but {kind_of(value)}", loc=loc)
