"""What was looked at in a store, and what is wrong with it. Torch-free: the command line reads these from a program."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was compared."""

    what: str
    """``version v3``, ``z``, ``HEAD`` and the like."""
    problem: str | None = None
    """What differs, with the file; None: nothing."""
    detail: str = ""
    """What was found where nothing differs: a digest, a count."""


def to_json(findings: Iterable[Finding]) -> str:
    """One JSON document; the inverse of ``from_json``."""
    return json.dumps([asdict(finding) for finding in findings], ensure_ascii=True)


def from_json(text: str) -> list[Finding]:
    """Read what ``to_json`` wrote."""
    return [Finding(**record) for record in json.loads(text)]
