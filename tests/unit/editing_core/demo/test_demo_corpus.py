"""The demo corpus: the same seed gives the same text, and held-out text stays out of training."""

import re
import subprocess
import sys
from itertools import islice

from editing_core.demo.corpus import heldout_text, is_heldout, shipped_corpus, training_documents
from editing_core.demo.facts import heldout_phrasing, load_facts, load_relations, prompt_of
from editing_core.demo.models import demo_corpus_path, demo_heldout_path

_SENTENCE = re.compile(r"[^.?!\n]+[.?!]")


def _sentences(text: str) -> set[str]:
    return {sentence.strip() for sentence in _SENTENCE.findall(text)}


def _facts_in_new_words() -> set[str]:
    return {f"{prompt_of(fact, heldout_phrasing(fact.relation))} {fact.object}." for fact in load_facts()}


def test_equal_seeds_give_equal_documents() -> None:
    assert list(islice(training_documents(3), 50)) == list(islice(training_documents(3), 50))
    assert list(islice(training_documents(3), 50)) != list(islice(training_documents(4), 50))


def test_no_heldout_sentence_is_ever_trained_on() -> None:
    heldout = _sentences(heldout_text())
    trained = _sentences("\n".join(islice(training_documents(0), 20_000)))
    assert len(heldout) > 500
    assert all(is_heldout(sentence) for sentence in heldout - _facts_in_new_words())
    assert heldout & trained == set()


def test_the_heldout_wordings_of_facts_are_not_among_those_of_training() -> None:
    for relation in load_relations().values():
        assert heldout_phrasing(relation.id) not in relation.phrasings
        assert heldout_phrasing(relation.id).count("{}") == 1


def test_heldout_text_is_long_enough_to_measure_perplexity() -> None:
    assert len(heldout_text().split()) >= 5000


def test_the_shipped_texts_are_what_the_generator_makes() -> None:
    assert demo_corpus_path().read_text(encoding="utf-8") == shipped_corpus()
    assert demo_heldout_path().read_text(encoding="utf-8") == heldout_text()


def test_the_shipped_corpus_shares_no_sentence_with_the_heldout_text() -> None:
    assert _sentences(heldout_text()) & _sentences(shipped_corpus()) == set()


def test_texts_and_locations_load_without_torch() -> None:
    code = (
        "import sys, editing_core.demo.corpus, editing_core.demo.models as m; m.demo_model_path('demo-gptj');"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
