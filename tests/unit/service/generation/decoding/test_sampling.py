"""Sampling against the distribution that it says it draws from."""

from __future__ import annotations

import pytest
import torch

from service.generation.decoding.sampling import Draw, next_tokens, sampled_tokens

LOGITS = torch.tensor([0.0, 2.0, 1.0, -1.0, 0.9])


def draw(num_draws: int, *, temperature: float = 1.0, top_p: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    draws = [Draw(0, temperature, top_p, generator)] * 10
    drawn = [token for _ in range(num_draws // 10) for token in sampled_tokens(LOGITS.expand(10, -1), draws)]
    return torch.bincount(torch.tensor(drawn), minlength=5) / num_draws


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_frequencies_follow_the_tempered_softmax(temperature: float) -> None:
    # 4,000 draws: the standard error of a frequency is at most 0.008.
    expected = torch.softmax(LOGITS / temperature, dim=0)
    assert torch.allclose(draw(4000, temperature=temperature), expected, atol=0.032)


def test_top_p_keeps_the_fewest_tokens_that_hold_the_share() -> None:
    probabilities = torch.softmax(LOGITS, dim=0)
    kept = draw(500, top_p=float(probabilities[1] + probabilities[2] - 1e-6)).nonzero().flatten().tolist()
    assert kept == [1, 2]


@pytest.mark.parametrize("temperature", [1e-300, 1e-8])
def test_a_vanishing_temperature_is_greedy(temperature: float) -> None:
    assert draw(50, temperature=temperature)[1] == 1.0


def test_a_tiny_top_p_is_greedy() -> None:
    assert draw(50, top_p=1e-12)[1] == 1.0


def test_greedy_takes_the_likeliest_and_reports_rows_that_are_not_numbers() -> None:
    rows = torch.stack([LOGITS, torch.full_like(LOGITS, float("nan"))])
    tokens, finite = next_tokens(rows)
    assert (tokens[0], finite) == (1, [True, False])
