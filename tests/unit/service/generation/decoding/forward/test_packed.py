"""Packed weights give the same product, are shared by versions, and are left out where they cost too much."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
import torch
from torch import nn

from editing_core.models.views import make_view
from service.generation.decoding.forward import packed
from service.generation.decoding.forward.lean import lean_twin
from service.generation.decoding.forward.packed import PackedLinear, PackedWeights, unpacked, writing_twin
from tests.support.tiny_models import ALL_FAMILIES, TinyFamily, tiny_model
from tests.unit.service.generation.decoding.forward.test_lean import IDS, logits

EDITED = "transformer.h.1.mlp.fc_out.weight"


def no_limit() -> None:
    return None


@pytest.fixture
def everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small matrices are packed too."""
    monkeypatch.setattr(packed, "SMALLEST_SIZE", 1)


@pytest.fixture
def weights_of(everything: None) -> Callable[[nn.Module], PackedWeights]:
    def made(model: nn.Module) -> PackedWeights:
        found = PackedWeights.of(model, free_bytes=no_limit)
        assert found is not None
        return found

    return made


@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_logits_are_those_of_the_model_itself(
    family: TinyFamily, weights_of: Callable[[nn.Module], PackedWeights]
) -> None:
    model = tiny_model(family)
    twin = lean_twin(model)
    weights_of(model).put_into(twin)
    assert any(type(module) is PackedLinear for module in twin.modules())
    assert not any(type(module) is PackedLinear for module in model.modules())
    assert torch.allclose(logits(twin, IDS), model(IDS).logits, atol=1e-4)


def test_versions_share_what_they_do_not_change(weights_of: Callable[[nn.Module], PackedWeights]) -> None:
    model = tiny_model("gptj")
    weights = weights_of(model)
    changed = model.get_parameter(EDITED).detach().flip(0).contiguous()
    view = make_view(model, {EDITED: changed})
    twins = [lean_twin(view), lean_twin(model)]
    for twin in twins:
        weights.put_into(twin)
    assert torch.allclose(logits(twins[0], IDS), view(IDS).logits, atol=1e-4)
    assert not torch.allclose(logits(twins[0], IDS), logits(twins[1], IDS), atol=1e-2)
    shared = {
        name: layer.packed is twins[1].get_submodule(name).packed
        for name, layer in twins[0].named_modules()
        if isinstance(layer, PackedLinear)
    }
    assert [name for name, is_one in shared.items() if not is_one] == [EDITED.removesuffix(".weight")]


def test_packed_numbers_are_read_back_as_they_are_in_memory(weights_of: Callable[[nn.Module], PackedWeights]) -> None:
    model = tiny_model("gptj")
    view = make_view(model, {EDITED: model.get_parameter(EDITED).detach() * 2})
    twin = writing_twin(view, weights_of(model))
    weights = {EDITED: view.get_parameter(EDITED)}
    assert torch.equal(unpacked(twin, weights)[EDITED], weights[EDITED])
    layer = twin.get_submodule(EDITED.removesuffix(".weight"))
    assert isinstance(layer, PackedLinear)
    layer.packed = weights_of(model)._shared[id(model.get_parameter(EDITED))]
    assert torch.equal(unpacked(twin, weights)[EDITED], model.get_parameter(EDITED))


def test_one_row_alone_is_multiplied_plainly(weights_of: Callable[[nn.Module], PackedWeights]) -> None:
    layer = nn.Linear(48, 80)
    rows = torch.randn(3, 48)
    twin = lean_twin(nn.Sequential(layer))
    weights_of(nn.Sequential(layer)).put_into(twin)
    with torch.inference_mode():
        assert torch.equal(twin(rows[:1]), layer(rows[:1]))
        assert torch.allclose(twin(rows), layer(rows), atol=1e-5)


def test_where_memory_is_short_nothing_is_packed_and_the_log_says_so(
    everything: None, caplog: pytest.LogCaptureFixture
) -> None:
    model = tiny_model("gptj")
    with caplog.at_level(logging.INFO):
        assert PackedWeights.of(model, free_bytes=lambda: 1000) is None
    assert "weights_not_packed" in caplog.text


def test_small_matrices_and_other_dtypes_are_left_as_they_are(everything: None) -> None:
    assert PackedWeights.of(tiny_model("gptj", dtype=torch.bfloat16), free_bytes=no_limit) is None
    with pytest.MonkeyPatch.context() as patched:
        patched.undo()
        patched.setattr(packed, "SMALLEST_SIZE", 100_000)
        assert PackedWeights.of(tiny_model("gptj"), free_bytes=no_limit) is None


def test_only_what_is_packed_is_counted_twice(weights_of: Callable[[nn.Module], PackedWeights]) -> None:
    model = tiny_model("gptj")
    weight = model.get_parameter(EDITED)
    assert weights_of(model).bytes_of(model, [EDITED]) == weight.nbytes
    other = tiny_model("gpt2")
    assert weights_of(other).bytes_of(other, ["transformer.h.1.mlp.c_proj.weight"]) == 0
