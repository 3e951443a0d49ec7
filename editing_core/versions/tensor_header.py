"""Reads the header of a safetensors file: its length in eight bytes, then a JSON object. Torch-free."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

LENGTH_BYTES = 8


def read_header(read: Callable[[int], bytes], *, max_bytes: int) -> dict[str, Any]:
    """The header of a file that ``read(count)`` reads from its start. The numbers follow. Raises ValueError."""
    length = int.from_bytes(read(LENGTH_BYTES), "little")
    if length > max_bytes:
        raise ValueError(f"a header of {length} bytes is longer than the {max_bytes} bytes that it can have")
    header = json.loads(read(length))
    if not isinstance(header, dict):
        raise ValueError("its header is no object")  # noqa: TRY004 -- the file is wrong, not the caller
    return header
