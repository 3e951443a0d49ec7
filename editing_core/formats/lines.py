"""A file as lines of text, read once from first to last, and complaints that name file and line.

UTF-8, with or without a byte order mark. Knows no format.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from editing_core.errors import InvalidSettings

MOST_BYTES = 1 << 30
"""Of one file: what is read here is meant to be edited into a model."""
Location = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One record of a file, not looked at yet, and the line on which it begins."""

    line: int
    value: Any


def complaint(path: Path, line: int | None, words: str, *, loc: Location = ()) -> InvalidSettings:
    """What is wrong, with the file and, where it is known, the line."""
    place = str(path) if line is None else f"{path}:{line}"
    return InvalidSettings(f"{place}: {words}", loc=loc)


def field_path(loc: Location) -> str:
    """``neighborhood[0].prompt`` of ("neighborhood", 0, "prompt")."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc).removeprefix(".")


def read_lines(path: Path) -> Iterator[str]:
    """The file's lines with their ends; raises InvalidSettings for one that is not UTF-8, and for too large a file."""
    num_bytes = 0
    try:
        with path.open("rb") as file:
            for number in count(1):
                raw = file.readline(MOST_BYTES + 1 - num_bytes)
                if not raw:
                    return
                num_bytes += len(raw)
                if num_bytes > MOST_BYTES:
                    raise complaint(path, number, f"the file is larger than {MOST_BYTES >> 20} MiB: cut it into parts")
                yield _decoded(path, number, raw)
    except OSError as error:
        raise complaint(path, None, f"cannot be read: {error.strerror}") from None


def _decoded(path: Path, number: int, raw: bytes) -> str:
    try:
        return raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise complaint(path, number, f"is not UTF-8 at byte {error.start + 1}: save the file as UTF-8") from None
