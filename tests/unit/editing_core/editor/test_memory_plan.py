"""What a model needs is fields from its files, and refused where it does not fit, before anything is loaded."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from editing_core.editor.memory_plan import outlook
from editing_core.errors import InvalidSettings, UnknownModelFamily
from editing_core.models.load import load_model, skeleton
from editing_core.models.memory import free_bytes, require_room, weights_bytes
from tests.support.tiny_models import ALL_FAMILIES, TinyFamily, save_tiny_model


@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_the_reported_needs_are_those_of_the_loaded_model(family: TinyFamily, tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "m", family)
    needs = outlook(str(folder), device="cpu", dtype="bfloat16", layers="0-1").needs
    loaded = load_model(str(folder), device="cpu", dtype="bfloat16")
    edited = [loaded.family.projection_weight(loaded.model, layer) for layer in (0, 1)]
    assert needs.model == weights_bytes(loaded.model)
    assert needs.version == sum(4 * weight.numel() for weight in edited)
    assert needs.statistics == 2 * 4 * (4 * loaded.hidden_size) ** 2
    assert loaded.dtype == torch.bfloat16


def test_the_demo_models_needs_are_reported_in_gb() -> None:
    fields = outlook("demo-gptj", device="cpu", dtype=None).log_fields("model", "version")
    assert fields["device"] == "cpu"
    assert 0.01 < float(fields["model_gb"]) < 0.05
    assert float(fields["free_gb_cpu"]) > 0


def test_weights_that_do_not_fit_are_refused_before_they_are_loaded(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "m", "gptj")
    needed = weights_bytes(skeleton(folder, torch.float32))
    with pytest.raises(InvalidSettings, match=r"needs 0\.0 GB for its weights, and cpu has 0\.0 GB free"):
        load_model(str(folder), device="cpu", free=lambda device: needed - 1)
    assert load_model(str(folder), device="cpu", free=lambda device: needed).dtype == torch.float32


def test_several_devices_are_counted_together() -> None:
    devices = [torch.device("cuda", 0), torch.device("cuda", 1)]
    require_room("m", 20, devices, free=lambda device: 10)
    with pytest.raises(InvalidSettings, match=r"cuda:0 has .* cuda:1 has"):
        require_room("m", 21, devices, free=lambda device: 10)


def test_an_unknown_family_is_refused_here_too(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "m", "gptj")
    config = (folder / "config.json").read_text().replace('"gptj"', '"mamba"')
    (folder / "config.json").write_text(config)
    with pytest.raises(UnknownModelFamily, match="known types"):
        outlook(str(folder), device=None, dtype=None)


def test_a_tied_head_counts_once_and_a_second_layout_is_ignored(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "m", "gpt2")
    shutil.copy(folder / "model.safetensors", folder / "consolidated.safetensors")
    loaded = load_model(str(folder), device="cpu")
    assert outlook(str(folder), device="cpu", dtype=None).needs.model == sum(
        p.nbytes for p in loaded.model.parameters()
    )


def test_a_skeleton_has_the_dtype_of_the_configuration_and_no_weights(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "m", "gptj")
    (folder / "config.json").write_text((folder / "config.json").read_text().replace('"float32"', '"float16"'))
    outline = skeleton(folder, None)
    assert outline.dtype == torch.float16
    assert all(parameter.is_meta for parameter in outline.parameters())


def test_a_containers_limit_counts_if_it_is_lower(tmp_path: Path) -> None:
    for name, text in {"max": "1000\n", "current": "700\n", "stat": "anon 5\ninactive_file 100\n"}.items():
        (tmp_path / f"memory.{name}").write_text(text)
    assert free_bytes(torch.device("cpu"), control_group=tmp_path) == 400
    (tmp_path / "memory.max").write_text("max\n")
    assert (free_bytes(torch.device("cpu"), control_group=tmp_path) or 0) > 10**6
