"""Our own writer of safetensors files writes what the library reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from editing_core.export.checkpoint.tensor_files import PlannedTensor, write_tensor_file

CODES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
SHAPES = st.lists(st.integers(0, 4), max_size=3).map(tuple)


def planned(name: str, tensor: Tensor) -> PlannedTensor:
    return PlannedTensor(name=name, code=CODES[tensor.dtype], shape=tuple(tensor.shape), read=lambda: tensor)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(st.tuples(st.sampled_from(list(CODES)), SHAPES), max_size=8))
def test_any_tensors_are_read_back_as_they_were(
    tmp_path: Path, parts: list[tuple[torch.dtype, tuple[int, ...]]]
) -> None:
    generator = torch.Generator().manual_seed(0)
    held = {f"t {i}": (9 * torch.randn(shape, generator=generator)).to(dtype) for i, (dtype, shape) in enumerate(parts)}
    reported: list[int] = []
    write_tensor_file(
        tmp_path / "x", [planned(name, tensor) for name, tensor in held.items()], on_bytes=reported.append
    )
    found = load_file(tmp_path / "x")
    assert found.keys() == held.keys()
    assert all(torch.equal(found[name], tensor) and found[name].dtype == tensor.dtype for name, tensor in held.items())
    assert sum(reported) == sum(tensor.nbytes for tensor in held.values())


def test_the_file_says_that_it_is_of_torch_and_every_tensor_begins_at_a_multiple_of_its_item(tmp_path: Path) -> None:
    held = {"a": torch.ones(3, dtype=torch.bool), "b": torch.ones(3), "c": torch.ones(1, dtype=torch.float64)}
    write_tensor_file(tmp_path / "x", [planned(*item) for item in held.items()], on_bytes=lambda _: None)
    with safe_open(tmp_path / "x", framework="pt") as file:
        assert file.metadata() == {"format": "pt"}
    content = (tmp_path / "x").read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    starts = {name: 8 + size + header[name]["data_offsets"][0] for name in held}
    assert all(starts[name] % held[name].itemsize == 0 for name in held)


def test_a_tensor_of_another_shape_than_planned_is_our_own_fault(tmp_path: Path) -> None:
    wrong = PlannedTensor(name="a", code="F32", shape=(2,), read=lambda: torch.ones(3))
    with pytest.raises(AssertionError):
        write_tensor_file(tmp_path / "x", [wrong], on_bytes=lambda _: None)
