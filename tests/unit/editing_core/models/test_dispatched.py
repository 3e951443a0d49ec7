"""A model that accelerate has spread over devices, its ``forward`` replaced on every module, is edited like any other.

There is one device here, so the hooks move nothing; what is shown is that each part of the core runs its own modules
and weights behind them, and not the original's.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from accelerate import dispatch_model
from torch import Tensor

from editing_core.covariance.statistics import SecondMoments
from editing_core.memit.search.rows import GroupRows
from editing_core.memit.targets import search_targets
from editing_core.memit.tokens import edit_rows
from editing_core.memit.update import solve_edits
from editing_core.models.load import LoadedModel
from editing_core.models.views import make_view
from tests.support.decoding import engine_of, requests, run_all
from tests.support.tiny_loaded import CONFIG, CONTEXTS, tiny_edits, tiny_loaded
from tests.support.tiny_models import ALL_FAMILIES, TinyFamily

IDS = torch.tensor([[5, 80, 200, 31, 7, 9, 300]])
each_family = pytest.mark.parametrize("family", ALL_FAMILIES)


def dispatched(family: TinyFamily) -> LoadedModel:
    loaded = tiny_loaded(family)
    base, blocks = loaded.family.base, loaded.family.blocks
    names = [name for name, _ in loaded.family.base_model(loaded.model).named_children() if name != blocks]
    device_map = dict.fromkeys([f"{base}.{name}" for name in names], "cpu")
    device_map |= {f"{base}.{blocks}.{i}": "cpu" for i in range(loaded.family.num_layers(loaded.model))}
    dispatch_model(loaded.model, device_map | {loaded.family.head: "cpu"}, main_device="cpu", force_hooks=True)
    assert hasattr(loaded.family.projection_module(loaded.model, 1), "_hf_hook")
    return loaded


def edited(loaded: LoadedModel, folder: Path) -> dict[str, Tensor]:
    rows = [
        edit_rows(loaded.tokenizer, accepted.edit, CONTEXTS, max_positions=loaded.max_positions)
        for accepted in tiny_edits(6)
    ]
    found = search_targets(loaded, [GroupRows((edit,)) for edit in rows], CONFIG)
    targets = torch.stack([target.targets_EH[0] for target in found])
    covariances = dict.fromkeys(CONFIG.layers, torch.eye(4 * loaded.hidden_size))
    prompts = [edit.prompts for edit in rows]
    return solve_edits(loaded, prompts, targets, covariances=covariances, config=CONFIG).weights


@each_family
def test_the_search_and_the_update_give_what_they_give_without_hooks(family: TinyFamily, tmp_path: Path) -> None:
    found, expected = edited(dispatched(family), tmp_path), edited(tiny_loaded(family), tmp_path)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@each_family
def test_a_view_answers_with_its_own_weights(family: TinyFamily, tmp_path: Path) -> None:
    loaded, plain = dispatched(family), tiny_loaded(family)
    weights = edited(plain, tmp_path)
    with torch.no_grad():
        before = loaded.model(input_ids=IDS).logits
        found = make_view(loaded.model, weights)(input_ids=IDS).logits
        expected = make_view(plain.model, weights)(input_ids=IDS).logits
        after = loaded.model(input_ids=IDS).logits
    assert torch.equal(found, expected)
    assert not torch.equal(found, before)
    assert torch.equal(after, before)


@each_family
def test_second_moments_are_those_without_hooks(family: TinyFamily) -> None:
    windows = [list(range(10, 74)), list(range(100, 164))]
    sums = []
    for loaded in (dispatched(family), tiny_loaded(family)):
        moments = SecondMoments.empty(loaded, CONFIG.layers)
        moments.add(loaded, windows)
        sums.append(moments.sums)
    assert all(torch.equal(sums[0][layer], sums[1][layer]) for layer in CONFIG.layers)


@each_family
def test_the_decode_loop_writes_the_same(family: TinyFamily, tmp_path: Path) -> None:
    plain = tiny_loaded(family)
    weights = edited(plain, tmp_path)
    views = (make_view(dispatched(family).model, weights), make_view(plain.model, weights))
    found, expected = ([r.ids for r in run_all(engine_of(view, num_places=3), requests())] for view in views)
    assert found == expected
