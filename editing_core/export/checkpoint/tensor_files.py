"""Writes a safetensors file tensor by tensor, with only one tensor in memory at a time.

The writer of the safetensors library needs all tensors at once. This module does not depend on models.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch
from torch import Tensor

METADATA = {"format": "pt"}
"""Metadata that the loaders of ``transformers`` require."""
ALIGNMENT_BYTES = 8
FLOATING: dict[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}
"""The dtypes that an export converts, by their names in the format. All other dtypes are unchanged."""
CODES: dict[torch.dtype, str] = {dtype: code for code, dtype in FLOATING.items()}
_ITEM_BYTES = {"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedTensor:
    """A tensor to write: its properties for the header, and a function that reads it."""

    name: str
    code: str
    """Dtype in the notation of the format."""
    shape: tuple[int, ...]
    read: Callable[[], Tensor]
    """Returns the tensor in that dtype and shape."""

    @property
    def size_bytes(self) -> int:
        """Bytes of its numbers."""
        return prod(self.shape) * _ITEM_BYTES.get(self.code, 1)


def write_tensor_file(path: Path, tensors: Sequence[PlannedTensor], *, on_bytes: Callable[[int], None]) -> None:
    """Write a valid safetensors file. ``on_bytes`` is called with each tensor's size and may raise.

    Wide dtypes come first, so every tensor begins at a multiple of its item size.
    """
    ordered = sorted(tensors, key=lambda tensor: (-_ITEM_BYTES.get(tensor.code, 1), tensor.name))
    with path.open("wb") as file:
        file.write(_header(ordered))
        for planned in ordered:
            tensor = planned.read()
            assert tuple(tensor.shape) == planned.shape, planned.name
            content = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
            assert content.numel() == planned.size_bytes, planned.name
            file.write(content.numpy().data)
            on_bytes(planned.size_bytes)


def _header(tensors: Sequence[PlannedTensor]) -> bytes:
    header: dict[str, object] = {"__metadata__": METADATA}
    offset = 0
    for tensor in tensors:
        end = offset + tensor.size_bytes
        header[tensor.name] = {"dtype": tensor.code, "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNMENT_BYTES)
    return len(text).to_bytes(8, "little") + text
