"""The unit of a search for z: all live edits about one subject (MEMIT.md, part 6), and the name of its result.

Does not import torch. Knows edits and settings, no weights.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from editing_core.edits import AcceptedEdit, canonical, normalise


@dataclass(frozen=True, slots=True)
class SubjectGroup:
    """Edits about one normalised subject, in canonical order; they share one δ."""

    edits: tuple[AcceptedEdit, ...]

    def target_key(self, *, model: str, contexts: Sequence[str], settings: Mapping[str, Any]) -> str:
        """Return the name of the group's z: a hash of everything that changes the number.

        ``settings``: ``MemitConfig.target_settings()``, which is the same for all groups.
        """
        record = {
            "model": model,
            "contexts": list(contexts),
            "settings": settings,
            "edits": [[e.edit.subject, e.edit.prompt, e.edit.target_new] for e in self.edits],
        }
        if len(self.edits) > 1:
            record["clamp"] = "grows with the root of the number of edits"
        return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def subject_groups(live: Iterable[AcceptedEdit]) -> tuple[SubjectGroup, ...]:
    """Group a live set by subject, in canonical order of the groups' first edits."""
    by_subject: dict[str, list[AcceptedEdit]] = {}
    for accepted in canonical(live):
        by_subject.setdefault(normalise(accepted.edit.subject), []).append(accepted)
    return tuple(SubjectGroup(tuple(edits)) for edits in by_subject.values())
