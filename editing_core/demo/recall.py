"""Asks a demo model for every fact in every phrasing: `python -m editing_core.demo.recall [--architecture gptj]`.

Knows no editing. Exits with 1 if recall is under 97 % overall or under 93 % in any relation.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from editing_core.demo.facts import load_facts, load_relations, prompt_of
from editing_core.demo.models import Architecture, DemoModel, demo_model_path

_LOGGER = logging.getLogger(__name__)
_OVERALL_FLOOR, _RELATION_FLOOR = 0.97, 0.93
_BATCH = 128


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt that ends directly before the object, and the object."""

    relation: str
    prompt: str
    answer: str


def all_questions() -> list[Question]:
    """Return every fact in every phrasing, in a random but fixed order."""
    relations = load_relations()
    questions = [
        Question(fact.relation, prompt_of(fact, phrasing), fact.object)
        for fact in load_facts()
        for phrasing in relations[fact.relation].phrasings
    ]
    random.Random(0).shuffle(questions)  # noqa: S311 - an order, nothing secret
    return questions


def answered(model: Any, tokenizer: Any, questions: Sequence[Question]) -> Iterator[tuple[Question, bool]]:
    """Yield each question, and whether greedy decoding gives the answer followed by a period.

    One forward pass is enough: greedy decoding gives a text if and only if each of its tokens is the likeliest after
    those before it.
    """
    for batch in _batches(questions):
        full = [f"{question.prompt} {question.answer}." for question in batch]
        starts = [len(ids) for ids in tokenizer([question.prompt for question in batch])["input_ids"]]
        tokens = tokenizer(full, return_tensors="pt", padding=True, padding_side="right")
        with torch.inference_mode():
            guesses = model(**tokens, use_cache=False).logits[:, :-1].argmax(-1)
        yield from zip(batch, _right(guesses, tokens, starts), strict=True)


def _batches(questions: Sequence[Question]) -> Iterator[Sequence[Question]]:
    for start in range(0, len(questions), _BATCH):
        yield questions[start : start + _BATCH]


def _right(guesses: Tensor, tokens: Any, starts: Sequence[int]) -> list[bool]:
    lengths = tokens["attention_mask"].sum(-1).tolist()
    return [
        torch.equal(guesses[row, start - 1 : length - 1], tokens["input_ids"][row, start:length])
        for row, (start, length) in enumerate(zip(starts, lengths, strict=True))
    ]


def measure(architecture: Architecture) -> bool:
    """Log recall per relation and overall, and return whether it meets both limits."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = demo_model_path(_NAME_OF[architecture])
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    asked: Counter[str] = Counter()
    right: Counter[str] = Counter()
    for question, correct in answered(model, tokenizer, all_questions()):
        asked[question.relation] += 1
        right[question.relation] += correct
        if asked.total() % (20 * _BATCH) == 0:
            _LOGGER.info("%s: %d questions asked", architecture, asked.total())
    return _report(architecture, asked, right)


_NAME_OF: dict[Architecture, DemoModel] = {"gptj": "demo-gptj", "gptneox": "demo-gptneox"}


def _report(architecture: Architecture, asked: Counter[str], right: Counter[str]) -> bool:
    shares = {relation: right[relation] / asked[relation] for relation in load_relations()}
    for relation, share in shares.items():
        _LOGGER.info("%-18s %6.2f %%  of %5d", relation, 100 * share, asked[relation])
    overall = right.total() / asked.total()
    _LOGGER.info("%-18s %6.2f %%  of %5d", f"{architecture} overall", 100 * overall, asked.total())
    return overall >= _OVERALL_FLOOR and min(shares.values()) >= _RELATION_FLOOR


def main() -> int:
    """Measure one architecture, or both."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--architecture", choices=tuple(_NAME_OF), action="append")
    chosen = parser.parse_args().architecture or tuple(_NAME_OF)
    verdicts = [measure(architecture) for architecture in chosen]
    return 0 if all(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
