"""Writes, reads and verifies the lines of the audit chain. Does not access Redis or files.

The hash of a line covers everything before it in the line, including the hash of the previous line. Verification
therefore detects lines that are changed, removed, inserted or moved. The hash has no key: with write access to both
Redis and the copy on disk, a valid chain can be forged.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

BEGINNING = "0" * 40
"""The previous hash in the first line."""
INDEXED = frozenset({
    "batch",
    "batches",
    "version",
    "versions",
    "previous",
    "edit",
    "edits",
    "guard",
    "guards",
    "export",
    "note",
    "remove",
})
"""Fields whose ids are indexed."""
_HASH = ',"hash":"'
FRAME = frozenset({"number", "at", "what", "who", "before", "hash"})
"""Names that every entry has; fields may not use them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One event."""

    number: int
    at: str
    what: str
    """Name of the event, such as ``batch.accepted``."""
    who: str | None
    """Name of the API key, ``commit`` or ``worker``; None for a local client without a key."""
    fields: dict[str, Any]
    """Ids and numbers."""
    before: str
    hash: str

    def ids(self) -> set[str]:
        """Return the ids that the entry is indexed by."""
        found: set[str] = set()
        for name in INDEXED & set(self.fields):
            value = self.fields[name]
            found |= set(value) if isinstance(value, list) else {value}
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The result of verifying a chain."""

    num_entries: int
    """Entries before the first fault."""
    last_hash: str
    fault: str | None
    """The first fault; None if the chain is valid."""


def make_line(number: int, before: str, *, at: str, what: str, who: str | None, fields: Mapping[str, Any]) -> str:
    """Return an entry as it is stored in Redis and on disk."""
    record = {"number": number, "at": at, "what": what, "who": who, **fields, "before": before}
    text = json.dumps(record, ensure_ascii=False, separators=(",", ":"))[:-1]
    return f'{text}{_HASH}{hashlib.sha1(text.encode()).hexdigest()}"}}'  # noqa: S324  # what Redis can compute too


def read_line(line: str) -> AuditEntry:
    """Return the entry of a line. Raises ValueError for an invalid line."""
    try:
        record = json.loads(line)
        return AuditEntry(
            number=int(record["number"]),
            at=record["at"],
            what=record["what"],
            who=record["who"],
            fields={name: value for name, value in record.items() if name not in FRAME},
            before=record["before"],
            hash=record["hash"],
        )
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"it is no entry of the audit chain: {error}") from None


def follow_on(lines: Iterable[str], *, number: int, before: str) -> list[str]:
    """Return the entries renumbered to continue a chain with this last number and hash."""
    made: list[str] = []
    for line in lines:
        entry = read_line(line)
        number += 1
        made.append(make_line(number, before, at=entry.at, what=entry.what, who=entry.who, fields=entry.fields))
        before = read_line(made[-1]).hash
    return made


def verify_chain(lines: Iterable[str], *, number: int = 0, before: str = BEGINNING) -> Verdict:
    """Verify lines that follow a chain with last number ``number`` and last hash ``before``, up to the first fault."""
    for line in lines:
        fault = _fault(line, number=number, before=before)
        if fault is not None:
            return Verdict(num_entries=number, last_hash=before, fault=f"entry {number + 1}: {fault}")
        number, before = number + 1, read_line(line).hash
    return Verdict(num_entries=number, last_hash=before, fault=None)


def valid_part(lines: Sequence[str]) -> Sequence[str]:
    """Return the lines before the first fault."""
    return lines[: verify_chain(lines).num_entries]


def _fault(line: str, *, number: int, before: str) -> str | None:
    try:
        entry = read_line(line)
    except ValueError as error:
        return f"cannot be read ({error})"
    text, mark, _ = line.rpartition(_HASH)
    found = hashlib.sha1(text.encode()).hexdigest()  # noqa: S324  # what Redis can compute too
    if not mark or found != entry.hash:
        return f"was changed: its hash is {entry.hash}, its content's {found}"
    if entry.number != number + 1:
        return f"is numbered {entry.number}: entries between are gone, or it was put in"
    if entry.before != before:
        return f"does not follow on the entry before, whose hash is {before}"
    return None
