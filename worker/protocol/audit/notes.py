"""Notes for the audit chain, stored in the data folder by commands that run without Redis.

``errata keys`` works while no service runs. It leaves a note, and a worker adds the note to the chain within seconds.
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
    """Write a note and sync it to disk."""
    now = timestamp(utc_now())
    name = f"{now.replace(':', '').replace('.', '')}-{secrets.token_hex(4)}"
    note = {"what": what, "who": who, "fields": {"done_at": now, **fields}}
    write_once(folder / f"{name}.json", json.dumps(note, ensure_ascii=False).encode())


def notes_in(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the notes, oldest first. Unreadable notes are skipped and kept."""
    if not folder.is_dir():
        return
    for path in sorted(folder.glob("[!.]*.json")):
        try:
            note = json.loads(path.read_bytes())
            yield path, {"what": note["what"], "who": note["who"], "fields": dict(note["fields"])}
        except (ValueError, KeyError, TypeError, FileNotFoundError):
            continue
