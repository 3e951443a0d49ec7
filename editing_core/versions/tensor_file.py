"""Reads a safetensors file piece by piece onto a device. The digest covers the same bytes that fill the tensors.

The library's reader of bytes copies each tensor, and a file that is read whole is also freed whole. Both block all
other Python threads: for a version of a 6 B model, no running answer gets a token for 0.2 to 1 s. Knows no versions.
"""

from __future__ import annotations

import hashlib
import math
import os
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from editing_core.versions.tensor_header import LENGTH_BYTES, read_header

PIECE_BYTES = 1 << 25
_REST_BYTES = 1 << 20
MAX_HEADER_BYTES = 100_000_000
"""The limit of the safetensors library."""
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "I64": torch.int64,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorFile:
    """The result of reading a whole file."""

    digest: str
    """``sha256:…``"""
    tensors: dict[str, Tensor]
    """By name; empty if there is a ``problem``."""
    problem: str | None
    """Why the file is not valid; None if it is."""


def read_tensor_file(
    path: Path,
    device: torch.device | str,
    *,
    piece_bytes: int = PIECE_BYTES,
    max_header_bytes: int = MAX_HEADER_BYTES,
) -> TensorFile:
    """Read the whole file in pieces of at most ``piece_bytes``. Raises OSError.

    A header of more than ``max_header_bytes`` is a ``problem``.
    """
    tensors: dict[str, Tensor] = {}
    problem = None
    with FileIO(path) as file:
        reader = _Reader(file, torch.device(device), piece_bytes=piece_bytes, max_header_bytes=max_header_bytes)
        try:
            tensors = reader.tensors()
        except (ValueError, RecursionError) as error:
            problem = str(error) or type(error).__name__
        reader.hash_rest()
    return TensorFile(digest=f"sha256:{reader.digest.hexdigest()}", tensors=tensors, problem=problem)


@dataclass(frozen=True, slots=True)
class _Entry:
    """The header's description of one tensor."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int
    end: int

    @classmethod
    def of(cls, name: str, described: Any) -> _Entry:
        try:
            start, end = described["data_offsets"]
            found = cls(name, _DTYPES[described["dtype"]], tuple(described["shape"]), start, end)
        except (KeyError, TypeError, ValueError):
            found = None
        if found is None or not found.is_sound():
            raise ValueError(f"{name} is described by {described!r}")
        return found

    def is_sound(self) -> bool:
        """Whether shape and offsets are valid integers and agree with each other."""
        if not all(type(number) is int and 0 <= number < 1 << 40 for number in (*self.shape, self.start, self.end)):
            return False
        return math.prod(self.shape) * self.dtype.itemsize == self.end - self.start


class _Reader:
    """Reads the file from its start and hashes it on the way."""

    def __init__(self, file: FileIO, device: torch.device, *, piece_bytes: int, max_header_bytes: int) -> None:
        self._file, self._device = file, device
        self._piece_bytes, self._max_header_bytes = piece_bytes, max_header_bytes
        self._size = os.fstat(file.fileno()).st_size
        self.digest = hashlib.sha256()
        self._piece = torch.empty(0)
        """Staging memory for copies to the device, allocated on first use; pinned for CUDA."""

    def tensors(self) -> dict[str, Tensor]:
        """All tensors. Raises ValueError."""
        entries = self._entries()
        ends = [0, *(entry.end for entry in entries)]
        left = self._size - self._file.tell()
        if [entry.start for entry in entries] != ends[:-1] or ends[-1] != left:
            raise ValueError(f"its header does not describe the {left} bytes behind it")
        return {entry.name: self._tensor(entry) for entry in entries}

    def hash_rest(self) -> None:
        """Read and hash the rest of the file."""
        piece = bytearray(_REST_BYTES)
        while num_read := self._file.readinto(piece):
            self.digest.update(memoryview(piece)[:num_read])

    def _entries(self) -> list[_Entry]:
        header = read_header(self._bytes, max_bytes=min(self._size - LENGTH_BYTES, self._max_header_bytes))
        entries = [_Entry.of(name, entry) for name, entry in header.items() if name != "__metadata__"]
        return sorted(entries, key=lambda entry: (entry.start, entry.end))

    def _tensor(self, entry: _Entry) -> Tensor:
        numbers = torch.empty(math.prod(entry.shape), dtype=entry.dtype, device=self._device)
        for piece in numbers.view(torch.uint8).split(self._piece_bytes):
            if self._device.type == "cpu":
                self._fill(piece.numpy().data)
            else:
                staged = self._staging()[: len(piece)]
                self._fill(staged.numpy().data)
                piece.copy_(staged)
        try:
            return numbers.view(entry.shape)
        except (RuntimeError, TypeError) as error:  # sizes beyond the limits of torch
            raise ValueError(f"{entry.name} has the shape {list(entry.shape)}") from error

    def _staging(self) -> Tensor:
        if not len(self._piece):
            self._piece = torch.empty(self._piece_bytes, dtype=torch.uint8, pin_memory=self._device.type == "cuda")
        return self._piece

    def _bytes(self, count: int) -> bytes:
        found = bytearray(count)
        self._fill(memoryview(found))
        return bytes(found)

    def _fill(self, target: memoryview) -> None:
        """Fill ``target`` from the file, and hash the bytes. Raises ValueError if the file ends early."""
        left = target
        while left and (num_read := self._file.readinto(left)):
            left = left[num_read:]
        self.digest.update(target[: len(target) - len(left)])
        if left:
            raise ValueError("it ends early")
