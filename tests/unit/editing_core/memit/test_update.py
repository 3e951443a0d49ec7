"""The joint update against its formula, and its promises: the original stays, the order leaves no trace."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from editing_core.asking.probes import ProbeSet
from editing_core.covariance.artefacts import ModelArtefacts
from editing_core.editor.editor import JointEditor
from editing_core.errors import NotPositiveDefinite
from editing_core.memit.solve import solve_holding
from editing_core.models.load import LoadedModel
from editing_core.models.views import make_view
from editing_core.versions.target_files import TargetFiles
from tests.support.tiny_loaded import CONFIG, CONTEXTS, tiny_edits, tiny_loaded
from tests.support.tiny_models import ALL_FAMILIES, TinyFamily


def covariance(loaded: LoadedModel, seed: int) -> Tensor:
    width = loaded.family.projection_weight(loaded.model, 0).numel() // loaded.hidden_size
    sample = torch.randn(4 * width, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return sample.T @ sample / len(sample)


def editor(loaded: LoadedModel, folder: Path) -> JointEditor:
    artefacts = ModelArtefacts(
        contexts=CONTEXTS,
        covariances={layer: covariance(loaded, layer) for layer in CONFIG.layers},
        probes=ProbeSet((), (), torch.empty(0)),
        heldout_ids=(),
        heldout_perplexity=1.0,
        num_tokens=1,
    )
    return JointEditor(loaded=loaded, artefacts=artefacts, config=CONFIG, targets=TargetFiles(folder))


def plain_update(loaded: LoadedModel, joint: JointEditor, num_edits: int) -> dict[str, Tensor]:
    """MEMIT.md part 3, with a full forward per row, full rows, and a general inverse."""
    edits = tiny_edits(num_edits)
    found = joint.searches(edits)
    weights: dict[str, Tensor] = {}
    for done, layer in enumerate(CONFIG.layers):
        view = make_view(loaded.model, weights)
        keys, residuals = [], []
        for edit in edits:
            rows = joint.rows_of(edit)
            taken = [_forward(loaded, view, row.ids, row.lookup, layer) for row in rows.prompts]
            others = torch.stack([key for key, _ in taken[1:]]).mean(0)
            keys.append(0.5 * taken[0][0] + 0.5 * others)
            left = len(CONFIG.layers) - done
            residuals.append((found[edit.id].targets_EH[0] - taken[0][1]) / left)
        k, r = torch.stack(keys).T.double(), torch.stack(residuals).T.double()
        bracket = CONFIG.prior_weight * joint.artefacts.covariances[layer] + k @ k.T
        name = loaded.family.projection_weight_name(layer)
        change = r @ k.T @ torch.linalg.inv(bracket)
        change = change.T if loaded.family.projection_is_transposed else change
        weights[name] = loaded.family.projection_weight(loaded.model, layer) + change
    return weights


def _forward(
    loaded: LoadedModel, view: torch.nn.Module, ids: tuple[int, ...], lookup: int, layer: int
) -> tuple[Tensor, Tensor]:
    key: list[Tensor] = []
    hook = loaded.family.projection_module(view, layer).register_forward_pre_hook(lambda _m, a: key.append(a[0]))
    with torch.no_grad():
        states = view(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states
    hook.remove()
    return key[0][0, lookup], states[CONFIG.target_layer + 1][0, lookup]


@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_the_update_equals_the_formula_with_a_general_inverse(family: TinyFamily, tmp_path: Path) -> None:
    loaded = tiny_loaded(family, dtype=torch.float64)
    joint = editor(loaded, tmp_path)
    edits = tiny_edits(9)
    joint.compute_targets(edits, live=edits)

    update = joint.build(edits)

    # GPT-J's attention computes its scores in float32 whatever the model's dtype is (transformers).
    tolerance = 1e-5 if family == "gptj" else 1e-8
    for name, expected in plain_update(loaded, joint, 9).items():
        original = loaded.model.get_parameter(name)
        change = expected - original
        assert float((update.weights[name] - expected).norm() / change.norm()) < tolerance


@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_building_changes_nothing_of_the_model(family: TinyFamily, tmp_path: Path) -> None:
    loaded = tiny_loaded(family)
    before = {name: tensor.clone() for name, tensor in loaded.model.state_dict().items()}
    joint = editor(loaded, tmp_path)
    edits = tiny_edits(4)

    joint.compute_targets(edits, live=edits)
    update = joint.build(edits)

    assert set(update.weights) == {loaded.family.projection_weight_name(layer) for layer in CONFIG.layers}
    for name, tensor in loaded.model.state_dict().items():
        assert torch.equal(tensor, before[name])
    for name, weight in update.weights.items():
        assert not torch.equal(weight, before[name])


def test_the_order_of_arrival_leaves_no_trace(tmp_path: Path) -> None:
    joint = editor(tiny_loaded("gptj"), tmp_path)
    edits = tiny_edits(7)
    joint.compute_targets(edits, live=edits)

    forwards, backwards = joint.build(edits), joint.build(edits[::-1])

    assert all(torch.equal(forwards.weights[name], backwards.weights[name]) for name in forwards.weights)


def test_the_empty_set_changes_no_weight(tmp_path: Path) -> None:
    assert editor(tiny_loaded("gptj"), tmp_path).build([]).weights == {}


def test_stored_z_is_not_computed_again_and_a_new_companion_changes_the_group(tmp_path: Path) -> None:
    joint = editor(tiny_loaded("gpt_neox"), tmp_path)
    first, _ = tiny_edits(2)
    joint.compute_targets([first], live=[first])
    assert joint.missing_targets([first]) == []

    companion = tiny_edits(9)[8]
    same_subject = type(first)(
        id="other",
        edit=type(first.edit)(subject=first.edit.subject, prompt="{} eats", target_new="fish", relation="food"),
        batch="b",
        acceptance=2,
        created=first.created,
    )
    assert joint.missing_targets([first, companion]) == [companion]
    assert {edit.id for edit in joint.missing_targets([first, same_subject])} == {first.id, "other"}


def test_a_covariance_of_too_few_samples_is_refused_with_the_number_needed() -> None:
    thin = torch.zeros(8, 8, dtype=torch.float64)
    thin[0, 0] = 1.0
    with pytest.raises(NotPositiveDefinite, match="needs at least 8 tokens"):
        solve_holding(torch.ones(8, 1), torch.ones(4, 1), thin, prior_weight=1.0)


def test_half_precision_models_get_float32_edited_matrices(tmp_path: Path) -> None:
    loaded = tiny_loaded("gptj", dtype=torch.bfloat16)
    joint = editor(loaded, tmp_path)
    edits = tiny_edits(3)
    joint.compute_targets(edits, live=edits)

    update = joint.build(edits)

    assert {weight.dtype for weight in update.weights.values()} == {torch.float32}
    view = make_view(loaded.model, update.weights)
    ids = torch.tensor([joint.rows_of(edits[0]).prompts[0].ids])
    assert not torch.equal(view(input_ids=ids).logits, loaded.model(input_ids=ids).logits)


def test_damaged_z_is_set_aside_and_computed_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    joint, edits = editor(tiny_loaded("gptj"), tmp_path), tiny_edits(2)
    joint.compute_targets(edits, live=edits)
    (before, *_) = files = sorted(tmp_path.rglob("*.safetensors"))
    content = before.read_bytes()
    before.write_bytes(content[:-9])
    assert len(joint.missing_targets(edits)) == 1
    assert "cannot be read" in caplog.text
    reported: list[tuple[int, int]] = []
    joint.compute_targets(edits, live=edits, on_progress=lambda done, total: reported.append((done, total)))
    assert reported[-1] == (1, 1)
    assert sorted(tmp_path.rglob("*.safetensors")) == files
    assert joint.missing_targets(edits) == []
