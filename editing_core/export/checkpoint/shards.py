"""Writes a copy of a base checkpoint, file by file, with some matrices replaced and everything in one dtype.

The copy has the same files and names, so every loader of the base can load it. This module does not depend on
versions.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from editing_core.errors import ExportRefused, StoreMismatch
from editing_core.export.checkpoint.base import INDEX, BaseCheckpoint, opened
from editing_core.export.checkpoint.tensor_files import CODES, FLOATING, PlannedTensor, write_tensor_file
from editing_core.models.location import FILES

COMPANIONS = (
    *(pattern for pattern in FILES if "safetensors" not in pattern),
    "added_tokens.json",
    "chat_template.jinja",
)
"""Further files of a checkpoint, which are copied if they exist."""
INPUT_NAMES = ["input_ids", "attention_mask"]
"""Inputs that the tokenizer returns. A generic tokenizer also returns token types, which GPT-J would embed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointPlan:
    """All tensors of the new checkpoint by file. They are read only while they are written."""

    base: BaseCheckpoint
    dtype: torch.dtype
    files: dict[str, tuple[PlannedTensor, ...]]

    @property
    def size_bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.size_bytes for tensors in self.files.values() for tensor in tensors)


def plan_checkpoint(base: BaseCheckpoint, edited: Mapping[str, Tensor], dtype: torch.dtype) -> CheckpointPlan:
    """Plan a copy of the base's files in which the ``edited`` matrices replace those of the base.

    ``edited`` maps parameter names to tensors that are shaped as in the model. Raises StoreMismatch if the base does
    not have a matrix in this shape. Writing raises ExportRefused if a number of a tensor is too large for ``dtype``.
    """
    replaced = {base.stored_name(name): tensor for name, tensor in edited.items()}
    return CheckpointPlan(
        base=base, dtype=dtype, files={shard: _plan_file(base, shard, replaced, dtype) for shard in base.shards}
    )


def _plan_file(
    base: BaseCheckpoint, shard: str, replaced: Mapping[str, Tensor], dtype: torch.dtype
) -> tuple[PlannedTensor, ...]:
    planned = []
    with opened(base.path / shard) as file:
        for name in base.names_in(shard):
            stored = file.get_slice(name)
            code, shape = stored.get_dtype(), tuple(stored.get_shape())
            if name in replaced and (code not in FLOATING or shape != tuple(replaced[name].shape)):
                raise StoreMismatch(
                    f"{name} is {code} {list(shape)} in {base.path / shard} and {list(replaced[name].shape)} in the "
                    "version: it belongs to another model"
                )
            read = partial(_read, base, name, edited=replaced.get(name), dtype=dtype if code in FLOATING else None)
            planned.append(
                PlannedTensor(name=name, code=CODES[dtype] if code in FLOATING else code, shape=shape, read=read)
            )
    return tuple(planned)


def _read(base: BaseCheckpoint, name: str, *, edited: Tensor | None, dtype: torch.dtype | None) -> Tensor:
    tensor = base.stored_tensor(name) if edited is None else edited
    return tensor if dtype is None else _narrowed(name, tensor, dtype)


def _narrowed(name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    narrow = tensor.to(dtype)
    if tensor.numel() and not narrow.isfinite().all() and tensor.isfinite().all():
        raise ExportRefused(
            f"{name} holds {float(tensor.abs().max()):.4g}, which {str(dtype).removeprefix('torch.')} cannot: export "
            "in bfloat16 or float32"
        )
    return narrow


def write_checkpoint(
    plan: CheckpointPlan, folder: Path, *, on_bytes: Callable[[int], None] = lambda num_bytes: None
) -> None:
    """Write the checkpoint into the folder. ``on_bytes`` is called with each tensor's size and may raise."""
    for shard, tensors in plan.files.items():
        write_tensor_file(folder / shard, tensors, on_bytes=on_bytes)
    if plan.base.is_sharded:
        index = {"metadata": {"total_size": plan.size_bytes}, "weight_map": plan.base.files}
        _write_json(folder / INDEX, index)
    _copy_companions(plan.base.path, folder)
    _adapt(folder / "config.json", lambda config: _with_dtype(config, plan.dtype))
    _adapt(folder / "tokenizer_config.json", lambda config: {**config, "model_input_names": INPUT_NAMES})


def _copy_companions(base: Path, folder: Path) -> None:
    """Copy configuration and tokenizer unchanged."""
    for path in sorted({path for pattern in COMPANIONS for path in base.glob(pattern)}):
        shutil.copyfile(path, folder / path.name)


def _with_dtype(config: dict[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    """Set the dtype that loaders use by default. The older name ``torch_dtype`` is set only if it exists."""
    name = str(dtype).removeprefix("torch.")
    return {**config, "dtype": name} | ({"torch_dtype": name} if "torch_dtype" in config else {})


def _adapt(path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    if path.is_file():
        _write_json(path, change(json.loads(path.read_text(encoding="utf-8"))))


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
