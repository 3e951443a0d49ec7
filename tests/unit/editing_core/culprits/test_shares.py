"""The edits' shares add up to what the whole change does, and say whose doing it is."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from editing_core.culprits.shares import EditShares, shares_of
from editing_core.memit.solve import solve_holding
from editing_core.memit.tokens import edit_rows
from editing_core.memit.update import HeldKeys, Update, solve_edits
from tests.support.tiny_loaded import CONFIG, CONTEXTS, tiny_edits, tiny_loaded
from tests.support.tiny_models import TINY_FAMILIES, TinyFamily

NUM_EDITS = 6
PRIOR_WEIGHT = 3.0


def solved(
    family: TinyFamily, *, wishes: torch.Tensor, holding: int = 0
) -> tuple[Update, EditShares, dict[int, torch.Tensor]]:
    """The update for edits whose z is what it is now plus these wishes, and its shares; ``holding`` keys are held."""
    loaded = tiny_loaded(family)
    config = replace(CONFIG, prior_weight=PRIOR_WEIGHT)
    generator = torch.Generator().manual_seed(1)
    rows = [
        edit_rows(loaded.tokenizer, accepted.edit, CONTEXTS, max_positions=loaded.max_positions).prompts
        for accepted in tiny_edits(NUM_EDITS)
    ]
    covariances = {}
    for layer in config.layers:
        weight = loaded.family.projection_weight(loaded.model, layer)
        width = weight.shape[0 if loaded.family.projection_is_transposed else 1]
        sample = torch.randn(2 * width, width, generator=generator, dtype=torch.float64)
        covariances[layer] = sample.T @ sample / len(sample)
    held = HeldKeys(rows=rows[:holding])
    update = solve_edits(loaded, rows, wishes, covariances=covariances, config=config, held=held)
    shares = shares_of(loaded, update, covariances=covariances, config=config, lost=range(NUM_EDITS))
    return update, shares, covariances


def wishes_of(family: TinyFamily, *, strong: int | None = None) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    wishes = torch.randn(NUM_EDITS, tiny_loaded(family).hidden_size, generator=generator)
    if strong is not None:
        wishes[strong] *= 30
    return wishes


@pytest.mark.parametrize("holding", [0, 3])
@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_parts_add_up_to_the_size_of_the_whole_change(family: TinyFamily, holding: int) -> None:
    update, shares, _ = solved(family, wishes=wishes_of(family), holding=holding)
    size = sum(norm**2 for norm in update.delta_norms.values())
    # float64 throughout: what is left is the order of the sums.
    assert float(shares.size_N.sum()) == pytest.approx(size, rel=1e-9)


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_disturbance_is_that_of_the_solve_with_the_edits_residual_alone(family: TinyFamily) -> None:
    update, shares, covariances = solved(family, wishes=wishes_of(family))
    loaded, place, expected = tiny_loaded(family), 2, 0.0
    for layer, found in update.layers.items():
        weight = loaded.family.projection_weight(loaded.model, layer).double()
        weight_HM = weight.T if loaded.family.projection_is_transposed else weight
        alone_NH = torch.zeros_like(found.residuals_NH)
        alone_NH[place] = found.residuals_NH[place]
        share_HM = solve_holding(found.keys_NM.T, alone_NH.T, covariances[layer], prior_weight=PRIOR_WEIGHT).delta_HM
        moved, ordinary = (((m @ covariances[layer]) * m).sum() for m in (share_HM, weight_HM))
        expected += float(moved / ordinary)
    assert float(shares.disturbance_N[place]) == pytest.approx(expected, rel=1e-9)  # float64 throughout


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_the_edit_that_asks_for_most_has_the_largest_share_and_moves_others_most(family: TinyFamily) -> None:
    _, shares, _ = solved(family, wishes=wishes_of(family, strong=4))
    assert int(shares.size_N.argmax()) == int(shares.disturbance_N.argmax()) == 4
    others = [place for place in range(NUM_EDITS) if place != 4]
    assert all(int(shares.moved_NL[:, place].argmax()) in {place, 4} for place in others)
    assert float(shares.moved_NL[4, others].min()) > 0
    assert bool((shares.unreached_N >= 0).all())
