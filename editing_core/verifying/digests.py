"""The digest that tensors would have as a version's file, computed from the tensors themselves, a piece at a time.

safetensors: eight bytes with the header's length, the header as JSON filled up with spaces to a multiple of eight, then
the numbers, those of wider types first, each kind by name. A test holds this against the library.
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
    """``sha256:…`` of the file that ``VersionStore.write`` makes of these tensors; of none, that of v0."""
    ordered = sorted(tensors.items(), key=lambda item: (_rank(item[1]), item[0]))
    header = _header(ordered)
    digest = hashlib.sha256(len(header).to_bytes(8, "little") + header)
    for _, tensor in ordered:
        for part in tensor.detach().reshape(-1).split(1 << 24):
            digest.update(part.cpu().contiguous().view(torch.uint8).numpy().data)
    return f"sha256:{digest.hexdigest()}"


def replaced_weights(view: nn.Module, original: nn.Module) -> dict[str, Tensor]:
    """The parameters of a view that are not the original's own, as they are in memory."""
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
