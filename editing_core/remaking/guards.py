"""Which guards a version that is made anew is held to: those that its edits had not broken before they were asked for.

A worker holds each version to the guards that the one before it keeps, so a guard that an edit in force contradicts
counts for nothing. Here all edits come at once onto the original, which keeps all guards.
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
    """Of the same model: those that the stored version keeps; all, where its matrices cannot be read."""
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
    """Of another model: all but those about a subject that was edited before they were asked for."""
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
    """Whether a guard is about a normalised subject; of one that names none, whether its prompt has it as a word."""
    if guard.subject is not None:
        return normalise(guard.subject) == subject
    return re.search(rf"(?<!\w){re.escape(subject)}(?!\w)", normalise(guard.prompt)) is not None
