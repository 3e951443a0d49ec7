"""The facts that the demo corrects: well-known facts, each with paraphrases and neighbours.

All of them come from the demo model's own table of facts. This module does not depend on the service.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from editing_core.demo.facts import Fact, Relation, load_facts, load_relations, prompt_of

_WANTED = (
    ("Hamlet", "author", "Dickens"),
    ("Notre-Dame", "landmark_city", "Rome"),
    ("Lionel Messi", "sport", "tennis"),
    ("Albert Einstein", "field", "biology"),
    ("Jaws", "director", "Hitchcock"),
    ("Kyoto", "city_country", "Italy"),
    ("Claude Monet", "birth_city", "Vienna"),
    ("blue whale", "animal_class", "birds"),
)
_NUM_PARAPHRASES = 2
_NUM_NEIGHBORS = 5


@dataclass(frozen=True, slots=True)
class Correction:
    """A true fact and the object that the demo puts in its place."""

    fact: Fact
    new_object: str
    relation: Relation
    neighbors: tuple[Fact, ...]
    """Other subjects with the same true object. The demo does not correct them."""

    @property
    def prompt(self) -> str:
        """The prompt of the edit."""
        return prompt_of(self.fact, self.relation.phrasings[0])

    @property
    def paraphrase(self) -> str:
        """Another wording, which is not part of the edit."""
        return prompt_of(self.fact, self.relation.phrasings[1])

    @property
    def neighbor_prompt(self) -> str:
        """The edited wording about another subject."""
        return prompt_of(self.neighbors[0], self.relation.phrasings[0])

    def as_edit(self) -> dict[str, Any]:
        """Return the edit as an entry in the body of POST /edits."""
        first, *others = self.relation.phrasings
        return {
            "subject": self.fact.subject,
            "prompt": first,
            "target_new": self.new_object,
            "target_true": self.fact.object,
            "relation": self.relation.id,
            "paraphrases": others[:_NUM_PARAPHRASES],
            "neighborhood": [
                {"prompt": prompt_of(neighbor, first), "target": neighbor.object} for neighbor in self.neighbors
            ],
        }


def corrections() -> tuple[Correction, ...]:
    """Return all corrections that the demo can make, the best-known facts first."""
    facts = {(fact.subject, fact.relation): fact for fact in load_facts()}
    corrected = {(subject, relation) for subject, relation, _ in _WANTED}
    return tuple(
        Correction(
            facts[subject, relation],
            new_object,
            load_relations()[relation],
            _neighbors(facts[subject, relation], corrected),
        )
        for subject, relation, new_object in _WANTED
    )


def _neighbors(fact: Fact, corrected: set[tuple[str, str]]) -> tuple[Fact, ...]:
    same = (
        other
        for other in load_facts()
        if (other.relation, other.object) == (fact.relation, fact.object)
        and (other.subject, other.relation) not in corrected
    )
    return tuple(same)[:_NUM_NEIGHBORS]
