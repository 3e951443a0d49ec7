"""Reads and writes CSV: a header with Errata's own names, then one edit per row.

The header shows whether commas, semicolons or tabs separate the columns. An empty cell is a missing value. A cell of
``paraphrases`` or ``neighborhood`` is a JSON list, or texts separated by ``|`` (a neighbour's target follows ``=>``).
These two columns may occur several times; their cells are joined.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from editing_core.edits import Edit
from editing_core.errors import InvalidEdit
from editing_core.formats.lines import MOST_BYTES, FileRecord, complaint
from editing_core.formats.own import FLAGS, LISTS, NAMES, REQUIRED, as_input, check_names

DELIMITERS = (",", ";", "\t")
_TRUTH = {"true": True, "false": False}
"""Cell values of a flag."""
_BETWEEN = "|"
_ANSWERS = "=>"
"""Separates a neighbour's prompt from its target."""


def table_rows(path: Path, lines: Iterable[str]) -> Iterator[FileRecord]:
    """Yield records as ``own.parse`` reads them. Raises InvalidSettings with the line on which the row begins."""
    csv.field_size_limit(MOST_BYTES)
    lines, blank, first = iter(lines), 0, ""
    for first in lines:
        if first.strip():
            break
        blank += 1
    else:
        return
    reader = csv.reader(_again(first, lines), delimiter=_delimiter(first), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        _check_header(path, blank + 1, header)
        line = blank + reader.line_num + 1
        for cells in reader:
            if cells:
                yield FileRecord(line, _record(path, line, header=header, cells=cells))
            line = blank + reader.line_num + 1
    except csv.Error as error:
        raise complaint(path, blank + reader.line_num, f"is not CSV: {error}") from None


def write_table(edits: Iterable[Edit]) -> str:
    """Return the edits as CSV. Reading it gives the same edits."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(NAMES)
    for edit in edits:
        given = as_input(edit)
        lists = {name: json.dumps(given[name], ensure_ascii=False) for name in LISTS if name in given}
        writer.writerow([(given | lists).get(name, "") for name in NAMES])
    return text.getvalue()


def _again(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _delimiter(header: str) -> str:
    """Return the delimiter that splits the header into the most known names."""

    def num_known(delimiter: str) -> int:
        return sum(cell.strip(' \r\n"') in NAMES for cell in header.split(delimiter))

    return max(DELIMITERS, key=num_known)


def _check_header(path: Path, line: int, header: Sequence[str]) -> None:
    try:
        check_names(header, "column")
    except InvalidEdit as error:
        raise complaint(path, line, error.detail, loc=error.loc) from None
    for name in header:
        if name not in LISTS and header.count(name) > 1:
            raise complaint(path, line, f"names the column {name!r} twice", loc=(name,))


def _record(path: Path, line: int, *, header: Sequence[str], cells: Sequence[str]) -> dict[str, Any]:
    if len(cells) != len(header):
        raise complaint(path, line, f"has {len(cells)} cells, but the header has {len(header)}")
    record: dict[str, Any] = {}
    for number, (name, cell) in enumerate(zip(header, cells, strict=True), start=1):
        if name in LISTS:
            try:
                record[name] = [*record.get(name, ()), *_items(name, cell)]
            except InvalidEdit as error:
                raise complaint(path, line, f"column {number} ({name}): {error.detail}", loc=(name,)) from None
        elif cell != "" or name in REQUIRED:
            record[name] = _TRUTH.get(cell.strip().lower(), cell) if name in FLAGS else cell
    return record


def _items(name: str, cell: str) -> list[Any]:
    if cell.lstrip().startswith("["):
        try:
            found: list[Any] = json.loads(cell)
        except (ValueError, RecursionError):
            raise InvalidEdit(f"begins with [ but is not a JSON list: {cell[:60]!r}") from None
        return found
    parts = [part.strip() for part in cell.split(_BETWEEN) if part.strip()]
    return [*parts] if name == "paraphrases" else [_neighbor(part) for part in parts]


def _neighbor(part: str) -> dict[str, str | None]:
    prompt, found, target = part.partition(_ANSWERS)
    return {"prompt": prompt.strip(), "target": target.strip() if found else None}
