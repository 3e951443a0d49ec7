"""Turns guards into facts that can be scored, and splits neighbours into protected and unprotected ones.

Knows no limits.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from editing_core.asking.scoring import prompt_ids
from editing_core.checks.verdict import Share
from editing_core.errors import ErrataError
from editing_core.guards import AcceptedGuard
from editing_core.memit.tokens import target_ids


@dataclass(frozen=True, slots=True)
class Fact:
    """A prompt and the answer that the model must give."""

    name: str
    prompt: str
    target: str

    @property
    def pair(self) -> tuple[str, str]:
        """The prompt and the target, for scoring."""
        return self.prompt, self.target


def guarded_facts(model: nn.Module, tokenizer: Any, guards: Iterable[AcceptedGuard]) -> tuple[Fact, ...]:
    """The guards that fit the model's context."""
    return tuple(
        Fact(f"{accepted.id} ({accepted.guard.prompt} → {accepted.guard.target})", guard.prompt, guard.target)
        for accepted in guards
        for guard in [accepted.guard]
        if _fits(model, tokenizer, guard.prompt, guard.target)
    )


def _fits(model: nn.Module, tokenizer: Any, prompt: str, target: str) -> bool:
    try:
        prompt_ids(model, tokenizer, prompt, num_new=len(target_ids(tokenizer, prompt, target)))
    except ErrataError:
        return False
    return True


def mark_protected(reports: Mapping[str, dict[str, Any]], protected: Collection[str]) -> dict[str, dict[str, Any]]:
    """Mark the neighbours that the solve protected in each edit's report. Returns the shares of both kinds."""
    counts = {kind: [0, 0] for kind in ("protected", "unprotected")}
    for report in reports.values():
        own = report["neighbors"]
        for neighbor in own["prompts"]:
            neighbor["protected"] = neighbor["prompt"] in protected
            count = counts["protected" if neighbor["protected"] else "unprotected"]
            count[0] += neighbor["kept"]
            count[1] += 1
        mine = [neighbor for neighbor in own["prompts"] if neighbor["protected"]]
        own["protected"] = {"kept": sum(neighbor["kept"] for neighbor in mine), "total": len(mine)}
    return {kind: Share(kept, total).to_json() for kind, (kept, total) in counts.items()}
