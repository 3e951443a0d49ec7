"""What a model needs of memory, read off its files before anything is loaded, and what is free. Knows no edits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch
from safetensors import safe_open

from editing_core.errors import InvalidSettings
from editing_core.models.families.family import Family
from editing_core.precision import SOLVE_DTYPE, edited_dtype

ITEM_BYTES = {"F64": 8, "F32": 4, "BF16": 2, "F16": 2}
STATISTICS_ITEM_BYTES = 4
SOLVE_MATRICES = 3
"""Square matrices of the width of the keys that a solve holds at once."""
GIGA = 1e9


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Shapes and dtypes of a checkpoint's tensors by name, read from the headers of its files alone."""

    tensors: Mapping[str, tuple[tuple[int, ...], str]]

    @classmethod
    def of(cls, path: Path) -> Checkpoint:
        """Read the headers of all *.safetensors in a folder."""
        tensors = {}
        for file in sorted(path.glob("*.safetensors")):
            with safe_open(file, framework="pt") as opened:
                for name in opened.keys():  # noqa: SIM118 -- the file is no mapping
                    part = opened.get_slice(name)
                    tensors[name] = tuple(part.get_shape()), str(part.get_dtype())
        return cls(tensors)

    def weights_bytes(self, dtype: torch.dtype | None) -> int:
        """Bytes of all floating weights in ``dtype``; None: each in its own."""
        return sum(
            prod(shape) * (ITEM_BYTES[kind] if dtype is None else dtype.itemsize)
            for shape, kind in self.tensors.values()
            if kind in ITEM_BYTES
        )

    def projections(self, family: Family, layers: Sequence[int]) -> list[tuple[int, ...]]:
        """Shapes of the edited matrices, [d_model, d_ff] or transposed; of those that the files name."""
        names = [family.projection_weight_name(layer) for layer in layers]
        short = [name.removeprefix(f"{family.base}.") for name in names]
        found = [self.tensors.get(name) or self.tensors.get(alias) for name, alias in zip(names, short, strict=True)]
        return [tensor[0] for tensor in found if tensor is not None]


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryNeeds:
    """Bytes that a process will take, beside what its work takes from what is left."""

    model: int
    version: int
    """The edited matrices of one version."""
    statistics: int
    """Second moments of all edited layers, in main memory."""
    solve: int
    """Matrices of one layer's solve, on the device."""

    def told(self) -> dict[str, float]:
        """In GB, for logs."""
        names = ("model", "version", "statistics", "solve")
        return {f"{name}_gb": round(getattr(self, name) / GIGA, 3) for name in names}


def memory_needs(checkpoint: Checkpoint, family: Family, layers: Sequence[int], dtype: torch.dtype) -> MemoryNeeds:
    """What a model of this checkpoint needs with these edited layers."""
    shapes = checkpoint.projections(family, layers)
    widths = [shape[0] if family.projection_is_transposed else shape[1] for shape in shapes]
    return MemoryNeeds(
        model=checkpoint.weights_bytes(dtype),
        version=sum(edited_dtype(dtype).itemsize * prod(shape) for shape in shapes),
        statistics=sum(STATISTICS_ITEM_BYTES * width**2 for width in widths),
        solve=SOLVE_MATRICES * SOLVE_DTYPE.itemsize * max(widths, default=0) ** 2,
    )


def free_bytes(device: torch.device) -> int | None:
    """Memory that can still be had on the device; None where nobody tells."""
    if device.type == "cuda":
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + held
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    told = {name: value for name, _, value in (line.partition(":") for line in lines)}
    return int(told["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in told else None


def require_room(source: str, needed_bytes: int, devices: Sequence[torch.device]) -> None:
    """Raise InvalidSettings where the weights do not fit into the free memory of the devices together."""
    free = [free_bytes(device) for device in devices]
    if any(share is None for share in free) or needed_bytes <= sum(share or 0 for share in free):
        return
    shares = zip(devices, free, strict=True)
    told = ", ".join(f"{device} has {(share or 0) / GIGA:.1f} GB free" for device, share in shares)
    raise InvalidSettings(
        f"model {source!r} needs {needed_bytes / GIGA:.1f} GB for its weights, and {told}: choose another device"
        " (`auto` spreads a model over all CUDA devices) or a smaller dtype"
    )
