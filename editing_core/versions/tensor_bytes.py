"""A safetensors file read in one piece, and its tensors as views of that piece.

The library's reader of bytes copies each tensor and lets no other thread of Python run meanwhile: for a version of a
6 B model that is a second in which no running answer gets a token. Knows no versions.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_LENGTH_BYTES = 8
_DTYPES = {"F64": torch.float64, "F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16, "I64": torch.int64}


def read_whole(path: Path) -> Tensor:
    """The file's bytes, uint8; raises OSError."""
    with path.open("rb", buffering=0) as file:
        content = torch.empty(os.fstat(file.fileno()).st_size, dtype=torch.uint8)
        left = content.numpy().data
        while left and (num_read := file.readinto(left)):
            left = left[num_read:]
    return content[: len(content) - len(left)]


def tensors_in(content: Tensor) -> dict[str, Tensor]:
    """The tensors by name, of the types that versions have; they share the memory of ``content``.

    Raises ValueError where the bytes are no such file.
    """
    length = int.from_bytes(content[:_LENGTH_BYTES].numpy().tobytes(), "little")
    start = _LENGTH_BYTES + length
    if not _LENGTH_BYTES <= start <= len(content):
        raise ValueError(f"a header of {length} bytes in a file of {len(content)}")
    header = json.loads(content[_LENGTH_BYTES:start].numpy().tobytes())
    if not isinstance(header, dict):
        raise ValueError("the header is no object")  # noqa: TRY004 -- of the file's content, not of an argument
    return {name: _tensor(name, entry, content[start:]) for name, entry in header.items() if name != "__metadata__"}


def _tensor(name: str, entry: Any, numbers: Tensor) -> Tensor:
    try:
        dtype, shape, (first, end) = _DTYPES[entry["dtype"]], entry["shape"], entry["data_offsets"]
        if not 0 <= first <= end <= len(numbers):
            raise ValueError(f"{name} is said to lie outside of the file")
        return numbers[first:end].view(dtype).view(shape)
    except (KeyError, TypeError, RuntimeError) as error:
        raise ValueError(f"{name} is described by {entry!r}") from error
