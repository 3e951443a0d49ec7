"""Things that were done where no Redis was at hand, left in the data folder for the audit chain.

``errata keys`` works while nothing runs: it leaves a note, and the worker puts it into the chain within seconds.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from editing_core.clock import timestamp, utc_now
from editing_core.durable import write_once


def leave_note(folder: Path, what: str, *, who: str | None, **fields: Any) -> None:
    """Leave a note; it is on disk when this returns."""
    now = timestamp(utc_now())
    name = f"{now.replace(':', '').replace('.', '')}-{secrets.token_hex(4)}"
    told = {"what": what, "who": who, "fields": {"done_at": now, **fields}}
    write_once(folder / f"{name}.json", json.dumps(told, ensure_ascii=False).encode())


def notes_in(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The notes that were left, oldest first; one that cannot be read stays where it is."""
    if not folder.is_dir():
        return
    for path in sorted(folder.glob("[!.]*.json")):
        try:
            told = json.loads(path.read_bytes())
            yield path, {"what": told["what"], "who": told["who"], "fields": dict(told["fields"])}
        except (ValueError, KeyError, TypeError, FileNotFoundError):
            continue
