"""Findings about the files of a store. Torch-free: the command line reads them from a program's output."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Result of one comparison."""

    what: str
    """The compared part, such as ``version v3``, ``z`` or ``HEAD``."""
    problem: str | None = None
    """The difference, with the file; None if nothing differs."""
    detail: str = ""
    """The value if nothing differs, such as a digest or a count."""


def to_json(findings: Iterable[Finding]) -> str:
    """Return one JSON document; the inverse of ``from_json``."""
    return json.dumps([asdict(finding) for finding in findings], ensure_ascii=True)


def from_json(text: str) -> list[Finding]:
    """Read the document of ``to_json``."""
    return [Finding(**record) for record in json.loads(text)]
