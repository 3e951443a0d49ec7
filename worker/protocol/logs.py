"""Structured logs: one line per event, as JSON or as text on a terminal."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Literal, TextIO

from editing_core.clock import timestamp

FIELDS = "errata_fields"


_IDS: ContextVar[Mapping[str, Any]] = ContextVar("ids", default=MappingProxyType({}))
"""Ids that are added to every line: the request, or the unit of work and its batch."""


@contextmanager
def log_context(**ids: Any) -> Iterator[None]:
    """Add these ids to every event within the block, in the current task or thread."""
    token = _IDS.set({**_IDS.get(), **ids})
    try:
        yield
    finally:
        _IDS.reset(token)


def context_id(name: str) -> str | None:
    """Return the value of ``name`` in the surrounding ``log_context``."""
    found = _IDS.get().get(name)
    return None if found is None else str(found)


def of_requests(requests: Iterable[str | None]) -> dict[str, Any]:
    """Return ids for ``log_context`` of work for HTTP requests: ``request``, or ``requests`` for several."""
    known = [request for request in requests if request is not None]
    if len(known) > 1:
        return {"requests": known}
    return {"request": known[0]} if known else {}


def log_event(logger: logging.Logger, event: str, *, level: int = logging.INFO, **fields: Any) -> None:
    """Log ``event`` with fields. At level ERROR and above, add the current exception."""
    if logger.isEnabledFor(level):
        exc_info = level >= logging.ERROR and sys.exc_info()[0] is not None
        logger.log(level, event, extra={FIELDS: {**_IDS.get(), **fields}}, exc_info=exc_info)


def start_logging(level: str, *, form: Literal["auto", "json", "text"] = "auto", stream: TextIO | None = None) -> None:
    """Send the log lines of this process to ``stream`` (default: standard error). Call it once per process."""
    stream = stream if stream is not None else sys.stderr
    handler = logging.StreamHandler(stream)
    as_text = form == "text" or (form == "auto" and stream.isatty())
    handler.setFormatter(TextLines() if as_text else JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())


class JsonLines(logging.Formatter):
    """Formats events as JSON: ``{"time", "level", "logger", "event", …}``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a line of JSON."""
        line: dict[str, Any] = {
            "time": timestamp(_time(record)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class TextLines(logging.Formatter):
    """Formats events as ``12:00:01 event key=value``, with the level at WARNING and above."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a readable line, with a traceback below it."""
        level = "" if record.levelno <= logging.INFO else f"{record.levelname} "
        pairs = "".join(f" {name}={value}" for name, value in _fields(record).items())
        line = printable(f"{_time(record):%H:%M:%S} {level}{record.getMessage()}{pairs}")
        if not record.exc_info:
            return line
        below = self.formatException(record.exc_info).split("\n")
        return "\n".join([line, *(f"  {printable(part)}" for part in below)])


def printable(line: str) -> str:
    """Return the text with escapes for everything that ends a line or that a terminal would act on."""
    return line if line.isprintable() else "".join(char if char.isprintable() else repr(char)[1:-1] for char in line)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """Return the fields. Lines from libraries also get the ids of the context."""
    return {**_IDS.get(), **getattr(record, FIELDS, {})}


def _time(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)
