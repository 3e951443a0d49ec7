"""The text of the demo models: training documents, and held-out text that no training document contains.

Knows the facts and the prose, but no tokenizer and no model. The checksum of a sentence of prose or connection decides
whether it is held out. So held-out text never occurs in training, whatever the seed. The written prose is all on the
training side.

`python -m editing_core.demo.corpus` writes corpus.txt and heldout.txt, which ship with the models.
"""

import random
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from editing_core.demo.everyday import everyday_sentence
from editing_core.demo.facts import Fact, heldout_phrasing, load_facts, load_relations, prompt_of

_FOLDER = Path(__file__).parent / "text"
_HELDOUT_ONE_IN = 20
_HELDOUT_DOCUMENTS = 130
_HELDOUT_SEED = 2024
_SHIPPED_SEED = 1
_SHIPPED_CHARACTERS = 500_000
_FACT_SHARE, _MENTION_SHARE, _PROSE_SHARE = 0.64, 0.07, 0.04


def is_heldout(sentence: str) -> bool:
    """Return whether a sentence of prose or connection is kept out of training."""
    return zlib.crc32(sentence.encode()) % _HELDOUT_ONE_IN == 0


def training_documents(seed: int) -> Iterator[str]:
    """Yield endless documents: a few sentences each, facts in random order and phrasing among ordinary prose."""
    rng = random.Random(seed)  # noqa: S311 - text for training, nothing secret
    facts = _shuffled_forever(rng)
    while True:
        yield " ".join(_training_sentence(rng, facts) for _ in range(rng.randint(1, 5)))


def heldout_text() -> str:
    """Return the held-out text, one document per line.

    Half of the documents are everyday prose. The others are connecting sentences about subjects. Each is followed by a
    fact about the subject, in a wording that occurs nowhere else.
    """
    rng = random.Random(_HELDOUT_SEED)  # noqa: S311 - text for measuring, nothing secret
    prose = [" ".join(_everyday(rng, heldout=True) for _ in range(3)) for _ in range(_HELDOUT_DOCUMENTS)]
    connecting = [_connected_fact(rng) for _ in range(_HELDOUT_DOCUMENTS)]
    return "\n".join(text for pair in zip(prose, connecting, strict=True) for text in pair) + "\n"


def shipped_corpus() -> str:
    """Return the sample of the training documents that ships with the models, one document per line."""
    documents: list[str] = []
    length = 0
    for document in training_documents(_SHIPPED_SEED):
        documents.append(document)
        length += len(document) + 1
        if length >= _SHIPPED_CHARACTERS:
            break
    return "\n".join(documents) + "\n"


def _shuffled_forever(rng: random.Random) -> Iterator[tuple[Fact, str]]:
    """Yield every fact in every phrasing in random order, then repeat endlessly in new orders."""
    relations = load_relations()
    pairs = [(fact, phrasing) for fact in load_facts() for phrasing in relations[fact.relation].phrasings]
    while True:
        rng.shuffle(pairs)
        yield from pairs


def _training_sentence(rng: random.Random, facts: Iterator[tuple[Fact, str]]) -> str:
    draw = rng.random()
    if draw < _FACT_SHARE:
        return stated(*next(facts))
    if draw < _FACT_SHARE + _MENTION_SHARE:
        return _mention(rng, rng.choice(load_facts()), heldout=False)
    if draw < _FACT_SHARE + _MENTION_SHARE + _PROSE_SHARE:
        return rng.choice(_passages())
    return _everyday(rng, heldout=False)


def stated(fact: Fact, phrasing: str) -> str:
    """Return the whole sentence that states a fact."""
    return f"{prompt_of(fact, phrasing)} {fact.object}."


def _connected_fact(rng: random.Random) -> str:
    fact = rng.choice(load_facts())
    statement = stated(fact, heldout_phrasing(fact.relation))
    return f"{_mention(rng, fact, heldout=True)} {statement} {_mention(rng, rng.choice(load_facts()), heldout=True)}"


def _everyday(rng: random.Random, *, heldout: bool) -> str:
    while is_heldout(sentence := everyday_sentence(rng)) != heldout:
        pass
    return sentence


def _mention(rng: random.Random, fact: Fact, *, heldout: bool) -> str:
    """Draw a sentence that names the subject, or another subject if this one has none on the requested side."""
    subject = f"the {fact.subject}" if fact.relation == "animal_class" else fact.subject
    choices = [text for frame in _mentions() if is_heldout(text := frame.replace("{}", subject)) == heldout]
    return rng.choice(choices) if choices else _mention(rng, rng.choice(load_facts()), heldout=heldout)


@cache
def _mentions() -> tuple[str, ...]:
    return tuple((_FOLDER / "mentions.txt").read_text(encoding="utf-8").splitlines()[1:])


@cache
def _passages() -> tuple[str, ...]:
    """Return pairs of consecutive sentences of the written prose."""
    paragraphs = (_FOLDER / "prose.txt").read_text(encoding="utf-8").split("\n\n")
    passages = []
    for paragraph in paragraphs:
        sentences = paragraph.strip().replace("? ", "?|").replace(". ", ".|").split("|")
        passages += [" ".join(sentences[start : start + 2]) for start in range(0, len(sentences), 2)]
    return tuple(passages)


if __name__ == "__main__":
    (_FOLDER / "corpus.txt").write_text(shipped_corpus(), encoding="utf-8")
    (_FOLDER / "heldout.txt").write_text(heldout_text(), encoding="utf-8")
