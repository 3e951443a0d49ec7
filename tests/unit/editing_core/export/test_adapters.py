"""An adapter: exact where the rank allows, and truthful about what it loses where it does not."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from editing_core.asking.scoring import score_targets
from editing_core.errors import ExportRefused
from editing_core.export.adapter import Adapter
from editing_core.export.delta import Change, Factors, factorise
from editing_core.export.request import ExportRequest
from editing_core.models.views import make_view
from tests.support.ask_afresh import ask
from tests.support.exported import IDS, RANK, TinyVersion, logits, tiny_version
from tests.support.tiny_models import ALL_FAMILIES, TinyFamily

PEFT = ExportRequest(version="v1", format="peft")
OF_FLOAT32 = 1e-6
"""Some times what float32 rounds, relative to the change."""


def change(rank: int) -> Change:
    generator = torch.Generator().manual_seed(0)
    original = torch.randn(24, 40, generator=generator)
    left, right = (torch.randn(n, rank, generator=generator, dtype=torch.float64) for n in original.shape)
    return Change(name="w", original=original, edited=(original.double() + left @ right.T).float())


@pytest.mark.parametrize("rank", [1, 5, 24])
def test_the_rank_found_is_that_of_the_change_however_it_was_rounded(rank: int) -> None:
    factors = factorise(change(rank), is_transposed=False, num_edits=rank, max_rank=None)
    assert factors.needed_rank == factors.rank == rank
    assert factors.error < OF_FLOAT32


@pytest.mark.parametrize("num_edits", [5, 7, 3, 200], ids=lambda expected: f"expected-{expected}")
def test_probing_finds_the_rank_and_the_factors_that_the_whole_decomposition_finds(num_edits: int) -> None:
    """Sizes over four orders of magnitude; where fewer are expected than there are, the whole is decomposed."""
    generator = torch.Generator().manual_seed(2)
    left, right = (torch.linalg.qr(torch.randn(n, 5, generator=generator, dtype=torch.float64)).Q for n in (96, 160))
    original = torch.randn(96, 160, generator=generator)
    delta = left * torch.logspace(1, -3, 5, dtype=torch.float64) @ right.T
    found = Change(name="w", original=original, edited=(original.double() + delta).float())
    factors = factorise(found, is_transposed=False, num_edits=num_edits, max_rank=None)
    u, sizes, v = torch.linalg.svd(found.delta, full_matrices=False)
    expected = u[:, :5] * sizes[:5] @ v[:5]
    assert factors.needed_rank == 5
    assert (factors.b_HR.double() @ factors.a_RM.double() - expected).norm() < OF_FLOAT32 * sizes[0]
    assert factors.error < OF_FLOAT32


@pytest.mark.parametrize("is_transposed", [False, True])
def test_a_lower_rank_gives_the_best_approximation_and_reports_its_loss(is_transposed: bool) -> None:
    found = change(5)
    factors = factorise(found, is_transposed=is_transposed, num_edits=5, max_rank=2)
    sizes = torch.linalg.svdvals(found.delta)
    assert (factors.rank, factors.needed_rank) == (2, 5)
    assert factors.error == pytest.approx(float(sizes[2:].norm() / sizes.norm()), rel=1e-5)
    product = factors.b_HR.double() @ factors.a_RM.double()
    lost = (product - (found.delta.T if is_transposed else found.delta)).norm() / found.delta.norm()
    assert factors.error == pytest.approx(float(lost), rel=1e-9)


def test_layers_of_unequal_rank_are_brought_to_one_without_a_change() -> None:
    one, three = (factorise(change(rank), is_transposed=False, num_edits=rank, max_rank=None) for rank in (1, 3))
    adapter = Adapter(factors={"a.weight": one, "b.weight": three}, is_transposed=False)
    found = adapter.tensors()
    assert {tuple(tensor.shape) for name, tensor in found.items() if "lora_A" in name} == {(3, 40)}
    a, b = (found[f"base_model.model.a.lora_{part}.weight"] for part in "AB")
    assert torch.equal(b @ a, one.b_HR @ one.a_RM)


@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_only_the_edited_layers_are_named_and_alpha_is_the_rank(tmp_path: Path, family: TinyFamily) -> None:
    version = tiny_version(tmp_path, family)
    record = version.exporter.export(PEFT, tmp_path / "out")
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    modules = sorted(name.removesuffix(".weight") for name in version.manifest.tensors)
    assert config["target_modules"] == modules
    assert config["r"] == config["lora_alpha"] == record["rank"] == RANK
    assert config["fan_in_fan_out"] == (family == "gpt2")
    held = load_file(tmp_path / "out" / "adapter_model.safetensors")
    assert set(held) == {f"base_model.model.{module}.lora_{part}.weight" for module in modules for part in "AB"}
    assert {tensor.dtype for tensor in held.values()} == {torch.float32}
    assert record["is_exact"]
    assert all(found["lost"] < OF_FLOAT32 for found in record["matrices"].values())


def test_a_truncated_adapter_asks_every_edit_again_and_names_those_that_are_lost(tmp_path: Path) -> None:
    version = tiny_version(tmp_path, "gptj", size=2.0, num_edits=24)
    request = ExportRequest(version="v1", format="peft", max_rank=1)
    record = version.exporter.export(request, tmp_path / "out")
    lost = record["recheck"]["lost"]
    assert 0 < len(lost) < 24
    assert (record["recheck"]["served"], record["recheck"]["exported"]) == (24, 24 - len(lost))
    card = (tmp_path / "out" / "README.md").read_text()
    assert card.count("| × |") == len(lost)
    assert all(edit in card for edit in lost)
    (found, _) = ask(
        {"base": str(version.model), "adapter": str(tmp_path / "out"), "ids": IDS.tolist()}, folder=tmp_path
    )[0]
    view = make_view(version.served().model, _applied(version, tmp_path / "out"))
    largest = found.abs().max()
    assert (found - logits(view)).abs().max() < 1e-5 * largest
    assert (found - version.logits()).abs().max() > 0.1 * largest
    assert _not_taken(version, view) == set(lost)


def _applied(version: TinyVersion, adapter: Path) -> dict[str, Tensor]:
    held, base = load_file(adapter / "adapter_model.safetensors"), load_file(version.model / "model.safetensors")
    applied = {}
    for name in version.manifest.tensors:
        module = f"base_model.model.{name.removesuffix('.weight')}"
        applied[name] = base[name] + held[f"{module}.lora_B.weight"] @ held[f"{module}.lora_A.weight"]
    return applied


def _not_taken(version: TinyVersion, model: torch.nn.Module) -> set[str]:
    pairs = [(edit.edit.filled_prompt, edit.edit.target_new) for edit in version.manifest.live]
    scores = score_targets(model, version.served().tokenizer, pairs)
    return {edit.id for edit, score in zip(version.manifest.live, scores, strict=True) if not score.greedy_match}


def test_a_change_is_measured_from_the_base_as_the_model_computed_with_it(tmp_path: Path) -> None:
    """Served in bfloat16, a float32 base was rounded: that is no part of the change, and would not be of low rank."""
    version = tiny_version(tmp_path, "gptj", num_edits=2)
    base = load_file(version.model / "model.safetensors")
    delta = {name: served - base[name] for name, served in version.store.load_tensors("v1", "cpu").items()}
    version.store.remove("v1")
    served = {name: base[name].bfloat16().float() + part for name, part in delta.items()}
    version.store.write(version.manifest.model_copy(update={"settings": {"dtype": "bfloat16"}}), served)
    record = version.exporter.export(PEFT, tmp_path / "out")
    assert (record["rank"], record["is_exact"], record["served_dtype"]) == (RANK, False, "bfloat16")
    assert record["recheck"]["total"] == 2
    card = (tmp_path / "out" / "README.md").read_text()
    assert "which is all that the change needs" in card
    assert "served in bfloat16 with whole edited matrices" in card


@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_edits_are_asked_again_in_what_the_library_makes_of_base_and_adapter(
    tmp_path: Path, family: TinyFamily
) -> None:
    version = tiny_version(tmp_path, family, size=2.0)
    version.exporter.export(ExportRequest(version="v1", format="peft", max_rank=1), tmp_path / "out")
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    (found, _) = ask(
        {"base": str(version.model), "adapter": str(tmp_path / "out"), "ids": IDS.tolist()}, folder=tmp_path
    )[0]
    held = load_file(tmp_path / "out" / "adapter_model.safetensors")
    factors = {
        name: Factors(
            a_RM=held[f"base_model.model.{name.removesuffix('.weight')}.lora_A.weight"],
            b_HR=held[f"base_model.model.{name.removesuffix('.weight')}.lora_B.weight"],
            needed_rank=1,
            error=0.0,
        )
        for name in version.manifest.tensors
    }
    adapter, loaded = Adapter(factors=factors, is_transposed=config["fan_in_fan_out"]), version.served()
    before = logits(loaded.model)
    with adapter.attached(loaded.model):
        asked = logits(loaded.model)
    assert (found - asked).abs().max() <= 1e-6 * found.abs().max() < 0.01 * (found - before).abs().max()
    assert torch.equal(logits(loaded.model), before)


def test_a_base_in_a_folder_is_not_named_as_if_it_were_on_the_hub(tmp_path: Path) -> None:
    version = tiny_version(tmp_path, "gpt2")
    version.exporter.export(PEFT, tmp_path / "out")
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == (None, None)
    lookalike = tmp_path / "run-7" / "snapshots" / "step-1000"
    shutil.copytree(version.model, lookalike)
    record = replace(version, model=lookalike).exporter.export(PEFT, tmp_path / "lookalike")
    config = json.loads((tmp_path / "lookalike" / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], record["base"]["source"]) == (None, "step-1000")
    snapshot = tmp_path / "models--org--small" / "snapshots" / "c0ffee"
    snapshot.parent.mkdir(parents=True)
    version.model.rename(snapshot)
    moved = replace(version, model=snapshot)
    record = moved.exporter.export(PEFT, tmp_path / "again")
    config = json.loads((tmp_path / "again" / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == ("org/small", "c0ffee")
    assert record["base"]["source"] == "org/small"


def test_of_the_original_there_is_no_adapter(tmp_path: Path) -> None:
    version = tiny_version(tmp_path, "gptj")
    with pytest.raises(ExportRefused, match="changes nothing of the original"):
        version.exporter.export(ExportRequest(version="v0", format="peft"), tmp_path / "out")
    version.store.write(version.manifest.model_copy(update={"version": "v2"}), {})
    with pytest.raises(ExportRefused, match="v2 changes nothing"):
        version.exporter.export(ExportRequest(version="v2", format="peft"), tmp_path / "out")
