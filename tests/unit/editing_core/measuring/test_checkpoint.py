from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from editing_core.measuring.checkpoint import save_checkpoint
from editing_core.models.views import make_view
from tests.support.tiny_loaded import tiny_loaded

DTYPES = (torch.float32, torch.bfloat16)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_saved_edit_is_loaded_again_bit_for_bit_with_the_library_defaults(tmp_path: Path, dtype: torch.dtype) -> None:
    loaded = tiny_loaded("gptj", dtype=dtype)
    name = loaded.family.projection_weight_name(1)
    edited = loaded.family.projection_weight(loaded.model, 1).float() * (1 + 2**-12)
    save_checkpoint(loaded, {name: edited}, tmp_path / "saved")
    again: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    assert torch.equal(again.state_dict()[name], edited)
    expected = make_view(loaded.model, {name: edited}).state_dict()
    assert all(torch.equal(tensor, expected[name].to(tensor.dtype)) for name, tensor in again.state_dict().items())
