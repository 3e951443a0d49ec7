"""One structured line per event: JSON for machines, a readable line on a terminal."""

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
"""What every line says at this place of the program: the request, or the unit of work and its batch."""


@contextmanager
def log_context(**ids: Any) -> Iterator[None]:
    """Add these ids to every event of the block, in this task or thread and what it awaits."""
    token = _IDS.set({**_IDS.get(), **ids})
    try:
        yield
    finally:
        _IDS.reset(token)


def context_id(name: str) -> str | None:
    """What the surrounding ``log_context`` says under this name."""
    found = _IDS.get().get(name)
    return None if found is None else str(found)


def of_requests(requests: Iterable[str | None]) -> dict[str, Any]:
    """Ids for ``log_context`` of work that HTTP requests asked for: ``request``, or ``requests`` of several."""
    known = [request for request in requests if request is not None]
    if len(known) > 1:
        return {"requests": known}
    return {"request": known[0]} if known else {}


def log_event(logger: logging.Logger, event: str, *, level: int = logging.INFO, **fields: Any) -> None:
    """Log ``event`` with its ids and figures; a running exception is added with ``level`` ERROR."""
    if logger.isEnabledFor(level):
        exc_info = level >= logging.ERROR and sys.exc_info()[0] is not None
        logger.log(level, event, extra={FIELDS: {**_IDS.get(), **fields}}, exc_info=exc_info)


def start_logging(level: str, *, form: Literal["auto", "json", "text"] = "auto", stream: TextIO | None = None) -> None:
    """Send every log line of this process to ``stream`` (standard error); called once, by each process's root."""
    stream = stream if stream is not None else sys.stderr
    handler = logging.StreamHandler(stream)
    as_text = form == "text" or (form == "auto" and stream.isatty())
    handler.setFormatter(TextLines() if as_text else JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())


class JsonLines(logging.Formatter):
    """``{"time", "level", "logger", "event", …}``."""

    def format(self, record: logging.LogRecord) -> str:
        """One line of JSON."""
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
    """``12:00:01 event key=value``, with a level when it matters."""

    def format(self, record: logging.LogRecord) -> str:
        """One readable line, and a traceback below it."""
        level = "" if record.levelno <= logging.INFO else f"{record.levelname} "
        pairs = "".join(f" {name}={value}" for name, value in _fields(record).items())
        line = f"{_time(record):%H:%M:%S} {level}{record.getMessage()}{pairs}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """Ids and figures; a line of a library gets the ids of the place too."""
    return {**_IDS.get(), **getattr(record, FIELDS, {})}


def _time(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)
