"""What guards, protected neighbours and edits that are already true do to a joint solve of a tiny model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from editing_core.asking.probes import ProbeSet
from editing_core.asking.scoring import score_targets
from editing_core.covariance.artefacts import ModelArtefacts
from editing_core.editor.editor import JointEditor
from editing_core.edits import AcceptedEdit, Edit, Neighbor
from editing_core.guards import AcceptedGuard, Guard
from editing_core.memit.tokens import TokenRow
from editing_core.memit.update import Update
from editing_core.models.load import LoadedModel
from editing_core.models.views import make_view
from editing_core.versions.target_files import TargetFiles
from tests.support.tiny_loaded import CONFIG, CONTEXTS, accepted, tiny_edits, tiny_loaded
from tests.support.tiny_models import ALL_FAMILIES, TinyFamily, wordy_model

WEIGHTY = replace(CONFIG, guard_weight=4.0)
GUARDS = tuple(
    AcceptedGuard(guard=Guard(prompt=f"{name} lives in", target="Rome", subject=name), created="", author=None)
    for name in ("Rocard", "Toyota", "Brunei", "Danielle Darrieux")
)


def joint(loaded: LoadedModel, folder: Path) -> JointEditor:
    width = loaded.family.projection_weight(loaded.model, 0).numel() // loaded.hidden_size
    sample = torch.randn(4 * width, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    artefacts = ModelArtefacts(
        contexts=CONTEXTS,
        covariances=dict.fromkeys(CONFIG.layers, sample.T @ sample / len(sample)),
        probes=ProbeSet((), (), torch.empty(0)),
        heldout_ids=(),
        heldout_perplexity=1.0,
        num_tokens=1,
    )
    return JointEditor(loaded=loaded, artefacts=artefacts, config=WEIGHTY, targets=TargetFiles(folder))


def solved(editor: JointEditor, edits: list[AcceptedEdit], guards: tuple[AcceptedGuard, ...] = ()) -> Update:
    editor.compute_targets(edits, live=edits)
    return editor.build(edits, guards=guards)


def key(loaded: LoadedModel, view: torch.nn.Module, row: TokenRow, layer: int) -> torch.Tensor:
    seen: list[torch.Tensor] = []
    hook = loaded.family.projection_module(view, layer).register_forward_pre_hook(lambda _m, a: seen.append(a[0]))
    with torch.no_grad():
        view(input_ids=torch.tensor([row.ids]))
    hook.remove()
    return seen[0][0, row.lookup]


@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_each_layers_change_is_that_of_the_formula_with_the_guards_keys_in_the_bracket(
    family: TinyFamily, tmp_path: Path
) -> None:
    loaded = tiny_loaded(family, dtype=torch.float64)
    editor, edits = joint(loaded, tmp_path), tiny_edits(6)
    update = solved(editor, edits, GUARDS)
    held = editor.holding(edits, GUARDS).rows
    assert len(held) == len(GUARDS)
    weights: dict[str, torch.Tensor] = {}
    for layer in CONFIG.layers:
        view = make_view(loaded.model, weights)
        rows = [[key(loaded, view, row, layer) for row in rows] for rows in held]
        held_MP = torch.stack([0.5 * bare + 0.5 * torch.stack(others).mean(0) for bare, *others in rows]).T
        found = update.layers[layer]
        k, r = found.keys_NM.T, found.residuals_NH.T
        bracket = CONFIG.prior_weight * editor.artefacts.covariances[layer] + k @ k.T
        bracket += WEIGHTY.guard_weight * held_MP @ held_MP.T
        expected = r @ k.T @ torch.linalg.inv(bracket)
        # GPT-J's attention computes its scores in float32 whatever the model's dtype is (transformers).
        tolerance = 1e-5 if family == "gptj" else 1e-8
        assert float((found.delta_HM - expected).norm() / expected.norm()) < tolerance
        name = loaded.family.projection_weight_name(layer)
        weights[name] = update.weights[name]


def test_a_protected_neighbour_moves_less_than_one_that_is_only_asked(tmp_path: Path) -> None:
    loaded = tiny_loaded("gpt_neox")
    editor = joint(loaded, tmp_path)
    neighbor = (Neighbor(prompt="Rocard lives in"),)
    edits = [replace(row, edit=replace(row.edit, neighborhood=neighbor)) for row in tiny_edits(4)]
    asked = solved(editor, edits)
    held = solved(editor, [replace(row, edit=replace(row.edit, protect=True)) for row in edits])
    (rows,) = editor.holding([replace(edits[0], edit=replace(edits[0].edit, protect=True))]).rows
    keys = torch.stack([key(loaded, loaded.model, row, CONFIG.layers[0]) for row in rows]).double()
    mean = 0.5 * keys[0] + 0.5 * keys[1:].mean(0)
    moved = [float((update.layers[CONFIG.layers[0]].delta_HM @ mean).norm()) for update in (asked, held)]
    assert moved[1] < moved[0] / 2


def test_without_guards_and_protection_the_bits_are_those_of_the_plain_solve(tmp_path: Path) -> None:
    editor, edits = joint(tiny_loaded("gptj"), tmp_path), tiny_edits(4)
    neighbor = (Neighbor(prompt="Rocard lives in"),)
    with_neighbors = [replace(row, edit=replace(row.edit, neighborhood=neighbor)) for row in edits]
    plain, asked = solved(editor, edits), solved(editor, with_neighbors)
    assert all(torch.equal(plain.weights[name], asked.weights[name]) for name in plain.weights)


def test_guards_alone_leave_the_original_as_it_is(tmp_path: Path) -> None:
    assert joint(tiny_loaded("gptj"), tmp_path).build([], guards=GUARDS).weights == {}


EDITOR_CASES = st.tuples(st.permutations(range(6)), st.permutations(range(len(GUARDS))))


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(EDITOR_CASES)
def test_edits_and_guards_in_any_order_give_the_same_bits(tmp_path: Path, orders: tuple[list[int], list[int]]) -> None:
    loaded = tiny_loaded("gptj")
    neighbors = [(Neighbor(prompt=f"The home of Number {n} is"),) for n in range(6)]
    edits = [
        replace(row, edit=replace(row.edit, neighborhood=neighbors[n], protect=n % 2 == 0))
        for n, row in enumerate(tiny_edits(6))
    ]
    expected = solved(joint(loaded, tmp_path), edits, GUARDS)
    found = solved(joint(loaded, tmp_path), [edits[i] for i in orders[0]], tuple(GUARDS[i] for i in orders[1]))
    assert all(torch.equal(expected.weights[name], found.weights[name]) for name in expected.weights)


def wordy() -> LoadedModel:
    return replace(tiny_loaded("gptj"), model=wordy_model("gptj"), fingerprint="sha256:wordy")


def already_true(loaded: LoadedModel, subject: str, prompt: str, number: int) -> AcceptedEdit:
    """An edit that asks for what the model says anyhow."""
    filled = prompt.replace("{}", subject)
    first = score_targets(loaded.model, loaded.tokenizer, [(filled, "x")])[0].first_choice
    return accepted(subject, prompt, loaded.tokenizer.decode([first]), number=number)


def test_an_edit_that_is_already_true_costs_no_z_and_is_held(tmp_path: Path) -> None:
    loaded = wordy()
    editor = joint(loaded, tmp_path)
    true, other = already_true(loaded, "number 7", "The city of {} is", 1), tiny_edits(1)[0]
    live = [true, other]
    assert editor.settled(live) == {true.id}
    assert editor.missing_targets(live) == [other]
    update = solved(editor, live)
    assert set(editor.searches(live)) == {other.id}
    assert editor.rows_of(true).prompts in editor.holding(live).rows
    standing = editor.standing(live, update)
    assert (set(standing.already_true), set(standing.searches)) == ({true.id}, {other.id})


def test_with_nothing_but_edits_that_are_already_true_the_original_stays(tmp_path: Path) -> None:
    loaded = wordy()
    editor = joint(loaded, tmp_path)
    live = [already_true(loaded, f"number {n}", "The city of {} is", n) for n in (7, 8)]
    assert solved(editor, live).weights == {}


def test_with_another_edit_about_its_subject_it_joins_the_search(tmp_path: Path) -> None:
    loaded = wordy()
    editor = joint(loaded, tmp_path)
    true = already_true(loaded, "number 7", "The city of {} is", 1)
    made = Edit(subject="number 7", prompt="{} speaks", target_new="a boat", relation="other")
    other = replace(true, id="other", edit=made)
    assert editor.settled([true, other]) == frozenset()
    assert {row.id for row in editor.missing_targets([true, other])} == {true.id, "other"}


def test_nearest_names_a_live_edit_about_another_subject(tmp_path: Path) -> None:
    editor, edits = joint(tiny_loaded("gpt_neox"), tmp_path), tiny_edits(5)
    twin = accepted("Ada ", edits[0].edit.prompt, "a boat", number=9)
    twin = replace(twin, edit=replace(twin.edit, subject="Adda"))
    live = [*edits, twin]
    standing = editor.standing(live, solved(editor, live))
    assert set(standing.nearest) == {row.id for row in live}
    for own, (other, cosine) in standing.nearest.items():
        assert other != own
        assert -1.0 <= cosine <= 1.0 + 1e-9
