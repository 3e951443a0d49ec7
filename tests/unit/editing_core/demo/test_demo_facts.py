"""The tables of the demo model: enough facts, enough phrasings, no contradiction within."""

from collections import Counter

import pytest

from editing_core.demo.facts import Fact, Relation, load_facts, load_relations, prompt_of


def test_there_are_at_least_1500_facts_over_12_relations() -> None:
    facts = load_facts()
    assert len(facts) >= 1500
    assert len({fact.relation for fact in facts}) >= 12


def test_every_relation_of_a_fact_has_phrasings_and_the_other_way_round() -> None:
    assert {fact.relation for fact in load_facts()} == set(load_relations())


def test_a_subject_has_one_object_per_relation() -> None:
    counts = Counter((fact.subject, fact.relation) for fact in load_facts())
    assert counts.most_common(1)[0][1] == 1


def test_most_objects_have_at_least_eight_subjects() -> None:
    counts = Counter((fact.relation, fact.object) for fact in load_facts())
    assert sum(count >= 8 for count in counts.values()) > len(counts) * 0.9


def test_every_relation_offers_several_objects_to_edit_to() -> None:
    for relation in load_relations():
        assert len({fact.object for fact in load_facts() if fact.relation == relation}) >= 6


def test_only_countries_are_subjects_of_two_relations() -> None:
    relations_of: dict[str, set[str]] = {}
    for fact in load_facts():
        relations_of.setdefault(fact.subject, set()).add(fact.relation)
    shared = [relations for relations in relations_of.values() if len(relations) > 1]
    assert all(relations == {"continent", "currency"} for relations in shared)


def test_no_cell_is_empty_or_padded() -> None:
    for fact in load_facts():
        for cell in (fact.subject, fact.relation, fact.object):
            assert cell
            assert cell == cell.strip()


@pytest.mark.parametrize("relation", load_relations().values(), ids=lambda relation: relation.id)
def test_a_relation_has_six_different_phrasings_with_one_subject_each(relation: Relation) -> None:
    assert len(set(relation.phrasings)) == len(relation.phrasings) >= 6
    for phrasing in relation.phrasings:
        assert phrasing.count("{}") == 1
        assert phrasing.count("{") == phrasing.count("}") == 1
        assert phrasing == phrasing.strip()
    assert any(phrasing.startswith("{}") for phrasing in relation.phrasings) or relation.id == "animal_class"
    assert any("{}" in phrasing[1:] for phrasing in relation.phrasings)


def test_braces_in_a_subject_are_plain_text() -> None:
    assert prompt_of(Fact("{0.__class__}", "sport", "golf"), "The sport of {} is") == "The sport of {0.__class__} is"
