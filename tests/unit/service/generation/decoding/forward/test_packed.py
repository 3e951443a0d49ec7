"""Packed weights give the same product, are shared by versions, and are omitted if they cost too much memory."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import nn

from editing_core.models.views import make_view
from service.generation.decoding.forward.lean import lean_copy
from service.generation.decoding.forward.packed import PackedLinear, PackedWeights, decoding_copy, unpacked
from tests.support.tiny_models import ALL_FAMILIES, TinyFamily, tiny_model
from tests.unit.service.generation.decoding.forward.test_lean import IDS, logits

EDITED = "transformer.h.1.mlp.fc_out.weight"


def no_limit() -> None:
    return None


def weights_of(model: nn.Module) -> PackedWeights:
    """Packs matrices of all sizes."""
    found = PackedWeights.of(model, free_bytes=no_limit, smallest_size=1)
    assert found is not None
    return found


@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_logits_are_those_of_the_model_itself(family: TinyFamily) -> None:
    model = tiny_model(family)
    copy = lean_copy(model)
    weights_of(model).install(copy)
    assert any(type(module) is PackedLinear for module in copy.modules())
    assert not any(type(module) is PackedLinear for module in model.modules())
    assert torch.allclose(logits(copy, IDS), model(IDS).logits, atol=1e-4)


def test_versions_share_the_matrices_that_they_do_not_change() -> None:
    model = tiny_model("gptj")
    weights = weights_of(model)
    changed = model.get_parameter(EDITED).detach().flip(0).contiguous()
    view = make_view(model, {EDITED: changed})
    copies = [lean_copy(view), lean_copy(model)]
    for copy in copies:
        weights.install(copy)
    assert torch.allclose(logits(copies[0], IDS), view(IDS).logits, atol=1e-4)
    assert not torch.allclose(logits(copies[0], IDS), logits(copies[1], IDS), atol=1e-2)
    shared = {
        name: layer.packed is copies[1].get_submodule(name).packed
        for name, layer in copies[0].named_modules()
        if isinstance(layer, PackedLinear)
    }
    assert [name for name, is_one in shared.items() if not is_one] == [EDITED.removesuffix(".weight")]


def test_packed_numbers_are_read_back_as_they_are_in_memory() -> None:
    model = tiny_model("gptj")
    view = make_view(model, {EDITED: model.get_parameter(EDITED).detach() * 2})
    copy = decoding_copy(view, weights_of(model))
    weights = {EDITED: view.get_parameter(EDITED)}
    assert torch.equal(unpacked(copy, weights)[EDITED], weights[EDITED])
    layer = copy.get_submodule(EDITED.removesuffix(".weight"))
    assert isinstance(layer, PackedLinear)
    other = decoding_copy(model, weights_of(model)).get_submodule(EDITED.removesuffix(".weight"))
    assert isinstance(other, PackedLinear)
    layer.packed = other.packed
    assert torch.equal(unpacked(copy, weights)[EDITED], model.get_parameter(EDITED))


def test_one_row_alone_is_multiplied_plainly() -> None:
    layer = nn.Linear(48, 80)
    rows = torch.randn(3, 48)
    copy = lean_copy(nn.Sequential(layer))
    weights_of(nn.Sequential(layer)).install(copy)
    with torch.inference_mode():
        assert torch.equal(copy(rows[:1]), layer(rows[:1]))
        assert torch.allclose(copy(rows), layer(rows), atol=1e-5)


def test_nothing_is_packed_if_memory_is_short_and_the_log_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = tiny_model("gptj")
    with caplog.at_level(logging.INFO):
        assert PackedWeights.of(model, free_bytes=lambda: 1000, smallest_size=1) is None
    assert "weights_not_packed" in caplog.text


def test_small_matrices_and_other_dtypes_are_left_as_they_are() -> None:
    half = tiny_model("gptj", dtype=torch.bfloat16)
    assert PackedWeights.of(half, free_bytes=no_limit, smallest_size=1) is None
    assert PackedWeights.of(tiny_model("gptj"), free_bytes=no_limit) is None


def test_only_packed_matrices_are_counted_twice() -> None:
    model = tiny_model("gptj")
    weight = model.get_parameter(EDITED)
    assert weights_of(model).bytes_of(model, [EDITED]) == weight.nbytes
    other = tiny_model("gpt2")
    assert weights_of(other).bytes_of(other, ["transformer.h.1.mlp.c_proj.weight"]) == 0
