"""Several facts about one subject against as many about different ones: both should hold equally well."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from editing_core.demo.facts import load_facts, load_relations
from editing_core.edits import Edit
from editing_core.measuring.metrics import Metrics, evaluate_cases, summarise
from editing_core.models.views import make_view
from tests.benchmarks.workplace import Workplace, as_accepted

RELATIONS = ("native_language", "birth_city", "field")
OF_PERSONS = (*RELATIONS, "instrument", "sport")
NUM_SUBJECTS = 30
SEED = 0


@dataclass(frozen=True, slots=True)
class GroupQuality:
    """What was measured."""

    grouped: Metrics
    """30 subjects with 3 facts each."""
    alone: Metrics
    """90 subjects with one."""


def measure_groups(place: Workplace) -> GroupQuality:
    """Edit a demo model with either set and score both."""
    rng = random.Random(SEED)
    persons = sorted({fact.subject for fact in load_facts() if fact.relation in OF_PERSONS})
    drawn = rng.sample(persons, NUM_SUBJECTS * len(RELATIONS))
    grouped = [_edit(rng, subject, relation) for subject in drawn[:NUM_SUBJECTS] for relation in RELATIONS]
    alone = [_edit(rng, subject, RELATIONS[i % len(RELATIONS)]) for i, subject in enumerate(drawn)]
    return GroupQuality(_scored(place, grouped), _scored(place, alone))


def _edit(rng: random.Random, subject: str, relation: str) -> Edit:
    known = {fact.object for fact in load_facts() if (fact.subject, fact.relation) == (subject, relation)}
    objects = sorted({fact.object for fact in load_facts() if fact.relation == relation})
    old = min(known) if known else rng.choice(objects)
    prompt, *others = load_relations()[relation].phrasings
    return Edit(
        subject=subject,
        prompt=prompt,
        target_new=rng.choice([name for name in objects if name not in known | {old}]),
        target_true=old,
        relation=relation,
        paraphrases=tuple(others),
    )


def _scored(place: Workplace, edits: Sequence[Edit]) -> Metrics:
    accepted = as_accepted(edits)
    with tempfile.TemporaryDirectory() as folder:
        editor = place.editor(Path(folder))
        editor.compute_targets(accepted, live=accepted)
        view = make_view(place.loaded.model, editor.build(accepted).weights)
    return summarise(evaluate_cases(view, place.loaded.tokenizer, [(edit, ()) for edit in edits]))
