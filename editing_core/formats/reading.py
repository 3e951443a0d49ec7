"""Reads files of edits: JSON, JSONL or CSV, in Errata's own format or a published one, recognised by its content.

Every error names the file, the line on which the record begins, and the field.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from editing_core.edits import Edit, normalise, validate_edit
from editing_core.errors import InvalidEdit, InvalidSettings
from editing_core.formats import counterfact, easyedit, own, zsre
from editing_core.formats.fields import in_words_of_file
from editing_core.formats.json_records import JSON_SUFFIXES, json_rows, kind_of
from editing_core.formats.lines import FileRecord, complaint, read_lines
from editing_core.formats.tables import table_rows

TABLE = "csv"
NUM_NAMED = 10
"""Largest number of lines to name in addition to the first invalid record."""
_WANTED: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "promote": ('"auto" or "manual"', lambda value: value in ("auto", "manual")),
    "on_failure": ('"reject" or "drop"', lambda value: value in ("reject", "drop")),
    "dry_run": ("true or false", lambda value: isinstance(value, bool)),
    "remove": (
        "a list of edits' ids",
        lambda value: isinstance(value, list) and all(_may_be_id(item) for item in value),
    ),
}
"""Further fields in a body of POST /edits, with a description of their values and a test."""


def _may_be_id(item: object) -> bool:
    return isinstance(item, str) and item.isascii() and 0 < len(item) <= own.LONGEST_ID


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How to recognise and read one kind of record."""

    fits: Callable[[Mapping[str, Any]], bool]
    parse: Callable[[Mapping[str, Any]], Edit]
    fields: Mapping[str, str] = field(default_factory=dict)
    """Paths in the record for the parts of an edit that have another name there."""


FORMS = {
    "counterfact": Form(fits=counterfact.fits, parse=counterfact.parse, fields=counterfact.FIELDS),
    "zsre": Form(fits=zsre.fits, parse=zsre.parse, fields=zsre.FIELDS),
    "zsre-alt": Form(fits=zsre.fits, parse=zsre.parse_alt, fields=zsre.ALT_FIELDS),
    "easyedit": Form(fits=easyedit.fits, parse=easyedit.parse, fields=easyedit.FIELDS),
    "errata": Form(fits=lambda record: True, parse=own.parse),
}
"""The forms, in the order in which the file's first record is tested for them."""
FORMATS = (*FORMS, TABLE)


@dataclass(frozen=True, slots=True)
class EditFile:
    """The validated edits of a file."""

    edits: tuple[dict[str, Any], ...]
    options: dict[str, Any] = field(default_factory=dict)
    """Further fields, if the file is a body of POST /edits."""


def read_edit_file(path: Path, *, form: str | None = None) -> EditFile:
    """Read and validate a file of edits. ``form``, one of FORMATS, overrides the recognised format.

    Raises InvalidSettings with file, line and field of the first error.
    """
    if form is not None and form not in FORMATS:
        raise InvalidSettings(f"format {form!r} is not one of {', '.join(FORMATS)}")
    options: dict[str, FileRecord] = {}
    edits: list[tuple[int, Edit]] = []
    unusable: list[tuple[int, InvalidSettings]] = []
    end: InvalidSettings | None = None
    chosen = None if form is None else FORMS["errata" if form == TABLE else form]
    try:
        for row in _rows(path, form, options):
            chosen = chosen or _form_of(row.value)
            try:
                edits.append((row.line, _edit(path, row, chosen)))
            except InvalidSettings as error:
                unusable.append((row.line, error))
    except InvalidSettings as error:
        end = error
    _refuse(unusable, end)
    given = _checked_options(path, options)
    if not edits and not given.get("remove"):
        raise complaint(path, None, "contains no edits")
    _refuse(_said_before(path, edits))
    return EditFile(tuple(own.as_input(edit) for _, edit in edits), given)


def _rows(path: Path, form: str | None, options: dict[str, FileRecord]) -> Iterator[FileRecord]:
    lines = read_lines(path)
    head: list[str] = []
    for line in lines:
        head.append(line)
        if line.strip():
            break
    begins = head[-1].lstrip()[:1] if head else ""
    is_json = begins in {"{", "["} or path.suffix.lower() in JSON_SUFFIXES
    is_table = form == TABLE or (form is None and not is_json)
    every = chain(head, lines)
    return table_rows(path, every) if is_table and head else json_rows(path, every, options)


def _form_of(record: object) -> Form:
    found = (form for form in FORMS.values() if isinstance(record, Mapping) and form.fits(record))
    return next(found, FORMS["errata"])


def _edit(path: Path, row: FileRecord, form: Form) -> Edit:
    if not isinstance(row.value, Mapping):
        words = f"must be an object with subject, prompt and target_new, but is {kind_of(row.value)}"
        raise complaint(path, row.line, words)
    try:
        edit = form.parse(row.value)
        validate_edit(edit)
        own.require_sizes(edit)
    except InvalidEdit as error:
        case = f" (case_id {row.value['case_id']!r})" if "case_id" in row.value else ""
        raise complaint(path, row.line, f"{in_words_of_file(error, form.fields)}{case}", loc=error.loc) from None
    return edit


def _refuse(unusable: Sequence[tuple[int, InvalidSettings]], end: InvalidSettings | None = None) -> None:
    """Raise the first error with the lines of the others, so users can fix all of them at once.

    ``end`` is the reason why the file could not be read to its end.
    """
    if not unusable:
        if end is not None:
            raise end
        return
    first, others = unusable[0][1], [str(line) for line, _ in unusable[1:]]
    message = first.detail
    if others:
        more = f" and {len(others) - NUM_NAMED} more" if len(others) > NUM_NAMED else ""
        message += f" (further invalid records begin on lines {', '.join(others[:NUM_NAMED])}{more})"
    if end is not None:
        message += f". The rest of the file was not read: {end.detail}"
    raise InvalidSettings(message, loc=first.loc)


def _checked_options(path: Path, options: Mapping[str, FileRecord]) -> dict[str, Any]:
    for name, row in options.items():
        if name not in _WANTED:
            raise complaint(path, row.line, f"unknown field {name!r} next to 'edits': use {', '.join(_WANTED)}")
        wanted, fits = _WANTED[name]
        if not fits(row.value):
            raise complaint(
                path, row.line, f"{name} must be {wanted}, but is {json.dumps(row.value)[:60]}", loc=(name,)
            )
    return {name: row.value for name, row in options.items()}


def _said_before(path: Path, edits: Sequence[tuple[int, Edit]]) -> list[tuple[int, InvalidSettings]]:
    """Return errors for edits that repeat or contradict an earlier edit. One batch cannot contain both."""
    first_at: dict[tuple[str, str], tuple[int, Edit]] = {}
    found = []
    for line, edit in edits:
        before, first = first_at.setdefault(edit.identity, (line, edit))
        if first is edit:
            continue
        if normalise(first.target_new) == normalise(edit.target_new):
            words = f"says the same of {edit.subject!r} as {path}:{before}: keep one of them"
        else:
            words = (
                f"gives {edit.subject!r} the object {edit.target_new!r}, but {path}:{before} gives it "
                f"{first.target_new!r} for the same relation: keep one of them"
            )
        found.append((line, complaint(path, line, words)))
    return found
