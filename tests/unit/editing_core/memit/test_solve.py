"""The bracket of Eqn. 14 with held keys against its formula, and which keys lie near each other."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from editing_core.memit.solve import nearest_keys, solve_holding


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def problem(num_edits: int = 5, num_held: int = 3) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    sample = drawn(64, 16, seed=0)
    return (
        drawn(16, num_edits, seed=1),
        drawn(8, num_edits, seed=2),
        sample.T @ sample / 64,
        drawn(16, num_held, seed=3),
    )


@pytest.mark.parametrize("weight", [0.25, 1.0, 64.0])
def test_held_keys_enter_the_bracket_with_their_weight_and_no_residual(weight: float) -> None:
    keys, residuals, covariance, held = problem()
    found = solve_holding(keys, residuals, covariance, prior_weight=5.0, held_MP=held, held_weight=weight).delta_HM

    bracket = 5.0 * covariance + keys @ keys.T + weight * held @ held.T
    expected = residuals @ keys.T @ torch.linalg.inv(bracket)
    # Two ways to solve one well-conditioned system in float64.
    assert float((found - expected).norm() / expected.norm()) < 1e-12


def test_a_held_key_is_an_edit_that_asks_for_no_change() -> None:
    keys, residuals, covariance, held = problem()
    found = solve_holding(keys, residuals, covariance, prior_weight=5.0, held_MP=held).delta_HM
    joined = solve_holding(
        torch.cat([keys, held], 1), torch.cat([residuals, torch.zeros(8, 3)], 1), covariance, prior_weight=5.0
    ).delta_HM
    assert float((found - joined).norm() / joined.norm()) < 1e-12


def test_the_heavier_a_held_key_the_less_its_outcome_moves() -> None:
    keys, residuals, covariance, held = problem()
    moved = [
        float(
            (
                solve_holding(keys, residuals, covariance, prior_weight=5.0, held_MP=held, held_weight=w).delta_HM
                @ held
            ).norm()
        )
        for w in (0.25, 1.0, 4.0, 16.0)
    ]
    moved.insert(0, float((solve_holding(keys, residuals, covariance, prior_weight=5.0).delta_HM @ held).norm()))
    assert moved == sorted(moved, reverse=True)


def test_without_held_keys_the_bits_are_those_of_the_plain_solve() -> None:
    keys, residuals, covariance, _ = problem()
    plain = solve_holding(keys, residuals, covariance, prior_weight=5.0).delta_HM
    assert torch.equal(plain, solve_holding(keys, residuals, covariance, prior_weight=5.0, held_weight=9.0).delta_HM)


def test_the_nearest_key_is_that_of_another_subject_in_the_metric_of_the_solve() -> None:
    keys, residuals, covariance, _ = problem(6)
    keys[:, 1], keys[:, 4] = keys[:, 0], 2 * keys[:, 3]
    solved = solve_holding(keys, residuals[:, :1].expand(-1, 6), covariance, prior_weight=5.0).solved_MN
    bracket = torch.linalg.inv(5.0 * covariance + keys @ keys.T)
    shares = keys.T @ bracket @ keys
    cosines = shares / torch.outer(shares.diag(), shares.diag()).sqrt()

    found = nearest_keys(keys, solved, ["a", "b", "c", "d", "e", "f"])
    assert (found[0][0], found[1][0], found[3][0]) == (1, 0, 4)
    assert found[0][1] == pytest.approx(1.0)
    cosines.fill_diagonal_(-1)
    assert [found[i][1] for i in range(6)] == pytest.approx(cosines.max(1).values.tolist())

    same = nearest_keys(keys, solved, ["a", "a", "c", "d", "e", "f"])
    assert same[0][0] != 1
    assert nearest_keys(keys, solved, ["a"] * 6) == {}
