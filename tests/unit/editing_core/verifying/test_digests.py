"""The digest of tensors in memory is that of the file that the library makes of them."""

from __future__ import annotations

import hashlib

import pytest
import torch
from safetensors.torch import save
from torch import Tensor

from editing_core.models.views import make_view
from editing_core.verifying.digests import replaced_weights, tensors_digest
from editing_core.versions.manifest import EMPTY_DIGEST
from tests.support.generation import changed_weights
from tests.support.tiny_loaded import tiny_loaded
from tests.support.tiny_models import ALL_FAMILIES, TinyFamily


def _file_digest(tensors: dict[str, Tensor]) -> str:
    return "sha256:" + hashlib.sha256(save(tensors)).hexdigest()


def test_no_tensors_have_the_digest_of_the_original() -> None:
    assert tensors_digest({}) == EMPTY_DIGEST


def test_mixed_kinds_and_names_are_laid_out_as_in_a_file() -> None:
    kinds = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
    tensors = {
        f"{name}.{kind}": torch.randn(3, number + 1).to(kind)
        for number, name in enumerate(("weight", "ß.日本", "a.10", "a.9"))
        for kind in kinds
    }
    assert tensors_digest(tensors) == _file_digest(tensors)


def test_a_tensor_that_is_not_contiguous_counts_as_it_would_be_written() -> None:
    turned = torch.arange(12, dtype=torch.float32).reshape(3, 4).T
    assert tensors_digest({"w": turned}) == _file_digest({"w": turned.contiguous()})


@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_what_a_view_replaces_is_found_in_memory_and_one_flipped_bit_of_it_shows(family: TinyFamily) -> None:
    loaded = tiny_loaded(family)
    weights = changed_weights(loaded, seed=1)
    view = make_view(loaded.model, weights)
    assert replaced_weights(loaded.model, loaded.model) == {}
    written = _file_digest(weights)
    assert tensors_digest(replaced_weights(view, loaded.model)) == written
    name = next(iter(weights))
    view.get_parameter(name).detach().view(torch.int32)[0, 0] ^= 1
    assert tensors_digest(replaced_weights(view, loaded.model)) != written
