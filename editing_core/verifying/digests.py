"""Computes the digest that tensors would have as a version's file, one piece at a time.

The format is safetensors: eight bytes with the length of the header, the header as JSON padded with spaces to a
multiple of eight, then the numbers, wider dtypes first and by name within a dtype. A test compares it with
the library.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import torch
from torch import Tensor, nn

_KINDS = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
}
_ALIGNMENT = 8


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """Return ``sha256:…`` of the file that ``VersionStore.write`` makes of these tensors; v0 has none."""
    ordered = sorted(tensors.items(), key=lambda item: (_rank(item[1]), item[0]))
    header = _header(ordered)
    digest = hashlib.sha256(len(header).to_bytes(8, "little") + header)
    for _, tensor in ordered:
        for part in tensor.detach().reshape(-1).split(1 << 24):
            digest.update(part.cpu().contiguous().view(torch.uint8).numpy().data)
    return f"sha256:{digest.hexdigest()}"


def replaced_weights(view: nn.Module, original: nn.Module) -> dict[str, Tensor]:
    """Return the parameters of a view, as they are in memory, that are not shared with the original."""
    own = {id(parameter) for parameter in original.parameters()}
    return {name: parameter.detach() for name, parameter in view.named_parameters() if id(parameter) not in own}


def _rank(tensor: Tensor) -> int:
    return list(_KINDS).index(tensor.dtype)


def _header(ordered: list[tuple[str, Tensor]]) -> bytes:
    record: dict[str, dict[str, object]] = {}
    start = 0
    for name, tensor in ordered:
        end = start + tensor.numel() * tensor.element_size()
        record[name] = {"dtype": _KINDS[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode()
    return text + b" " * (-len(text) % _ALIGNMENT)
