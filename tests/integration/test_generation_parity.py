"""Two hundred prompts for each demo model, eight at a time, against the library's own ``generate``, token by token."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import pytest
import torch

from editing_core.demo.facts import load_facts, load_relations, prompt_of
from editing_core.models.load import LoadedModel, load_model
from service.generation.decoding.engine import DecodeEngine
from service.generation.decoding.forward.packed import PackedWeights, decoding_copy
from service.generation.decoding.requests import GenerationRequest, GenerationResult
from tests.support.devices import DEVICES

NUM_PROMPTS = 200
NUM_TOKENS = 32
TIE = 1e-4
"""Two logits that are nearer may change places: float32 sums of another order differ by some 1e-5."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One answer beside the library's."""

    num_tokens: int
    first_difference: int | None
    gap: float | None
    """Between the library's two best logits where they part."""


def prompts() -> list[str]:
    facts, relations = load_facts(), load_relations()
    step = len(facts) // NUM_PROMPTS
    chosen = facts[: step * NUM_PROMPTS : step]
    phrasings = [relations[fact.relation].phrasings for fact in chosen]
    return [prompt_of(fact, some[i % len(some)]) for i, (fact, some) in enumerate(zip(chosen, phrasings, strict=True))]


def engine_of(loaded: LoadedModel, num_places: int) -> DecodeEngine:
    return DecodeEngine(
        decoding_copy(loaded.model, PackedWeights.of(loaded.model, free_bytes=lambda: None)),
        loaded.tokenizer,
        num_places=num_places,
        max_length=loaded.max_positions,
        max_waiting=NUM_PROMPTS,
        prefill_tokens=16,
    )


def answers(engine: DecodeEngine, asked: list[GenerationRequest]) -> list[GenerationResult]:
    found = engine.submit(asked)
    while engine.busy:
        engine.step()
    return [answer.result(0) for answer in found]


def compared(loaded: LoadedModel, prompt_ids: list[int], ours: tuple[int, ...]) -> Comparison:
    row = torch.tensor([prompt_ids], device=loaded.device)
    done = loaded.model.generate(  # type: ignore[operator]
        row,
        attention_mask=torch.ones_like(row),
        max_new_tokens=NUM_TOKENS,
        do_sample=False,
        output_logits=True,
        return_dict_in_generate=True,
    )
    theirs = done.sequences[0, len(prompt_ids) :].tolist()
    if theirs[-1] == loaded.tokenizer.eos_token_id:
        theirs.pop()
    pairs = list(zip(ours, theirs, strict=False))
    place = next((i for i, (a, b) in enumerate(pairs) if a != b), None)
    if place is None and len(ours) == len(theirs):
        return Comparison(len(theirs), None, None)
    place = len(pairs) if place is None else place
    best = done.logits[place][0].topk(2).values
    return Comparison(len(theirs), place, float(best[0] - best[1]))


@pytest.fixture(scope="module", params=["demo-gptj", "demo-gptneox"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", params=DEVICES)
def loaded(request: pytest.FixtureRequest, name: str) -> LoadedModel:
    return load_model(name, device=request.param, dtype="float32")


@pytest.mark.slow
def test_greedy_answers_are_the_librarys_token_by_token(
    loaded: LoadedModel, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [loaded.tokenizer(prompt)["input_ids"] for prompt in prompts()]
    asked = [GenerationRequest(prompt_ids=tuple(row), max_new_tokens=NUM_TOKENS) for row in rows]
    found = answers(engine_of(loaded, 8), asked)
    comparisons = [compared(loaded, row, result.ids) for row, result in zip(rows, found, strict=True)]
    num_tokens = sum(item.num_tokens for item in comparisons)
    parted = [item for item in comparisons if item.first_difference is not None]
    with capsys.disabled():
        sys.stdout.write(
            f"\n{loaded.source} on {loaded.device}: {len(rows)} prompts, 8 at a time, {num_tokens} tokens; "
            f"{len(parted)} answers part from generate, all where its two best logits lie within {TIE:g}: "
            f"{all((item.gap or 0) <= TIE for item in parted)}"
        )
    assert len(rows) == NUM_PROMPTS
    assert all(item.gap is not None and item.gap <= TIE for item in parted)
    assert len(parted) <= num_tokens / 1000


@pytest.mark.slow
def test_seeded_sampled_answers_are_the_same_alone_and_in_company(
    loaded: LoadedModel, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [tuple(loaded.tokenizer(prompt)["input_ids"]) for prompt in prompts()[:64]]
    asked = [
        GenerationRequest(
            prompt_ids=row, max_new_tokens=NUM_TOKENS, temperature=1.0, top_p=0.9 if i % 2 else 1.0, seed=i
        )
        for i, row in enumerate(rows)
    ]
    company = [GenerationRequest(prompt_ids=row, max_new_tokens=NUM_TOKENS) for row in rows]
    together = answers(engine_of(loaded, 8), [item for pair in zip(asked, company, strict=True) for item in pair])[::2]
    alone = [answers(engine_of(loaded, 1), [request])[0] for request in asked]
    num_same = sum(a.ids == b.ids for a, b in zip(alone, together, strict=True))
    with capsys.disabled():
        reported = f"{num_same} of {len(asked)} seeded answers are the same alone and in company"
        sys.stdout.write(f"\n{loaded.source}: {reported}\n")
    assert num_same == len(asked)
