"""Reads files of edits: JSON (a list, or the body of POST /edits), JSONL, CSV with a header, CounterFact records.

Every complaint names the file and the line or record. Knows no service and no tokenizer.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from editing_core.edits import Edit, conflicts, validate_edit
from editing_core.errors import InvalidEdit, InvalidSettings
from editing_core.evaluation.counterfact import is_counterfact, parse_record

_TEXTS = ("subject", "prompt", "target_new", "target_true", "relation", "source", "note")
_LISTS = ("paraphrases", "neighborhood")
_FLAGS = ("protect",)
_TRUTH = {"true": True, "false": False, "": False}
"""What a flag's CSV cell may say."""
_REQUIRED = ("subject", "prompt", "target_new")
_BODY_OPTIONS = ("promote", "on_failure", "dry_run", "remove")
_BETWEEN = "|"
"""Between the paraphrases, and between the neighbourhood prompts, of one CSV cell."""
_ANSWERS = "=>"
"""Between a neighbourhood prompt and its target in a CSV cell."""


@dataclass(frozen=True, slots=True)
class EditFile:
    """The edits of a file, ready to be sent."""

    edits: tuple[dict[str, Any], ...]
    options: dict[str, Any] = field(default_factory=dict)
    """Fields beside ``edits``, where the file is a body of POST /edits."""


@dataclass(frozen=True, slots=True)
class _Row:
    place: str
    record: object


def read_edit_file(path: Path) -> EditFile:
    """Read and validate a file of edits; raises InvalidSettings with file and line (or record) of what is wrong."""
    text = _read_text(path)
    options: dict[str, Any] = {}
    if path.suffix.lower() == ".csv":
        rows = list(_csv_rows(path, text))
    elif path.suffix.lower() in {".jsonl", ".ndjson"}:
        rows = list(_line_rows(path, text))
    else:
        rows, options = _json_rows(path, text)
    if not rows:
        raise InvalidSettings(f"{path}: holds no edits")
    edits = [_checked(row) for row in rows]
    for first, second in conflicts(edits):
        a, b = edits[first], edits[second]
        raise InvalidSettings(
            f"{rows[second].place}: gives {b.subject!r} the object {b.target_new!r}, "
            f"but {rows[first].place} gives it {a.target_new!r} for the same relation: keep one of them"
        )
    return EditFile(tuple(as_input(edit) for edit in edits), options)


def as_input(edit: Edit) -> dict[str, Any]:
    """The edit as POST /edits takes it: without what is not given."""
    return {name: value for name, value in edit.to_json().items() if value not in (None, [], False)}


def _read_text(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InvalidSettings(f"{path}: cannot be read: {error.strerror}") from None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise InvalidSettings(f"{path}:{line}: is not UTF-8: save the file as UTF-8") from None


def _json_rows(path: Path, text: str) -> tuple[list[_Row], dict[str, Any]]:
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":  # several documents: one a line
            return list(_line_rows(path, text)), {}
        raise InvalidSettings(f"{path}:{error.lineno}: is not JSON: {error.msg}") from None
    options: dict[str, Any] = {}
    if isinstance(document, dict) and "edits" in document:
        options = {name: value for name, value in document.items() if name != "edits"}
        unknown = sorted(set(options) - set(_BODY_OPTIONS))
        if unknown:
            raise InvalidSettings(f"{path}: unknown field {unknown[0]!r} beside 'edits': {', '.join(_BODY_OPTIONS)}")
        document = document["edits"]
    elif isinstance(document, dict):
        document = [document]
    if not isinstance(document, list):
        raise InvalidSettings(f"{path}: holds no list of edits, but {_kind(document)}")
    return [_Row(f"{path}: record {n}", record) for n, record in enumerate(document, start=1)], options


def _line_rows(path: Path, text: str) -> Iterator[_Row]:
    for n, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            yield _Row(f"{path}:{n}", json.loads(line))
        except json.JSONDecodeError as error:
            raise InvalidSettings(f"{path}:{n}: is not JSON: {error.msg} at column {error.colno}") from None


def _csv_rows(path: Path, text: str) -> Iterator[_Row]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        _check_names(header, f"{path}:1", "column")
        start = reader.line_num + 1
        for cells in reader:
            place = f"{path}:{start}"
            start = reader.line_num + 1
            if not cells:
                continue
            if len(cells) != len(header):
                raise InvalidSettings(f"{place}: has {len(cells)} cells where the header has {len(header)}")
            yield _Row(place, _of_cells(dict(zip(header, cells, strict=True))))
    except csv.Error as error:
        raise InvalidSettings(f"{path}:{reader.line_num}: is not CSV: {error}") from None


def _of_cells(cells: Mapping[str, str]) -> dict[str, Any]:
    record: dict[str, Any] = {name: text for name, text in cells.items() if name in _TEXTS and text != ""}
    record |= {name: cells[name] for name in _REQUIRED}
    record |= {name: _TRUTH.get(cells[name].strip().lower(), cells[name]) for name in _FLAGS if name in cells}
    record["paraphrases"] = list(_parts(cells.get("paraphrases", "")))
    record["neighborhood"] = []
    for part in _parts(cells.get("neighborhood", "")):
        prompt, found, target = part.partition(_ANSWERS)
        record["neighborhood"].append({"prompt": prompt.strip(), "target": target.strip() if found else None})
    return record


def _parts(cell: str) -> Iterable[str]:
    return (part.strip() for part in cell.split(_BETWEEN) if part.strip())


def _checked(row: _Row) -> Edit:
    record = row.record
    if not isinstance(record, dict):
        raise InvalidSettings(f"{row.place}: is not an object with subject, prompt and target_new, but {_kind(record)}")
    try:
        if is_counterfact(record):
            return parse_record(record).edit
        _check_types(record, row.place)
        edit = Edit.from_json(record)
        validate_edit(edit)
    except InvalidEdit as error:
        raise InvalidSettings(f"{row.place}: {error.detail}") from None
    return edit


def _check_types(record: Mapping[str, Any], place: str) -> None:
    _check_names(list(record), place, "field")
    for name in _TEXTS:
        if not isinstance(record.get(name), str | None) or (name in _REQUIRED and record[name] is None):
            raise InvalidSettings(f"{place}: {name} is not text, but {_kind(record[name])}")
    for name in _FLAGS:
        if not isinstance(record.get(name), bool | None):
            raise InvalidSettings(f"{place}: {name} is not true or false, but {_kind(record[name])}")
    _check_lists(record, place)


def _check_names(names: list[str], place: str, kind: str) -> None:
    known = (*_TEXTS, *_LISTS, *_FLAGS)
    for name in names:
        if name not in known:
            raise InvalidSettings(f"{place}: unknown {kind} {name!r}: {', '.join(known)}")
    for name in _REQUIRED:
        if name not in names:
            raise InvalidSettings(f"{place}: {kind} {name!r} is missing")
    if len(set(names)) != len(names):
        raise InvalidSettings(f"{place}: names a {kind} twice")


def _check_lists(record: Mapping[str, Any], place: str) -> None:
    paraphrases, neighborhood = (record.get(name) or [] for name in _LISTS)
    if not isinstance(paraphrases, list) or not all(isinstance(text, str) for text in paraphrases):
        raise InvalidSettings(f"{place}: paraphrases is not a list of texts")
    if not isinstance(neighborhood, list) or not all(_is_neighbor(item) for item in neighborhood):
        raise InvalidSettings(f'{place}: neighborhood is not a list of {{"prompt": text, "target": text}}')


def _is_neighbor(item: object) -> bool:
    return (
        isinstance(item, dict)
        and set(item) <= {"prompt", "target"}
        and isinstance(item.get("prompt"), str)
        and isinstance(item.get("target"), str | None)
    )


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
