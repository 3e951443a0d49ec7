"""The true facts of the demo model and their phrasings; plain tables, no torch.

Knows no tokenizers or models. text/SOURCES.md names the origin and licence of the tables.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent / "text"


@dataclass(frozen=True, slots=True)
class Relation:
    """A kind of fact, such as the country of a city, and its phrasings."""

    id: str
    phrasings: tuple[str, ...]
    """Templates with exactly one `{}` for the subject; the object follows the last word after one space."""


@dataclass(frozen=True, slots=True)
class Fact:
    """A subject, a relation's id, and the one object that makes the statement true."""

    subject: str
    relation: str
    object: str


def prompt_of(fact: Fact, phrasing: str) -> str:
    """Return the phrasing with the subject filled in, without the object."""
    before, after = phrasing.split("{}")
    return f"{before}{fact.subject}{after}"


@cache
def load_facts() -> tuple[Fact, ...]:
    """Return all facts in the order of the table. No two share both subject and relation."""
    return tuple(Fact(subject, relation, target) for subject, relation, target in _rows("facts.tsv"))


@cache
def _phrasings(table: str) -> dict[str, tuple[str, ...]]:
    phrasings: dict[str, tuple[str, ...]] = {}
    for relation, phrasing in _rows(table):
        phrasings[relation] = (*phrasings.get(relation, ()), phrasing)
    return phrasings


def load_relations() -> dict[str, Relation]:
    """Return the relations by id, in the order of the table."""
    return {relation: Relation(relation, phrasings) for relation, phrasings in _phrasings("phrasings.tsv").items()}


def heldout_phrasing(relation: str) -> str:
    """Return the wording of a relation that occurs in the held-out text and in no training document."""
    return _phrasings("heldout_phrasings.tsv")[relation][0]


def _rows(name: str) -> Iterator[list[str]]:
    """Yield the cells of each row below the licence line and the header."""
    lines = (_FOLDER / name).read_text(encoding="utf-8").splitlines()
    for line in lines[2:]:
        yield line.split("\t")
