"""Reads JSON files of records: one document per line, a list, or a body of POST /edits.

A list is read record by record, so the whole list is never in memory together with its text. Each record has its line.
Unlike the library, it refuses duplicate names and NaN.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from editing_core.formats.lines import FileRecord, complaint

EDITS, REMOVE = "edits", "remove"
"""Fields of a body: the records, and the ids of edits to take out."""
LINE_SUFFIXES = frozenset({".jsonl", ".ndjson"})
JSON_SUFFIXES = LINE_SUFFIXES | {".json"}
_SPACE = re.compile(r"[ \t\r\n]*")


class _Refused(ValueError):
    """JSON that the library accepts and we refuse."""


def json_rows(path: Path, lines: Iterable[str], options: dict[str, FileRecord] | None = None) -> Iterator[FileRecord]:
    """Yield the records of a file in any of the three forms. Files with one record per line are read line by line.

    The other fields of a body go into ``options``, each with its line. Raises InvalidSettings with line and column.
    """
    rest = iter(lines)
    head: list[str] = []
    for line in rest:
        head.append(line)
        if line.strip():
            break
    if head and _is_one_a_line(path, head[-1]):
        yield from line_rows(path, chain(head, rest))
    else:
        yield from document_rows(path, "".join(chain(head, rest)), {} if options is None else options)


def _is_one_a_line(path: Path, first: str) -> bool:
    if not first.lstrip().startswith("{"):
        return False
    try:
        record = json.loads(first)
    except (ValueError, RecursionError):
        return path.suffix.lower() in LINE_SUFFIXES
    return isinstance(record, dict) and not {EDITS, REMOVE} & record.keys()


def line_rows(path: Path, lines: Iterable[str]) -> Iterator[FileRecord]:
    """Yield one document per line and skip blank lines. Raises InvalidSettings with line and column."""
    for number, line in enumerate(lines, start=1):
        if line.strip():
            scanner = _Scanner(path, line.rstrip("\r\n"), first_line=number)
            yield scanner.row()
            scanner.expect_end()


def document_rows(path: Path, text: str, options: dict[str, FileRecord]) -> Iterator[FileRecord]:
    """Yield the records of a list, of a body's ``edits``, or of consecutive objects, each with its line.

    The other fields of a body go into ``options``, each with its line. Raises InvalidSettings with line and column.
    """
    scanner = _Scanner(path, text)
    if scanner.next_is("["):
        yield from scanner.items()
        scanner.expect_end()
        return
    if scanner.next_is("{") and _is_body(scanner):
        yield from _body_rows(scanner, options)
        scanner.expect_end()
        return
    while not scanner.is_at_end:
        row = scanner.row()
        if not isinstance(row.value, dict):
            raise complaint(path, row.line, f"must be a list of edits, but is {kind_of(row.value)}")
        yield row


def first_repeated(names: Iterable[str]) -> str | None:
    """Return the first name that came before; None if all differ. Takes linear time, because names are users' text."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def kind_of(value: object) -> str:
    """Return the kind of a JSON value for error texts, such as ``a list``."""
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _is_body(scanner: _Scanner) -> bool:
    """Whether the next object is a body of edits and not an edit. Errors in it are raised later, when it is read."""
    look = _Scanner(scanner.path, scanner.text)
    for name in look.names():
        if name in {EDITS, REMOVE}:
            return True
        look.value()
    return False


def _body_rows(scanner: _Scanner, options: dict[str, FileRecord]) -> Iterator[FileRecord]:
    seen: set[str] = set()
    for name in scanner.names():
        line = scanner.line
        if name in seen:
            raise complaint(scanner.path, line, f"names the field {name!r} twice")
        seen.add(name)
        if name != EDITS:
            options[name] = FileRecord(line, scanner.value())
        elif scanner.next_is("["):
            yield from scanner.items()
        else:
            raise complaint(scanner.path, line, f"'edits' must be a list, but is {kind_of(scanner.value())}")


class _Scanner:
    """Moves through a text from value to value. The library reads the values themselves."""

    def __init__(self, path: Path, text: str, *, first_line: int = 1) -> None:
        self.path, self.text = path, text
        self._at = 0
        self._line, self._counted = first_line, 0
        self._first_line = first_line
        self._decoder = json.JSONDecoder(object_pairs_hook=_once_each, parse_constant=_refuse_constant)

    @property
    def line(self) -> int:
        """The line of the next value."""
        self._skip()
        self._line += self.text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line

    @property
    def is_at_end(self) -> bool:
        """Whether only white space is left."""
        self._skip()
        return self._at == len(self.text)

    def next_is(self, mark: str) -> bool:
        """Whether the mark comes next. The position does not move."""
        self._skip()
        return self.text.startswith(mark, self._at)

    def row(self) -> FileRecord:
        """Read the next value and return it with its line."""
        line = self.line
        return FileRecord(line, self.value())

    def value(self) -> Any:
        """Read the next value."""
        line = self.line
        try:
            value, self._at = self._decoder.raw_decode(self.text, self._at)
        except json.JSONDecodeError as error:
            raise self._not_json(error.msg, error.pos) from None
        except RecursionError:
            raise complaint(self.path, line, "is nested too deeply") from None
        except ValueError as error:
            raise complaint(self.path, line, str(error)) from None
        return value

    def items(self) -> Iterator[FileRecord]:
        """Yield the items of the next list."""
        self._take("[")
        if not self._took("]"):
            yield self.row()
            while not self._took("]"):
                self._take(",", "]")
                yield self.row()

    def names(self) -> Iterator[str]:
        """Yield the names of the next object. The caller must read each value before it asks for the next name."""
        self._take("{")
        if not self._took("}"):
            yield self._name()
            while not self._took("}"):
                self._take(",", "}")
                yield self._name()

    def expect_end(self) -> None:
        """Raise InvalidSettings if more text follows."""
        if not self.is_at_end:
            raise self._not_json("more text follows its end", self._at)

    def _name(self) -> str:
        if not self.next_is('"'):
            raise self._not_json("Expecting property name enclosed in double quotes", self._at)
        name = self.value()
        self._take(":")
        return str(name)

    def _took(self, mark: str) -> bool:
        if not self.next_is(mark):
            return False
        self._at += 1
        return True

    def _take(self, mark: str, other: str = "") -> None:
        if not self._took(mark):
            wanted = f"{mark!r} or {other!r}" if other else repr(mark)
            raise self._not_json(f"Expecting {wanted}", self._at)

    def _skip(self) -> None:
        found = _SPACE.match(self.text, self._at)
        assert found is not None, "the pattern also matches an empty text"
        self._at = found.end()

    def _not_json(self, reason: str, at: int) -> Exception:
        line = self._first_line + self.text.count("\n", 0, at)
        column = at - self.text.rfind("\n", 0, at)
        return complaint(self.path, line, f"is not JSON: {reason} at column {column}")


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        raise _Refused(f"names the field {first_repeated(name for name, _ in pairs)!r} twice")
    return record


def _refuse_constant(name: str) -> Any:
    raise _Refused(f"is not JSON: {name} is not a number")
