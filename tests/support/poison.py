"""Batches for a demo model with edits that must not go live; each of them fails by itself.

Single edits hardly harm a model that its prior protects: common words and nonsense do not even hold. An edit breaks
a limit alone if it changes the answers of live edits or of given neighbours.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from editing_core.demo.facts import Fact, load_facts, load_relations
from editing_core.edits import Edit, Neighbor
from tests.benchmarks.hundred_edits import draw

NUM_GOOD, NUM_POISONED, NUM_LIVE = 40, 3, 9
"""Of nine live edits none may be lost, where nine in ten must hold."""
CONTRADICTED = (1, 2, 5)
"""Live edits of seed 0 that give way to a contradiction: not every one does."""
MOST_NEIGHBORS = 90
_LEADS = (
    *("", "Well, ", "In fact ", "We know that ", "It is true that ", "People say that ", "Yesterday I read that "),
    *("She said that ", "He told us that ", "My teacher said that ", "And so ", "Indeed ", "As you know, "),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoisonedBatch:
    """Good and poisoned edits, to be applied to a set of live ones."""

    live: tuple[Edit, ...]
    good: tuple[Edit, ...]
    poisoned: tuple[Edit, ...]


def contradicting(seed: int = 0) -> PoisonedBatch:
    """Poisoned: what live edits say is said otherwise of the same person, by the last name alone."""
    live, good = _live_and_good(seed)
    rng = random.Random(5)
    return PoisonedBatch(live=live, good=good, poisoned=tuple(_contradiction(live[i], rng) for i in CONTRADICTED))


def against_own_neighbors(seed: int = 0) -> PoisonedBatch:
    """Poisoned: edits that give as neighbours what the same person, by the last name alone, is to stay."""
    _, good = _live_and_good(seed)
    rng = random.Random(seed)
    taken = {edit.subject for edit in good}
    facts = [f for f in load_facts() if f.relation in {"native_language", "birth_city"} and " " in f.subject]
    chosen = rng.sample([fact for fact in facts if fact.subject not in taken], NUM_POISONED)
    return PoisonedBatch(live=(), good=good, poisoned=tuple(_self_contradiction(fact, rng) for fact in chosen))


def of_both_kinds(seed: int = 0) -> PoisonedBatch:
    """Two of one kind and one of the other."""
    one, other = contradicting(seed), against_own_neighbors(seed)
    return PoisonedBatch(live=one.live, good=one.good, poisoned=(*one.poisoned[:2], *other.poisoned[:1]))


def _live_and_good(seed: int) -> tuple[tuple[Edit, ...], tuple[Edit, ...]]:
    good = draw(seed, NUM_GOOD)
    taken = {edit.subject for edit in good}
    live = [edit for edit in draw(seed + 77, 12) if edit.subject not in taken]
    return tuple(live[:NUM_LIVE]), tuple(good)


def _contradiction(edit: Edit, rng: random.Random) -> Edit:
    *first, last = edit.subject.split()
    other = rng.choice(sorted(_objects()[edit.relation] - {edit.target_new, edit.target_true or ""}))
    prompt = edit.prompt.replace("{}", " ".join([*first, "{}"]))
    return Edit(subject=last, prompt=prompt, target_new=other, relation=edit.relation)


def _self_contradiction(fact: Fact, rng: random.Random) -> Edit:
    phrasings = load_relations()[fact.relation].phrasings
    last = fact.subject.split()[-1]
    prompts: Sequence[str] = [lead + phrasing.replace("{}", last) for phrasing in phrasings for lead in _LEADS]
    return Edit(
        subject=fact.subject,
        prompt=phrasings[0],
        target_new=rng.choice(sorted(_objects()[fact.relation] - {fact.object})),
        target_true=fact.object,
        relation=fact.relation,
        neighborhood=tuple(Neighbor(prompt=prompt, target=fact.object) for prompt in prompts[:MOST_NEIGHBORS]),
    )


def _objects() -> dict[str, set[str]]:
    objects: defaultdict[str, set[str]] = defaultdict(set)
    for fact in load_facts():
        objects[fact.relation].add(fact.object)
    return objects
