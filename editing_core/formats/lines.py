"""Reads a file as lines of text in one pass, and creates errors that name file and line.

Files are UTF-8, with or without a byte order mark. This module does not depend on any format.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from editing_core.errors import InvalidSettings

MOST_BYTES = 1 << 30
"""Largest size of a file of edits."""
Location = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One record of a file, before validation, and the line on which it begins."""

    line: int
    value: Any


def complaint(path: Path, line: int | None, words: str, *, loc: Location = ()) -> InvalidSettings:
    """Return the error to raise, with the file and, if known, the line."""
    place = str(path) if line is None else f"{path}:{line}"
    return InvalidSettings(f"{place}: {words}", loc=loc)


def field_path(loc: Location) -> str:
    """Return the location as text: ("neighborhood", 0, "prompt") is ``neighborhood[0].prompt``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc).removeprefix(".")


def read_lines(path: Path, *, max_bytes: int = MOST_BYTES) -> Iterator[str]:
    """Yield the lines with their line ends.

    Raises InvalidSettings if one is not UTF-8 or the file has more than ``max_bytes``.
    """
    num_bytes = 0
    try:
        with path.open("rb") as file:
            for number in count(1):
                raw = file.readline(max_bytes + 1 - num_bytes)
                if not raw:
                    return
                num_bytes += len(raw)
                if num_bytes > max_bytes:
                    raise complaint(path, number, f"the file is larger than {max_bytes >> 20} MiB: split it")
                yield _decoded(path, number, raw)
    except OSError as error:
        raise complaint(path, None, f"cannot be read: {error.strerror}") from None


def _decoded(path: Path, number: int, raw: bytes) -> str:
    try:
        return raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise complaint(path, number, f"is not UTF-8 at byte {error.start + 1}: save the file as UTF-8") from None
