"""A target's score is what one plain forward pass over prompt and target says."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from editing_core.asking.scoring import TargetScore, score_targets
from editing_core.errors import InvalidPrompt
from editing_core.memit.tokens import target_ids
from editing_core.models.views import make_view
from tests.support.tiny_models import TINY_FAMILIES, TinyFamily, tiny_model, tiny_tokenizer

PAIRS = [
    ("The mother tongue of Danielle Darrieux is", "English"),
    ("The mother tongue of Danielle Darrieux is", "to"),
    ("The mother tongue of Danielle Darrieux is", "to the city"),
    ("The capital of Japan is", "Tokyo"),
    ("A", "🙂 日本"),
    ("The capital of Japan is ", "to"),
    ("The capital of Japan", "is Tokyo"),
]

each_family = pytest.mark.parametrize("family", TINY_FAMILIES)


def plain_logits(model: PreTrainedModel, prompt: str, target: str) -> tuple[Tensor, list[int]]:
    """Logits [tokens of the target, V] of one unpadded row, and the target's ids."""
    tokenizer = tiny_tokenizer()
    before, ids = tokenizer(prompt)["input_ids"], target_ids(tokenizer, prompt, target)
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([before + ids])).logits[0]
    return logits[len(before) - 1 : -1], ids


@each_family
def test_scores_of_padded_rows_that_share_tokens_equal_those_of_single_plain_rows(family: TinyFamily) -> None:
    # float64: what is left is the rounding of GPT-J's float32 attention.
    model = tiny_model(family, dtype=torch.float64)
    for score, (prompt, target) in zip(score_targets(model, tiny_tokenizer(), PAIRS), PAIRS, strict=True):
        logits, ids = plain_logits(model, prompt, target)
        log_probs = logits.log_softmax(1).gather(1, torch.tensor(ids)[:, None]).flatten()
        assert score.mean_logprob == pytest.approx(float(log_probs.mean()), abs=1e-5)
        assert score.probability == pytest.approx(float(log_probs.sum().exp()), rel=1e-4)
        assert score.rank == int((logits[0] > logits[0, ids[0]]).sum()) + 1
        assert score.greedy_match == (logits.argmax(1).tolist() == ids)
        assert score.num_tokens == len(ids)
        assert score.first_choice == int(logits[0].argmax())


@each_family
def test_the_same_pairs_give_the_same_bits_in_every_order(family: TinyFamily) -> None:
    model, tokenizer = tiny_model(family), tiny_tokenizer()
    there = score_targets(model, tokenizer, PAIRS)
    back = score_targets(model, tokenizer, PAIRS[::-1])
    assert there == back[::-1]


@each_family
def test_what_greedy_decoding_writes_is_a_greedy_match_and_no_other_is(family: TinyFamily) -> None:
    model, tokenizer = tiny_model(family), tiny_tokenizer()
    scores = score_targets(model, tokenizer, [("The", f"{text}") for text in tokenizer.get_vocab()])
    matches = [score for score in scores if score.greedy_match]
    assert all(score.rank == 1 for score in matches)
    assert len(matches) <= 1
    assert len({score.first_choice for score in scores}) == 1


def test_each_pair_is_counted_once_in_the_progress() -> None:
    reported: list[int] = []
    score_targets(tiny_model("gptj"), tiny_tokenizer(), PAIRS, batch_size=2, on_rows=reported.append)
    assert sum(reported) == len(PAIRS)
    assert len(reported) > 1


def test_a_model_that_computes_nan_gives_no_finite_score_and_no_match() -> None:
    model = tiny_model("gptj")
    name = "transformer.h.1.mlp.fc_out.weight"
    broken = make_view(model, {name: torch.full_like(model.get_parameter(name), math.nan)})
    (score,) = score_targets(broken, tiny_tokenizer(), PAIRS[:1])
    assert not score.is_finite
    assert not score.greedy_match


def test_no_pairs_give_no_scores() -> None:
    found: list[TargetScore] = score_targets(tiny_model("gptj"), tiny_tokenizer(), [])
    assert found == []


@pytest.mark.parametrize(("prompt", "reason"), [("", "has no tokens"), ("tokens " * 300, "the model takes 256")])
def test_a_prompt_that_the_model_cannot_take_is_refused(prompt: str, reason: str) -> None:
    with pytest.raises(InvalidPrompt, match=reason):
        score_targets(tiny_model("gptj"), tiny_tokenizer(), [(prompt, "to")])
