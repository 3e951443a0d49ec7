"""Loading: known families only, safetensors only, and a fingerprint of the content."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from editing_core.errors import InvalidSettings, UnknownModelFamily
from editing_core.models.load import load_model
from editing_core.models.location import model_fingerprint
from tests.support.tiny_models import TinyFamily, save_tiny_model


@pytest.mark.parametrize("family", ["gptj", "gpt_neox"])
def test_a_folder_of_a_known_family_loads_in_eval_mode_without_gradients(family: TinyFamily, tmp_path: Path) -> None:
    loaded = load_model(str(save_tiny_model(tmp_path / "m", family)), device="cpu")
    assert loaded.family.model_type == family
    assert loaded.dtype == torch.float32
    assert not loaded.model.training
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())
    assert "token_type_ids" not in loaded.tokenizer("a text")


def test_the_fingerprint_is_of_the_content_and_not_of_the_place(tmp_path: Path) -> None:
    first = save_tiny_model(tmp_path / "first", "gptj")
    moved = shutil.copytree(first, tmp_path / "moved")
    other = save_tiny_model(tmp_path / "other", "gptj", seed=1)
    assert model_fingerprint(first) == model_fingerprint(moved)
    assert model_fingerprint(first) != model_fingerprint(other)


def test_an_unknown_family_is_refused_with_the_list_of_known_ones(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "m", "gptj")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "mamba"}))
    with pytest.raises(UnknownModelFamily, match="'mamba' are not supported; known types: gpt2, gpt_neox, gptj, llama"):
        load_model(str(folder))


def test_a_folder_without_safetensors_is_refused(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "m", "gptj")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(InvalidSettings, match="pickled weights are never read"):
        load_model(str(folder))


@pytest.mark.parametrize(
    ("device", "dtype", "told"), [("abacus", None, "not one that torch knows"), ("cpu", "int7", "not one of")]
)
def test_an_unknown_device_or_dtype_is_refused(device: str, dtype: str | None, told: str, tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "m", "gptj")
    with pytest.raises(InvalidSettings, match=told):
        load_model(str(folder), device=device, dtype=dtype)


def test_a_folder_that_does_not_exist_is_refused() -> None:
    with pytest.raises(InvalidSettings, match="no such folder"):
        load_model("./nowhere/to/be/found")
