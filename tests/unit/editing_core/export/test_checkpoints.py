"""A full checkpoint: the base's files with other matrices in them, whatever those files look like."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from editing_core.errors import ExportRefused, NotFound, StoreDamaged, StoreMismatch
from editing_core.export.card import read_record
from editing_core.export.request import ExportDtype, ExportRequest
from editing_core.models.location import model_fingerprint
from tests.support.exported import TinyVersion, logits, split_checkpoint, tiny_version

HF = ExportRequest(version="v1", format="hf")


@pytest.fixture
def version(tmp_path: Path) -> TinyVersion:
    return tiny_version(tmp_path, "gptj", num_edits=4)


def test_every_other_tensor_is_the_bases_own(version: TinyVersion, tmp_path: Path) -> None:
    version.exporter.export(HF, tmp_path / "out")
    base, found = (load_file(folder / "model.safetensors") for folder in (version.model, tmp_path / "out"))
    edited = version.store.load_tensors("v1", "cpu")
    assert found.keys() == base.keys()
    assert all(torch.equal(tensor, edited.get(name, base[name])) for name, tensor in found.items())


def test_the_original_is_exported_as_it_is(version: TinyVersion, tmp_path: Path) -> None:
    record = version.exporter.export(ExportRequest(version="v0", format="hf"), tmp_path / "out")
    base, found = (load_file(folder / "model.safetensors") for folder in (version.model, tmp_path / "out"))
    assert all(torch.equal(tensor, base[name]) for name, tensor in found.items())
    assert (record["num_edits"], record["matrices"], record["is_exact"]) == (0, {}, True)


@pytest.mark.parametrize("family", ["gptj", "gpt2"])
@pytest.mark.parametrize("strip", ["", "transformer."])
def test_a_base_in_several_files_with_older_names_keeps_both(tmp_path: Path, family: str, strip: str) -> None:
    version = tiny_version(tmp_path, family)  # type: ignore[arg-type]
    expected = version.logits()
    split_checkpoint(version.model, strip=strip)
    record = rebound(version).exporter.export(HF, tmp_path / "out")
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    assert index["weight_map"] == json.loads((version.model / "model.safetensors.index.json").read_text())["weight_map"]
    files = [load_file(tmp_path / "out" / name) for name in set(index["weight_map"].values())]
    sizes = [tensor.nbytes for tensors in files for tensor in tensors.values()]
    assert index["metadata"]["total_size"] == sum(sizes) < record["size_bytes"]
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(tmp_path / "out")), expected)


def rebound(version: TinyVersion) -> TinyVersion:
    """The same version as one of the model as its folder is now."""
    held = version.store.load_tensors("v1", "cpu")
    version.store.remove("v1")
    known = {"model_fingerprint": model_fingerprint(version.model)}
    manifest = version.store.write(version.manifest.model_copy(update=known), held)
    return TinyVersion(model=version.model, store=version.store, manifest=manifest)


@pytest.mark.parametrize("stored", [torch.float16, torch.bfloat16], ids=str)
def test_a_half_precision_base_is_exported_wide_and_loads_so_by_itself(tmp_path: Path, stored: torch.dtype) -> None:
    version = tiny_version(tmp_path, "gpt_neox", dtype=stored)
    version.exporter.export(HF, tmp_path / "out")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert model.dtype == torch.float32
    assert torch.equal(logits(model), version.logits())


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_says_what_rounding_cost_and_asks_every_edit_again(tmp_path: Path, dtype: ExportDtype) -> None:
    """A change of 2 % of the weight is worth some steps of bfloat16, which are 0.4 to 0.8 % of a number."""
    version = tiny_version(tmp_path, "gptj", size=0.02, num_edits=12)
    record = version.exporter.export(ExportRequest(version="v1", format="hf", dtype=dtype), tmp_path / "out")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    served = version.store.load_tensors("v1", "cpu")
    base = load_file(version.model / "model.safetensors")
    for name, found in record["matrices"].items():
        rounded = model.get_parameter(name).detach()
        assert torch.equal(rounded, served[name].to(rounded.dtype))
        lost = (rounded.double() - served[name].double()).norm() / (served[name].double() - base[name].double()).norm()
        assert found["lost"] == pytest.approx(float(lost), rel=1e-9)
        assert found["change"] == pytest.approx(0.02, rel=1e-4)
    assert record["recheck"]["total"] == record["recheck"]["served"] == 12
    assert record["recheck"]["exported"] == 12 - len(record["recheck"]["lost"])
    assert model.dtype == getattr(torch, dtype)
    assert read_record(tmp_path / "out") == record
    assert "of 12 edits take, 12 as served" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_was_served_in_half_precision_is_never_called_exact_and_is_asked_again(
    version: TinyVersion, tmp_path: Path, dtype: ExportDtype
) -> None:
    held = version.store.load_tensors("v1", "cpu")
    version.store.remove("v1")
    version.store.write(version.manifest.model_copy(update={"settings": {"dtype": "bfloat16"}}), held)
    record = version.exporter.export(ExportRequest(version="v1", format="hf", dtype=dtype), tmp_path / "out")
    assert (record["is_exact"], record["recheck"]["total"]) == (False, 4)
    assert (
        "The version is served in bfloat16 with its edited matrices in float32"
        in (tmp_path / "out" / "README.md").read_text()
    )


def test_the_card_of_the_original_in_half_precision_does_not_call_it_exact(
    version: TinyVersion, tmp_path: Path
) -> None:
    version.exporter.export(ExportRequest(version="v0", format="hf", dtype="float16"), tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "rounded where the base" in card
    assert "exactly" not in card


@pytest.mark.parametrize("edited", [True, False])
def test_a_number_that_float16_cannot_hold_is_refused_by_name(tmp_path: Path, *, edited: bool) -> None:
    version = tiny_version(tmp_path, "gptj")
    held = version.store.load_tensors("v1", "cpu")
    name = min(held)
    if edited:
        version.store.remove("v1")
        version.store.write(version.manifest, {**held, name: held[name].index_fill(0, torch.tensor([0]), 7e4)})
    else:
        file = version.model / "model.safetensors"
        base = load_file(file)
        name = next(other for other in sorted(base) if other not in held and base[other].is_floating_point())
        base[name].view(-1)[0] = 7e4
        save_file(base, file)
        version = rebound(version)
    with pytest.raises(ExportRefused, match=f"{name} holds 7e\\+04, which float16 cannot"):
        version.exporter.export(ExportRequest(version="v1", format="hf", dtype="float16"), tmp_path / "place" / "out")
    assert list((tmp_path / "place").iterdir()) == []


def test_the_exported_tokenizer_gives_nothing_that_the_model_would_add_up(version: TinyVersion, tmp_path: Path) -> None:
    config = version.model / "tokenizer_config.json"
    names = {"model_input_names": ["input_ids", "token_type_ids"]}
    config.write_text(json.dumps(json.loads(config.read_text()) | names))
    version.exporter.export(HF, tmp_path / "out")
    found = AutoTokenizer.from_pretrained(tmp_path / "out")("Ada lives in Rome.")
    assert set(found) == {"input_ids", "attention_mask"}
    assert found["input_ids"] == version.served().tokenizer("Ada lives in Rome.")["input_ids"]


def test_a_damaged_version_is_refused_and_nothing_is_written(version: TinyVersion, tmp_path: Path) -> None:
    path = version.store.layout.tensor_file("v1")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    for form in ("hf", "peft"):
        with pytest.raises(StoreDamaged, match="version v1 is damaged"):
            version.exporter.export(ExportRequest(version="v1", format=form), tmp_path / "place" / "out")
    assert not (tmp_path / "place").exists()


def test_another_model_is_refused_as_a_base(version: TinyVersion, tmp_path: Path) -> None:
    config = version.model / "config.json"
    config.write_text(config.read_text() + "\n")
    with pytest.raises(StoreMismatch, match="name the model that the store belongs to"):
        version.exporter.export(HF, tmp_path / "out")


def test_an_unknown_version_is_not_found(version: TinyVersion, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="v7"):
        version.exporter.export(ExportRequest(version="v7", format="hf"), tmp_path / "out")


def test_an_occupied_target_folder_is_refused_before_anything_is_read(version: TinyVersion, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(ExportRefused, match="is not empty"):
        version.exporter.export(HF, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_progress_counts_every_byte_that_is_written(version: TinyVersion, tmp_path: Path) -> None:
    reported: list[tuple[str, int, int]] = []
    version.exporter.export(HF, tmp_path / "out", on_phase=lambda *step: reported.append(step))
    writing = [(done, total) for phase, done, total in reported if phase == "writing"]
    with safe_open(tmp_path / "out" / "model.safetensors", framework="pt") as file:
        size = sum(file.get_tensor(name).nbytes for name in file.keys())  # noqa: SIM118 - not a mapping
    assert writing[-1] == (size, size)
    assert [done for done, _ in writing] == sorted(done for done, _ in writing)
