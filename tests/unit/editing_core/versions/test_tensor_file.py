"""Files of the library are read bit for bit; other content is reported, behind the digest of the bytes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from editing_core.versions.tensor_file import read_tensor_file

TENSORS = {
    "a.weight": torch.arange(6, dtype=torch.float32).reshape(2, 3),
    "b": torch.tensor(2.5, dtype=torch.bfloat16),
    "c": torch.zeros((0, 4), dtype=torch.float16),
    "d": torch.tensor([1, -2], dtype=torch.int64),
    "e": torch.linspace(0, 1, 7, dtype=torch.float64),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_file(TENSORS, tmp_path / "tensors.safetensors")
    return tmp_path / "tensors.safetensors"


@pytest.mark.parametrize("piece_bytes", [8, 1 << 25])
def test_what_the_library_wrote_is_read(path: Path, piece_bytes: int) -> None:
    found = read_tensor_file(path, "cpu", piece_bytes=piece_bytes)
    assert found.problem is None
    assert found.digest == "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
    assert found.tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert (found.tensors[name].dtype, found.tensors[name].shape) == (tensor.dtype, tensor.shape)
        assert torch.equal(found.tensors[name], tensor)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)
@given(data=st.data())
def test_no_damage_is_read_as_something_else_without_another_digest(path: Path, data: st.DataObject) -> None:
    whole = path.read_bytes()
    content = bytearray(whole[: data.draw(st.integers(0, len(whole)))]) + data.draw(st.binary(max_size=4))
    for place in data.draw(st.lists(st.integers(0, max(0, len(content) - 1)), max_size=3)):
        if content:
            content[place] ^= data.draw(st.integers(1, 255))
    damaged = path.with_name("damaged")
    damaged.write_bytes(content)
    found = read_tensor_file(damaged, "cpu")
    assert found.digest == "sha256:" + hashlib.sha256(content).hexdigest()
    assert not found.tensors or found.problem is None


def with_header(header: object, numbers: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + numbers


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "ends early"),
        ((1 << 60).to_bytes(8, "little"), "a header of"),
        (with_header([]), "no object"),
        (with_header(b"[" * 100_000), "recursion"),
        (with_header({"w": 5}), "w is described by 5"),
        (with_header({"w": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 4]}}, bytes(4)), "described"),
        (with_header({"w": {"dtype": "F32", "shape": [-1, -1], "data_offsets": [0, 4]}}, bytes(4)), "described"),
        (with_header({"w": {"dtype": "F32", "shape": [1 << 39, 1 << 39, 0], "data_offsets": [0, 0]}}), "the shape"),
        (with_header({"w": {"dtype": "F32", "shape": [0, 10**30], "data_offsets": [0, 0]}}), "described"),
        (with_header({"w": {"dtype": "F32", "shape": ["1"], "data_offsets": [0, 4]}}, bytes(4)), "described"),
        (with_header({"w": {"dtype": "U7", "shape": [1], "data_offsets": [0, 4]}}, bytes(4)), "described"),
        (with_header({"w": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, bytes(8)), "8 bytes behind"),
        (with_header({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, bytes(5)), "5 bytes behind"),
    ],
    ids=range(13),
)
def test_a_file_of_another_kind_is_reported(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "odd"
    path.write_bytes(content)
    found = read_tensor_file(path, "cpu")
    assert found.tensors == {}
    assert found.problem is not None
    assert words in found.problem
    assert found.digest == "sha256:" + hashlib.sha256(content).hexdigest()


def test_a_header_longer_than_the_librarys_is_not_read(path: Path) -> None:
    found = read_tensor_file(path, "cpu", max_header_bytes=16)
    assert found.tensors == {}
    assert "a header of" in (found.problem or "")
    assert found.digest == "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
