"""Joined projections: the same function and parameters, no second copy; a version keeps what is its own."""

from __future__ import annotations

import copy

import pytest
import torch

from editing_core.models.views import make_view
from service.generation.decoding.forward.joined import join_projections, joined_weight, projections_of
from service.generation.decoding.forward.lean import lean_copy
from tests.support.decoding import engine_of, requests, run_all
from tests.support.generation import greedy_ids
from tests.support.tiny_models import TINY_FAMILIES, TinyFamily, tiny_model


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_answers_are_those_of_the_model_itself(family: TinyFamily) -> None:
    model = copy.deepcopy(tiny_model(family))
    expected = [greedy_ids(model, list(request.prompt_ids), request.max_new_tokens) for request in requests()]
    join_projections(model)
    twin = lean_copy(model)
    assert any(getattr(module, "joined", None) is not None for module in twin.modules()) == (family == "gptj")
    assert [list(result.ids) for result in run_all(engine_of(twin), requests())] == expected
    assert [greedy_ids(model, list(r.prompt_ids), r.max_new_tokens) for r in requests()] == expected


def test_parameters_stay_and_lie_in_one_piece_of_memory() -> None:
    model = copy.deepcopy(tiny_model("gptj"))
    before = {name: (parameter, parameter.detach().clone()) for name, parameter in model.named_parameters()}
    join_projections(model)
    for name, parameter in model.named_parameters():
        own, numbers = before[name]
        assert parameter is own
        assert torch.equal(parameter, numbers)
    for module in model.modules():
        if parts := projections_of(module):
            joined = joined_weight(parts)
            assert joined is not None
            assert joined.data_ptr() == parts[0].weight.data_ptr()
            assert torch.equal(joined, torch.cat([part.weight for part in parts]))
    pieces = {parameter.untyped_storage().data_ptr(): parameter.untyped_storage() for parameter in model.parameters()}
    numbers = {id(parameter): parameter.nbytes for parameter in model.parameters()}
    assert sum(piece.nbytes() for piece in pieces.values()) == sum(numbers.values())


def test_a_version_whose_projection_is_its_own_does_not_use_the_originals() -> None:
    model = copy.deepcopy(tiny_model("gptj"))
    join_projections(model)
    name = "transformer.h.1.attn.q_proj.weight"
    view = make_view(model, {name: model.get_parameter(name).detach() * -1})
    expected = [greedy_ids(view, list(request.prompt_ids), request.max_new_tokens) for request in requests()]
    found = [list(result.ids) for result in run_all(engine_of(lean_copy(view)), requests())]
    assert found == expected
    assert found != [list(result.ids) for result in run_all(engine_of(lean_copy(model)), requests())]


def test_a_view_of_a_twin_uses_its_own_projection_too() -> None:
    model = copy.deepcopy(tiny_model("gptj"))
    join_projections(model)
    name = "transformer.h.1.attn.q_proj.weight"
    weights = {name: model.get_parameter(name).detach() * -1}
    found = run_all(engine_of(lean_copy(make_view(lean_copy(model), weights))), requests())
    expected = run_all(engine_of(lean_copy(make_view(model, weights))), requests())
    assert [result.ids for result in found] == [result.ids for result in expected]
