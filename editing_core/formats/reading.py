"""From a file to edits that can be sent: JSON, JSONL or CSV, in Errata's own form or another's, told by the content.

Every complaint names the file, the line on which the record begins, and the field.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from editing_core.edits import Edit, conflicts, validate_edit
from editing_core.errors import InvalidEdit, InvalidSettings
from editing_core.formats import counterfact, easyedit, own, zsre
from editing_core.formats.fields import told
from editing_core.formats.json_records import JSON_SUFFIXES, json_rows, kind_of
from editing_core.formats.lines import Row, complaint, read_lines
from editing_core.formats.tables import table_rows

TABLE = "csv"
NUM_NAMED = 10
"""Lines of records that cannot be used, beside the first."""
BODY_OPTIONS = ("promote", "on_failure", "dry_run", "remove")
"""Fields beside ``edits`` in a body of POST /edits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How one kind of record is known and read."""

    fits: Callable[[Mapping[str, Any]], bool]
    parse: Callable[[Mapping[str, Any]], Edit]
    fields: Mapping[str, str] = field(default_factory=dict)
    """Where a part of the edit stands in the record, where that is not its own name."""


FORMS = {
    "counterfact": Form(fits=counterfact.fits, parse=counterfact.parse, fields=counterfact.FIELDS),
    "zsre": Form(fits=zsre.fits, parse=zsre.parse, fields=zsre.FIELDS),
    "zsre-alt": Form(fits=zsre.fits, parse=zsre.parse_alt, fields=zsre.ALT_FIELDS),
    "easyedit": Form(fits=easyedit.fits, parse=easyedit.parse, fields=easyedit.FIELDS),
    "errata": Form(fits=lambda record: True, parse=own.parse),
}
"""In the order in which they are tried on the file's first record."""
FORMATS = (*FORMS, TABLE)


@dataclass(frozen=True, slots=True)
class EditFile:
    """The edits of a file, ready to be sent."""

    edits: tuple[dict[str, Any], ...]
    options: dict[str, Any] = field(default_factory=dict)
    """Fields beside ``edits``, where the file is a body of POST /edits."""


def read_edit_file(path: Path, *, form: str | None = None) -> EditFile:
    """Read and validate a file of edits; ``form``, one of FORMATS, wins over what the content says.

    Raises InvalidSettings with file, line and field of what is wrong.
    """
    if form is not None and form not in FORMATS:
        raise InvalidSettings(f"format {form!r} is not one of {', '.join(FORMATS)}")
    options: dict[str, Any] = {}
    lines: list[int] = []
    edits: list[Edit] = []
    unusable: list[tuple[int, InvalidSettings]] = []
    chosen = None if form is None else FORMS["errata" if form == TABLE else form]
    for row in _rows(path, form, options):
        chosen = chosen or _form_of(row.value)
        try:
            edits.append(_edit(path, row, chosen))
            lines.append(row.line)
        except InvalidSettings as error:
            unusable.append((row.line, error))
    _refuse(unusable)
    _check_options(path, options)
    if not edits and not options.get("remove"):
        raise complaint(path, None, "holds no edits")
    _refuse_conflicts(path, edits, lines)
    return EditFile(tuple(own.as_input(edit) for edit in edits), options)


def _rows(path: Path, form: str | None, options: dict[str, Any]) -> Iterator[Row]:
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


def _edit(path: Path, row: Row, form: Form) -> Edit:
    if not isinstance(row.value, Mapping):
        words = f"is not an object with subject, prompt and target_new, but {kind_of(row.value)}"
        raise complaint(path, row.line, words)
    try:
        edit = form.parse(row.value)
        validate_edit(edit)
    except InvalidEdit as error:
        case = f" (case_id {row.value['case_id']!r})" if "case_id" in row.value else ""
        raise complaint(path, row.line, f"{told(error, form.fields)}{case}", loc=error.loc) from None
    return edit


def _refuse(unusable: list[tuple[int, InvalidSettings]]) -> None:
    """Raise the first complaint, with the lines of the others, so that all can be mended at once."""
    if not unusable:
        return
    first, others = unusable[0][1], [str(line) for line, _ in unusable[1:]]
    if not others:
        raise first
    more = f" and {len(others) - NUM_NAMED} more" if len(others) > NUM_NAMED else ""
    told = f" (records that cannot be used begin also on the lines {', '.join(others[:NUM_NAMED])}{more})"
    raise InvalidSettings(first.detail + told, loc=first.loc)


def _check_options(path: Path, options: Mapping[str, Any]) -> None:
    for name in options:
        if name not in BODY_OPTIONS:
            raise complaint(path, None, f"unknown field {name!r} beside 'edits': {', '.join(BODY_OPTIONS)}")


def _refuse_conflicts(path: Path, edits: list[Edit], lines: list[int]) -> None:
    for first, second in conflicts(edits):
        a, b = edits[first], edits[second]
        raise complaint(
            path,
            lines[second],
            f"gives {b.subject!r} the object {b.target_new!r}, but {path}:{lines[first]} gives it {a.target_new!r} for "
            "the same relation: keep one of them",
        )
