"""The closed form of operations beside what torch counts, on tiny models."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from editing_core.asking.perplexity import perplexity
from editing_core.asking.probes import build_probes
from editing_core.covariance.statistics import SecondMoments
from editing_core.edits import canonical
from editing_core.memit.update import Update
from editing_core.models.load import LoadedModel
from tests.benchmarks.arithmetic import ModelShape, prepare_work, solve_readout, solve_work
from tests.benchmarks.measuring.meter import Meter
from tests.benchmarks.measuring.random_models import random_model
from tests.benchmarks.measuring.stages import Stages
from tests.support.tiny_loaded import CONFIG, CONTEXTS, tiny_edits, tiny_loaded
from tests.support.tiny_models import TINY_FAMILIES, TinyFamily

EDITS = canonical(tiny_edits(8))


@pytest.fixture(params=TINY_FAMILIES)
def stages(request: pytest.FixtureRequest) -> Stages:
    family: TinyFamily = request.param
    loaded = tiny_loaded(family)
    loaded.model.set_attn_implementation("eager")  # type: ignore[operator]  # torch does not count the fused one
    return _stages(loaded)


def _stages(loaded: LoadedModel) -> Stages:
    width = ModelShape.of(loaded).width
    heldout = [1 + i % 300 for i in range(200)]
    return Stages(
        loaded=loaded,
        config=CONFIG,
        contexts=CONTEXTS,
        covariances={layer: torch.eye(width) for layer in CONFIG.layers},
        probes=build_probes(loaded.model, [heldout[i : i + 32] for i in range(0, 128, 32)]),
        heldout_ids=heldout,
        heldout_perplexity=perplexity(loaded.model, heldout),
    ).without_early_stop(3)


def test_the_operations_of_a_search_are_those_that_torch_counts(stages: Stages) -> None:
    with FlopCounterMode(display=False) as counter:
        stages.search(EDITS)
    assert stages.search_work(EDITS).all_operations == counter.get_total_flops()


def test_searches_in_several_batches_are_counted_batch_by_batch(stages: Stages) -> None:
    assert stages.search_work(EDITS, room=16).num_bytes > stages.search_work(EDITS).num_bytes


def test_padding_makes_no_search_cheaper(stages: Stages) -> None:
    assert stages.search_work(EDITS, is_needed=True).operations <= stages.search_work(EDITS).operations


def test_keys_and_the_last_product_of_the_solve_are_those_that_torch_counts(stages: Stages) -> None:
    targets = torch.zeros(len(EDITS), stages.loaded.hidden_size)
    with FlopCounterMode(display=False) as counter:
        stages.solve(EDITS, targets, Meter(torch.device("cpu")))
    solving = solve_readout(stages.shape, num_edits=len(EDITS)).times(len(CONFIG.layers))
    assert (stages.sweep_work(EDITS) + solving).all_operations == counter.get_total_flops()


def test_the_checks_operations_are_those_that_torch_counts(stages: Stages) -> None:
    original = {
        stages.loaded.family.projection_weight_name(layer): stages.loaded.family.projection_weight(
            stages.loaded.model, layer
        )
        for layer in CONFIG.layers
    }
    unchanged = Update(weights=original, layers={}, delta_norms={})
    with FlopCounterMode(display=False) as counter:
        stages.check(EDITS[:2], unchanged)
    # A continuation that ends early, and its batch with it, would make it less.
    assert stages.check_work(EDITS[:2]).all_operations == pytest.approx(counter.get_total_flops(), rel=0.02)


def test_the_second_moments_operations_are_those_that_torch_counts(stages: Stages) -> None:
    moments = SecondMoments.empty(stages.loaded, CONFIG.layers)
    with FlopCounterMode(display=False) as counter:
        moments.add(stages.loaded, [[1] * 40] * 3)
    expected = prepare_work(stages.shape, num_tokens=120, window=40, layers=CONFIG.layers)
    assert expected.all_operations == counter.get_total_flops()


def test_a_large_model_is_counted_without_its_weights() -> None:
    shape = ModelShape.of(random_model("gptj", device="meta", dtype=torch.bfloat16))
    assert (shape.num_layers, shape.hidden, shape.width, shape.vocabulary) == (28, 4096, 16_384, 50_400)
    weights = shape.num_layers * (shape.attention.weights + shape.mlp.weights) + 2 * shape.hidden * shape.vocabulary
    assert weights == pytest.approx(6.05e9, rel=0.01)
    one, many = (solve_work(shape, num_edits=n, num_layers=6).double for n in (1, 10_000))
    assert one == pytest.approx(6 * 16_384**3 / 3, rel=0.001)
    assert many > 5 * one
