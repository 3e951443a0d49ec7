"""Output of the commands, and the exit codes that scripts rely on.

Results go to stdout, everything else to stderr. This module does not depend on any command.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import Any

from pydantic import BaseModel
from rich.console import Console
from rich.table import Table
from rich.text import Text

_WIDTH_OF_A_FILE = 140


class ExitCode(IntEnum):
    """Result of a command; ``errata --help`` documents the codes."""

    OK = 0
    FAILED = 1
    """The operation did not succeed: for example, a batch was rejected or failed."""
    USAGE = 2
    """Options, settings or input files are wrong; nothing was sent."""
    UNREACHABLE = 3
    """The service did not answer."""
    REFUSED = 4
    """The service answered with a problem."""
    INTERRUPTED = 130


class CommandFailed(Exception):
    """A command did not succeed. The text is printed as one line on stderr."""

    def __init__(self, message: str, code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(message)
        self.code = code


def stdout() -> Console:
    """Return a console for results. Output to a file is wide, so cells are not wrapped."""
    width = None if sys.stdout.isatty() else _WIDTH_OF_A_FILE
    return Console(file=sys.stdout, width=width, highlight=False, markup=False, emoji=False)


def stderr() -> Console:
    """Return a console for progress and messages."""
    return Console(file=sys.stderr, highlight=False, markup=False, emoji=False)


def complain(message: str) -> None:
    """Print an error as one line on stderr."""
    print(f"errata: {printable(' '.join(message.split()))}", file=sys.stderr)


def print_json(value: object) -> None:
    """Print one JSON document for scripts."""
    print(json.dumps(_plain(value), ensure_ascii=True, indent=2))


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None) -> Table:
    """Return a table; None becomes an empty cell."""
    made = Table(*columns, title=title, title_justify="left", header_style="bold")
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else printable(_cell(cell)) for cell in row))
    return made


def printable(text: str) -> str:
    """Escape invalid Unicode, control characters and characters that the terminal cannot show."""
    safe = text.encode("utf-8", "backslashreplace").decode()
    safe = "".join(char if char.isprintable() or char == "\n" else repr(char)[1:-1] for char in safe)
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return safe.encode(encoding, "backslashreplace").decode(encoding)


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _plain(value: object) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
