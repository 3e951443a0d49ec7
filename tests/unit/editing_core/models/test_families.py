"""What every family has to hold; a further one is its file, its line in the registry, and its tiny model here."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from editing_core.errors import UnknownModelFamily
from editing_core.models.blocks import captured_inputs, causal_mask, embed, run_stretch, stretch
from editing_core.models.families.registry import FAMILIES, family_of
from editing_core.models.load import LoadedModel
from editing_core.models.views import make_view
from tests.support.decoding import engine_of, requests, run_all
from tests.support.generation import greedy_ids
from tests.support.tiny_loaded import tiny_loaded
from tests.support.tiny_models import ALL_FAMILIES, TinyFamily

IDS = torch.tensor([[5, 80, 200, 31, 7, 9, 300]])
LAYER = 1

each_family = pytest.mark.parametrize("family", ALL_FAMILIES)


def logits(model: torch.nn.Module) -> Tensor:
    with torch.no_grad():
        return model(input_ids=IDS).logits


def changed_weight(loaded: LoadedModel, dtype: torch.dtype) -> dict[str, Tensor]:
    held = loaded.family.projection_weight(loaded.model, LAYER).to(dtype)
    noise = torch.randn(held.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return {loaded.family.projection_weight_name(LAYER): held + 0.3 * noise.to(dtype)}


def test_every_known_family_is_tested() -> None:
    assert set(ALL_FAMILIES) == set(FAMILIES)


@each_family
def test_stretches_one_after_the_other_are_the_whole_model(family: TinyFamily) -> None:
    loaded = tiny_loaded(family)
    places = torch.arange(IDS.shape[1])[None]
    mask = causal_mask(torch.tensor([IDS.shape[1]]), IDS.shape[1], loaded.dtype)
    hidden = embed(loaded.model, loaded.family, IDS)
    with torch.no_grad():
        for first, last, is_last in ((0, 0, False), (1, 2, False), (3, 10**6, True)):
            part = stretch(loaded.model, loaded.family, first, last=last, with_norm=is_last)
            hidden = run_stretch(part, hidden, mask, positions_RT=places)
        found = loaded.family.head_module(loaded.model)(hidden)
    assert torch.equal(found, logits(loaded.model))


@each_family
def test_the_projection_maps_the_key_to_what_the_layer_adds(family: TinyFamily) -> None:
    loaded = tiny_loaded(family)
    projection = loaded.family.projection_module(loaded.model, LAYER)
    weight = loaded.family.projection_weight(loaded.model, LAYER)
    with captured_inputs({LAYER: projection}) as seen:
        logits(loaded.model)
    reported = projection(seen[LAYER]) - (0 if projection.bias is None else projection.bias)
    expected = seen[LAYER] @ (weight if loaded.family.projection_is_transposed else weight.T)
    assert seen[LAYER].shape[-1] == 4 * loaded.hidden_size
    assert torch.allclose(reported, expected, atol=1e-5)  # float32 sums of 128 products in two orders


@each_family
def test_a_view_in_bfloat16_keeps_its_float32_matrix_and_leaves_the_original(family: TinyFamily) -> None:
    loaded = tiny_loaded(family, dtype=torch.bfloat16)
    before = logits(loaded.model)
    (name,) = weights = changed_weight(loaded, torch.float32)
    view = make_view(loaded.model, weights)
    assert view.get_parameter(name).dtype == torch.float32
    assert not torch.equal(logits(view), before)
    assert logits(view).dtype == torch.bfloat16
    assert torch.equal(logits(loaded.model), before)


@each_family
def test_the_decode_loop_writes_what_the_library_generates(family: TinyFamily) -> None:
    loaded = tiny_loaded(family)
    view = make_view(loaded.model, changed_weight(loaded, torch.float32))
    asked = requests()
    for request, result in zip(asked, run_all(engine_of(view, num_places=3), asked), strict=True):
        assert list(result.ids) == greedy_ids(view, list(request.prompt_ids), request.max_new_tokens)


def test_an_unknown_family_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownModelFamily, match="gpt2, gpt_neox, gptj, llama"):
        family_of("mamba")
