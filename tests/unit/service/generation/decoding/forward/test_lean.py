"""The lean twin computes the same function with the same tensors, and leaves the original as it was."""

from __future__ import annotations

import pytest
import torch

from editing_core.models.blocks import additive_mask
from editing_core.models.families.registry import FAMILIES
from editing_core.models.views import make_view
from service.generation.decoding.forward.cache import PlacesCache, Window
from service.generation.decoding.forward.lean import lean_copy
from tests.support.tiny_models import ALL_FAMILIES, TinyFamily, tiny_model

IDS = torch.tensor([[5, 9, 33, 70, 12, 4], [8, 8, 200, 31, 2, 60]])


def logits(model: torch.nn.Module, ids_RT: torch.Tensor) -> torch.Tensor:
    cache = PlacesCache(max_places=2, max_length=64)
    cache.reserve(num_places=2, length=8)
    positions = torch.arange(ids_RT.shape[1]).expand(ids_RT.shape[0], -1)
    seen = torch.arange(ids_RT.shape[1]) <= positions[:, :, None]
    with torch.inference_mode():
        found: torch.Tensor = model(
            input_ids=ids_RT,
            attention_mask=additive_mask(seen[:, None], next(model.parameters()).dtype),
            position_ids=positions,
            past_key_values=Window(cache, positions, first=0, length=ids_RT.shape[1]),
            use_cache=True,
        ).logits
    return found


@pytest.mark.parametrize("family", ALL_FAMILIES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 0.4)])
def test_logits_are_those_of_the_model_itself(family: TinyFamily, dtype: torch.dtype, tolerance: float) -> None:
    # Logits are of the order of 10; rounding adds up to some 1e-5 in float32, some 1e-1 in bfloat16.
    model = tiny_model(family, dtype=dtype)
    expected = model(IDS).logits
    assert torch.allclose(logits(lean_copy(model), IDS).float(), expected.float(), atol=tolerance)


@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_every_tensor_is_the_models_own_and_the_model_is_unchanged(family: TinyFamily) -> None:
    model = tiny_model(family)
    kinds = [type(module) for module in model.modules()]
    twin = lean_copy(model)
    assert all(own is other for own, other in zip(model.parameters(), twin.parameters(), strict=True))
    assert [type(module) for module in model.modules()] == kinds


def test_without_a_window_gptj_attends_as_the_library_does() -> None:
    model = tiny_model("gptj")
    assert torch.allclose(lean_copy(model)(IDS).logits, model(IDS).logits, atol=1e-4)


@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_an_edited_matrix_stays_float32_in_a_half_precision_model(family: TinyFamily) -> None:
    model = tiny_model(family, dtype=torch.bfloat16)
    name = FAMILIES[model.config.model_type].projection_weight_name(1)
    view = make_view(model, {name: model.get_parameter(name).detach().float().flip(0).contiguous()})
    expected = view(IDS).logits.float()
    assert torch.allclose(logits(lean_copy(view), IDS).float(), expected, atol=0.4)
    assert not torch.allclose(model(IDS).logits.float(), expected, atol=0.4)
