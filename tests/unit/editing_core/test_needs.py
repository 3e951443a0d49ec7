"""What a model needs is told from its files, and refused where it does not fit, before anything is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from editing_core.errors import InvalidSettings, UnknownModelFamily
from editing_core.models.load import load_model
from editing_core.models.location import resolve_model_path
from editing_core.models.memory import Checkpoint, require_room
from editing_core.needs import outlook
from tests.support.tiny_models import ALL_FAMILIES, TinyFamily, save_tiny_model


@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_the_needs_told_are_those_of_the_loaded_model(family: TinyFamily, tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "m", family)
    needs = outlook(str(folder), device="cpu", dtype="bfloat16", layers="0-1").needs
    loaded = load_model(str(folder), device="cpu", dtype="bfloat16")
    weights = {p.untyped_storage().data_ptr(): p.nbytes for p in loaded.model.parameters()}
    edited = [loaded.family.projection_weight(loaded.model, layer) for layer in (0, 1)]
    assert needs.model == sum(weights.values())
    assert needs.version == sum(4 * weight.numel() for weight in edited)
    assert needs.statistics == 2 * 4 * (4 * loaded.hidden_size) ** 2
    assert loaded.dtype == torch.bfloat16


def test_the_demo_models_needs_are_told_in_gb() -> None:
    told = outlook("demo-gptj", device="cpu", dtype=None).told()
    assert told["device"] == "cpu"
    assert 0.01 < float(told["model_gb"]) < 0.05
    assert float(told["free_gb_cpu"]) > 0


def test_weights_that_do_not_fit_are_refused_before_they_are_loaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = save_tiny_model(tmp_path / "m", "gptj")
    needed = Checkpoint.of(folder).weights_bytes(torch.float32)
    monkeypatch.setattr("editing_core.models.memory.free_bytes", lambda device: needed - 1)
    with pytest.raises(InvalidSettings, match=r"needs 0\.0 GB for its weights, and cpu has 0\.0 GB free"):
        load_model(str(folder), device="cpu")
    monkeypatch.setattr("editing_core.models.memory.free_bytes", lambda device: needed)
    assert load_model(str(folder), device="cpu").dtype == torch.float32


def test_several_devices_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("editing_core.models.memory.free_bytes", lambda device: 10)
    devices = [torch.device("cuda", 0), torch.device("cuda", 1)]
    require_room("m", 20, devices)
    with pytest.raises(InvalidSettings, match=r"cuda:0 has .* cuda:1 has"):
        require_room("m", 21, devices)


def test_an_unknown_family_is_refused_here_too(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "m", "gptj")
    config = (folder / "config.json").read_text().replace('"gptj"', '"mamba"')
    (folder / "config.json").write_text(config)
    with pytest.raises(UnknownModelFamily, match="known types"):
        outlook(str(folder), device=None, dtype=None)


def test_a_checkpoint_is_measured_without_reading_its_weights() -> None:
    checkpoint = Checkpoint.of(resolve_model_path("demo-gptj"))
    assert checkpoint.weights_bytes(torch.float32) == 2 * checkpoint.weights_bytes(torch.float16)
