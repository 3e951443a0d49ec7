"""Selects the guards that count in the checks of a rebuilt version: those not broken by an edit when they were added.

A worker checks each version for the guards that its parent keeps, so a guard that a live edit contradicts does not
count. A rebuild applies all edits at once to the original, which keeps all guards.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from editing_core.asking.scoring import score_targets
from editing_core.checks.guarded_facts import guarded_facts
from editing_core.edits import AcceptedEdit, normalise
from editing_core.guards import AcceptedGuard, Guard
from editing_core.models.load import LoadedModel
from editing_core.models.views import make_view
from editing_core.remaking.task import Source


def kept_by_stored(guards: Iterable[AcceptedGuard], source: Source, loaded: LoadedModel) -> tuple[AcceptedGuard, ...]:
    """For the same model, return the guards that the stored version keeps, or all if its matrices cannot be read."""
    asked = tuple(guards)
    stored, _ = source.tensors()
    if stored is None or not asked:
        return asked
    view = make_view(loaded.model, stored)
    facts = {accepted.id: guarded_facts(loaded.model, loaded.tokenizer, [accepted]) for accepted in asked}
    pairs = [fact.pair for found in facts.values() for fact in found]
    scores = score_targets(view, loaded.tokenizer, pairs)
    lost = {pair for pair, score in zip(pairs, scores, strict=True) if not score.greedy_match}
    return tuple(accepted for accepted in asked if not any(fact.pair in lost for fact in facts[accepted.id]))


def before_their_edits(guards: Iterable[AcceptedGuard], live: Iterable[AcceptedEdit]) -> tuple[AcceptedGuard, ...]:
    """For another model, return all guards except those about a subject that was edited before they were added."""
    edited: dict[str, str] = {}
    for accepted in live:
        subject = normalise(accepted.edit.subject)
        edited[subject] = min(accepted.created, edited.get(subject, accepted.created))
    return tuple(
        accepted
        for accepted in guards
        if not any(_is_about(accepted.guard, subject) and at <= accepted.created for subject, at in edited.items())
    )


def _is_about(guard: Guard, subject: str) -> bool:
    """Whether a guard is about a normalised subject. If it names none, its prompt must contain it as a word."""
    if guard.subject is not None:
        return normalise(guard.subject) == subject
    return re.search(rf"(?<!\w){re.escape(subject)}(?!\w)", normalise(guard.prompt)) is not None
