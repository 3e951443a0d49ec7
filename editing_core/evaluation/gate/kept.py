"""Facts that held in the parent and must still hold: earlier edits and guards; and neighbours, protected or not.

Knows no limits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from editing_core.edits import AcceptedEdit
from editing_core.errors import ErrataError
from editing_core.evaluation.gate.edit_reports import Scores, score_pairs
from editing_core.evaluation.gate.verdict import Share
from editing_core.evaluation.scoring import OnRows, prompt_ids
from editing_core.guarding.guards import AcceptedGuard
from editing_core.memit.tokens import target_ids


@dataclass(frozen=True, slots=True)
class Fact:
    """A prompt and what the model is to say after it."""

    name: str
    prompt: str
    target: str

    @property
    def pair(self) -> tuple[str, str]:
        """What is scored."""
        return self.prompt, self.target


def fact_of_edit(accepted: AcceptedEdit) -> Fact:
    """What an edit asks for."""
    edit = accepted.edit
    return Fact(f"{accepted.id} ({edit.subject} → {edit.target_new})", edit.filled_prompt, edit.target_new)


def earlier_edits(
    live: Sequence[AcceptedEdit], new: Sequence[AcceptedEdit], *, limit: int, seed: int
) -> tuple[Fact, ...]:
    """Live edits that are neither new nor superseded by a new one; above the limit half oldest, half by digest."""
    new_ids, new_identities = {a.id for a in new}, {a.edit.identity for a in new}
    earlier = [a for a in live if a.id not in new_ids and a.edit.identity not in new_identities]
    earlier.sort(key=lambda accepted: (accepted.acceptance, accepted.id))
    if len(earlier) > limit:
        oldest, others = earlier[: limit // 2], earlier[limit // 2 :]
        others.sort(key=lambda accepted: hashlib.sha256(f"{seed}\0{accepted.id}".encode()).digest())
        earlier = [*oldest, *others[: limit - len(oldest)]]
    return tuple(fact_of_edit(accepted) for accepted in earlier)


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


def share_kept(
    parent: nn.Module, candidate: nn.Module, tokenizer: Any, facts: Sequence[Fact], *, batch_size: int, on_rows: OnRows
) -> tuple[Share, Scores]:
    """Of the facts that greedy decoding gives in the parent, those that it gives in the candidate; and its scores."""
    before, after = (
        score_pairs(model, tokenizer, [fact.pair for fact in facts], batch_size=batch_size, on_rows=on_rows)
        for model in (parent, candidate)
    )
    held = [fact for fact in facts if before[fact.pair].greedy_match]
    lost = tuple(fact.name for fact in held if not after[fact.pair].greedy_match)
    return Share(len(held) - len(lost), len(held), lost), after


def tell_apart(reports: Mapping[str, dict[str, Any]], protected: Collection[str]) -> dict[str, dict[str, Any]]:
    """Mark in each edit's report which neighbours the solve protected, and return both kinds' shares."""
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
