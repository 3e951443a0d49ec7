"""The copy of the audit chain on disk: one line of JSON per entry, appended and synced, never changed.

The copy outlives Redis: a rebuilt ledger continues the chain at the end of the copy. Entries from the last seconds
before a loss may be missing. If the chain in Redis does not continue the copy, the copy is kept under another name.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from editing_core.durable import locked, sync
from editing_core.versions.layout import StoreLayout
from worker.protocol.audit.chain import BEGINNING, follow_on, make_line, read_line, valid_part
from worker.protocol.audit.notes import notes_in
from worker.protocol.audit.signatures import sign_copy, signatures_of
from worker.protocol.ledger.ledger import Ledger
from worker.protocol.logs import log_event
from worker.protocol.signing import SigningKey

LOGGER = logging.getLogger(__name__)
TAIL_BYTES = 1 << 20
"""Upper bound on the size of an entry."""


def copy_audit(ledger: Ledger, layout: StoreLayout, *, key: SigningKey | None = None) -> int:
    """Append the entries that the copy lacks, sign them with ``key`` if there is one, and return their number."""
    layout.root.mkdir(parents=True, exist_ok=True)
    with locked(layout.root):
        number, before = _end_of(layout.audit_file)
        if not _continues(ledger, number, before):
            _set_aside(ledger, layout, number)
            number = 0
        count = _append(layout.audit_file, ledger.audit.lines(after=number, until=ledger.audit.length()))
        if key is not None:
            sign_copy(layout.audit_file, key)
        return count


def copy_notes(ledger: Ledger, layout: StoreLayout) -> None:
    """Add the notes that were made without Redis to the chain, each once."""
    for path, note in notes_in(layout.notes_dir):
        ledger.audit.note(note["what"], who=note["who"], note=path.stem, **note["fields"])
        path.unlink(missing_ok=True)


def read_copy(layout: StoreLayout) -> list[str]:
    """Return the lines of the copy, without an incomplete last line."""
    if not layout.audit_file.exists():
        return []
    return [line for line in layout.audit_file.read_text(encoding="utf-8").split("\n")[:-1] if line]


def rejoined(copy: Sequence[str], present: Sequence[str], *, at: str, version: str, revision: int) -> list[str]:
    """Return the chain of a rebuilt ledger: the copy, an entry for the rebuild, then the entries only Redis has."""
    base = list(valid_part(copy))
    number, before = (len(base), read_line(base[-1]).hash) if base else (0, BEGINNING)
    fields = {"version": version, "revision": revision, "entries_before": number}
    mark = make_line(number + 1, before, at=at, what="ledger.rebuilt", who="worker", fields=fields)
    known = set(base)
    beyond = [line for line in present if line not in known]
    return [*base, mark, *follow_on(beyond, number=number + 1, before=read_line(mark).hash)]


def _continues(ledger: Ledger, number: int, before: str) -> bool:
    if number <= 0:
        return number == 0
    held = next(ledger.audit.lines(after=number - 1, until=number), None)
    return held is not None and read_line(held).hash == before


def _set_aside(ledger: Ledger, layout: StoreLayout, number: int) -> None:
    aside = next(
        path for path in (layout.root / f"audit-{number}-{i}.jsonl" for i in range(1, 10_000)) if not path.exists()
    )
    if (signatures := signatures_of(layout.audit_file)).exists():
        signatures.rename(signatures_of(aside))
    layout.audit_file.rename(aside)
    sync(layout.root)
    log_event(LOGGER, "audit.set_aside", level=logging.ERROR, file=aside.name, num_entries=number)
    ledger.audit.note("audit.set_aside", who="worker", file=aside.name, num_entries=number)


def _append(path: Path, lines: Iterator[str]) -> int:
    count = 0
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab") as file:
        for line in lines:
            file.write(line.encode() + b"\n")
            count += 1
        if count:
            file.flush()
            os.fsync(file.fileno())
    if count:
        sync(path.parent)
    return count


def _end_of(path: Path) -> tuple[int, str]:
    """Return number and hash of the last entry, and cut off an incomplete line that a crash left behind it."""
    if not path.exists():
        return 0, BEGINNING
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        start = max(0, size - TAIL_BYTES)
        file.seek(start)
        tail = file.read()
        whole = tail.rfind(b"\n") + 1
        if whole < len(tail):
            file.truncate(start + whole)
    last = tail[:whole].rstrip(b"\n").rpartition(b"\n")[2]
    try:
        entry = read_line(last.decode())
    except ValueError:
        return (0, BEGINNING) if not last else (-1, "")
    return entry.number, entry.hash
