"""A view computes with its own weights, shares all others, and never touches the original."""

from __future__ import annotations

import functools
import re
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from editing_core.errors import StoreMismatch
from editing_core.models.families.registry import family_of
from editing_core.models.shallow_copies import UnsupportedHook
from editing_core.models.views import make_view
from tests.support.tiny_models import ALL_FAMILIES, TinyFamily, tiny_model

NAMES = {family: tuple(family_of(family).projection_weight_name(layer) for layer in (1, 2)) for family in ALL_FAMILIES}
IDS = torch.tensor([[5, 80, 200, 31, 7, 7, 300]])

each_family = pytest.mark.parametrize("family", ALL_FAMILIES)


def changed_weights(model: nn.Module, family: TinyFamily, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(7)
    weights = {}
    for name in NAMES[family]:
        held = model.get_parameter(name)
        weights[name] = (held + 0.3 * torch.randn(held.shape, generator=generator)).to(dtype)
    return weights


def logits(model: Any) -> Tensor:
    with torch.no_grad():
        return model(input_ids=IDS).logits


def loaded_with(model: PreTrainedModel, weights: dict[str, Tensor], folder: Path) -> PreTrainedModel:
    model.save_pretrained(folder / "before")
    other = AutoModelForCausalLM.from_pretrained(folder / "before")
    other.load_state_dict(weights, strict=False)
    other.save_pretrained(folder / "after")
    return AutoModelForCausalLM.from_pretrained(folder / "after").eval()


@each_family
def test_a_view_answers_bit_for_bit_like_a_model_loaded_with_its_weights(family: TinyFamily, tmp_path: Path) -> None:
    model = tiny_model(family)
    weights = changed_weights(model, family)
    view = make_view(model, weights)
    assert torch.equal(logits(view), logits(loaded_with(model, weights, tmp_path)))
    assert not torch.equal(logits(view), logits(model))


@each_family
def test_the_original_is_as_before_when_a_view_was_made_and_used(family: TinyFamily) -> None:
    model = tiny_model(family)
    before, state = logits(model), {name: tensor.clone() for name, tensor in model.state_dict().items()}
    view = make_view(model, changed_weights(model, family))
    logits(view)
    assert torch.equal(logits(model), before)
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


@each_family
def test_a_view_copies_no_tensor_but_those_it_was_given(family: TinyFamily) -> None:
    model = tiny_model(family)
    weights = changed_weights(model, family)
    view = make_view(model, weights)
    originals = dict(model.named_parameters()) | dict(model.named_buffers())
    for name, tensor in (dict(view.named_parameters()) | dict(view.named_buffers())).items():
        expected = weights[name] if name in weights else originals[name]
        assert tensor.data_ptr() == expected.data_ptr(), name


@each_family
def test_a_view_without_weights_answers_like_the_original(family: TinyFamily) -> None:
    model = tiny_model(family)
    assert torch.equal(logits(make_view(model, {})), logits(model))


@each_family
def test_two_views_of_one_model_do_not_see_each_other(family: TinyFamily) -> None:
    model = tiny_model(family)
    weights = changed_weights(model, family)
    one, other = (make_view(model, {name: weights[name]}) for name in NAMES[family])
    expected = logits(one)
    logits(other)
    assert torch.equal(logits(one), expected)
    assert not torch.equal(logits(other), expected)


@each_family
def test_a_hook_on_a_view_is_not_on_the_original(family: TinyFamily) -> None:
    model = tiny_model(family)
    view = make_view(model, {})
    called = []
    view.get_output_embeddings().register_forward_hook(lambda *_: called.append("view"))
    logits(model)
    assert called == []
    logits(view)
    assert called == ["view"]


@each_family
def test_hidden_states_of_a_view_are_the_views_own_after_the_original_recorded_its(family: TinyFamily) -> None:
    model = tiny_model(family)
    original = model(input_ids=IDS, output_hidden_states=True).hidden_states
    view = make_view(model, changed_weights(model, family))
    recorded = view(input_ids=IDS, output_hidden_states=True).hidden_states
    assert len(recorded) == len(original) == 5
    assert torch.equal(recorded[1], original[1])
    assert not torch.equal(recorded[3], original[3])


@each_family
def test_a_float32_weight_in_a_bfloat16_model_is_used_unrounded(family: TinyFamily) -> None:
    model = tiny_model(family, dtype=torch.bfloat16)
    name = NAMES[family][0]
    # Smaller than half a bfloat16 step of nearly every weight: rounding would lose it.
    weight = model.get_parameter(name).float() * (1 + 2**-10)
    view = make_view(model, {name: weight})
    module = view.get_submodule(name.removesuffix(".weight"))
    given = torch.randn(3, 128, generator=torch.Generator().manual_seed(0)).bfloat16()
    bias = None if module.bias is None else module.bias.float()
    if family_of(family).projection_is_transposed:
        expected = (given.float() @ weight + bias).bfloat16()
    else:
        expected = nn.functional.linear(given.float(), weight, bias).bfloat16()
    assert view.get_parameter(name).dtype == torch.float32
    assert torch.equal(module(given), expected)
    assert logits(view).dtype == torch.bfloat16


@each_family
def test_an_unknown_name_is_refused(family: TinyFamily) -> None:
    with pytest.raises(StoreMismatch, match=r"no parameter 'transformer.h.99.mlp.fc_out.weight'"):
        make_view(tiny_model(family), {"transformer.h.99.mlp.fc_out.weight": torch.zeros(2, 2)})


@each_family
def test_a_weight_of_another_shape_is_refused(family: TinyFamily) -> None:
    model = tiny_model(family)
    name = NAMES[family][0]
    held = model.get_parameter(name)
    shapes = f"{re.escape(str(list(held.shape)))} in the model and {re.escape(str(list(held.T.shape)))} in the weights"
    with pytest.raises(StoreMismatch, match=shapes):
        make_view(model, {name: held.T})


class DeviceHook:
    """Stands where accelerate's AlignDevicesHook stands."""

    offload = False

    def pre_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        return args, kwargs


def dispatch(module: nn.Module, hook: DeviceHook) -> None:
    """Replace ``forward`` as accelerate's ``add_hook_to_module`` does."""

    def new_forward(module: Any, *args: Any, **kwargs: Any) -> Any:
        args, kwargs = module._hf_hook.pre_forward(module, *args, **kwargs)
        return module._old_forward(*args, **kwargs)

    module._old_forward = module.forward
    module._hf_hook = hook
    module.forward = functools.update_wrapper(functools.partial(new_forward, module), module.forward)


@each_family
def test_a_view_of_a_dispatched_model_computes_with_its_own_weights(family: TinyFamily) -> None:
    model = tiny_model(family)
    weights = changed_weights(model, family)
    expected, before = logits(make_view(model, weights)), logits(model)
    for module in list(model.modules()):
        dispatch(module, DeviceHook())
    view = make_view(model, weights)
    assert torch.equal(logits(view), expected)
    assert torch.equal(logits(model), before)


def test_a_view_of_an_offloaded_weight_is_refused() -> None:
    model = tiny_model("gptj")
    weights = changed_weights(model, "gptj")
    hook = DeviceHook()
    hook.offload = True
    dispatch(model.get_submodule("transformer.h.1.mlp.fc_out"), hook)
    with pytest.raises(UnsupportedHook, match="offloaded"):
        make_view(model, weights)


def test_a_forward_whose_closure_holds_the_original_is_refused() -> None:
    model = tiny_model("gptj")
    module = model.get_submodule("transformer.h.1.mlp.fc_out")
    held = module.forward
    module.forward = lambda hidden: held(hidden)
    with pytest.raises(UnsupportedHook, match="holds a module of the original"):
        make_view(model, changed_weights(model, "gptj"))


def test_a_forward_bound_by_hand_is_bound_to_the_view() -> None:
    model = tiny_model("gptj")
    weights = changed_weights(model, "gptj")
    expected = logits(make_view(model, weights))
    for module in model.modules():
        module.forward = types.MethodType(type(module).forward, module)
    assert torch.equal(logits(make_view(model, weights)), expected)


def test_a_hook_that_is_a_method_of_a_module_is_bound_to_the_views_copy() -> None:
    class Counting(nn.Linear):
        num_calls = 0

        def count(self, *_: Any) -> None:
            self.num_calls += 1

    model = nn.Sequential(Counting(2, 2))
    model[0].register_forward_hook(model[0].count)
    view = make_view(model, {"0.weight": torch.ones(2, 2)})
    view(torch.ones(1, 2))
    assert (model[0].num_calls, view[0].num_calls) == (0, 1)
